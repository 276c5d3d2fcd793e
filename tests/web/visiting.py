"""Somebody at a browser without JavaScript: sees forms, fills them in, keeps cookies."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode

from web_sites import Answer, Site

OWN = {"origin": "http://shop.example", "sec-fetch-site": "same-origin"}


@dataclass
class Form:
    action: str = ""
    method: str = "get"
    id: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)


class Forms(HTMLParser):
    """The forms of a page, with what their inputs hold."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[Form] = []
        self.addresses: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "form":
            self.found.append(Form(given.get("action") or "", given.get("method") or "get", given.get("id") or ""))
        elif tag == "button" and given.get("form"):
            # Each is a way to send its form.
            form = next(each for each in self.found if each.id == given["form"])
            pressed = [(str(given["name"]), given.get("value") or "")]
            self.found.append(Form(form.action, form.method, "", [*form.fields, *pressed]))
        elif tag == "input" and given.get("name") and self.found and given.get("type") != "checkbox":
            self.found[-1].fields.append((str(given["name"]), given.get("value") or ""))
        for name in ("href", "src", "action"):
            if given.get(name) is not None:
                self.addresses.append(str(given[name]))


@dataclass
class Visitor:
    site: Site
    headers: dict[str, str] = field(default_factory=dict)
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, path: str) -> Answer:
        return self._ask("GET", path)

    def data(self, path: str) -> Any:
        joint = "&" if "?" in path else "?"
        return self.get(f"{path}{joint}format=json").data

    def page(self, path: str) -> str:
        answer = self.get(path)
        assert answer.status == 200, answer.body
        return answer.body.decode()

    def submit(self, path: str, wanted: dict[str, str], **filled: str) -> Answer:
        """Open the page at *path* and send the form with the hidden fields *wanted*, *filled* in."""
        forms = [form for form in Forms(self.page(path)).found if wanted.items() <= dict(form.fields).items()]
        # Of one whose buttons stand elsewhere, only with a button.
        forms = [form for form in forms if not form.id]
        assert len(forms) == 1, [form.fields for form in forms]
        fields = [(name, value) for name, value in forms[0].fields if name not in filled]
        return self.send(forms[0].action, [*fields, *filled.items()])

    def send(self, action: str, fields: list[tuple[str, str]], headers: dict[str, str] | None = None) -> Answer:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self._ask("POST", action, urlencode(fields).encode(), {**kind, **(OWN if headers is None else headers)})

    def _ask(self, method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        given = {**({"cookie": cookie} if cookie else {}), **self.headers, **(headers or {})}
        answer = self.site.ask(method, path, body, given)
        for name, value in answer.headers:
            if name.lower() == "set-cookie":
                key, _, rest = value.partition("=")
                self.cookies[key.strip()] = rest.partition(";")[0]
        return answer
