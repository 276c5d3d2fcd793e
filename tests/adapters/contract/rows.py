"""The table: requests, and the event that each makes in every stack."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from analytics_middleware import Event, Money
from contract.drivers import Request
from contract.stacks import Stack

DOCUMENT = (("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),)
API = (("Accept", "application/json"),)


@dataclass(frozen=True)
class Expected:
    """The automatic event of a request. `pattern` is spelled ``/blog/{slug}``; each stack translates it."""

    type: str
    status: int
    pattern: Any = None
    event_name: str | None = None
    action_name: str | None = None
    endpoint: str | None = None
    """The view whose name is the default action name, where a stack has views."""
    also: Mapping[str, Any] = field(default_factory=dict)
    """Further fields of the event."""


@dataclass(frozen=True)
class Row:
    id: str
    request: Request
    expected: Expected | None

    def expectation(self, stack: Stack) -> list[dict[str, Any]]:
        """Return what `summary` should say of the automatic events in *stack*: of one, or of none."""
        expected = self.expected
        if expected is None:
            return []
        return [
            {
                "type": expected.type,
                "event_name": expected.event_name,
                "action_name": expected.action_name or stack.endpoint(expected.endpoint),
                "pattern": stack.pattern(expected.pattern),
                "status": expected.status,
                **expected.also,
            }
        ]

    def summary(self, events: Iterable[Event]) -> list[dict[str, Any]]:
        """Return what the row speaks about of *events*."""
        return [
            {
                "type": event.type.value,
                "event_name": event.event_name,
                "action_name": event.action_name,
                "pattern": event.matched_pattern,
                "status": event.status_code,
                **{name: _plain(getattr(event, name)) for name in (self.expected.also if self.expected else ())},
            }
            for event in events
        ]


def _plain(value: Any) -> Any:
    return (str(value.amount), value.currency) if isinstance(value, Money) else value


def page(pattern: Any, status: int = 200, **also: Any) -> Expected:
    return Expected("pageview", status, pattern, also=also)


def action(endpoint: str | None, pattern: Any, status: int, **also: Any) -> Expected:
    return Expected("action", status, pattern, endpoint=endpoint, also=also)


def get(title: str, target: str, expected: Expected | None, *headers: tuple[str, str], accept: Any = DOCUMENT) -> Row:
    return Row(title, Request("GET", target, (*accept, *headers)), expected)


def send(
    title: str,
    method: str,
    target: str,
    expected: Expected | None,
    body: bytes = b"",
    kind: str = "application/json",
    *headers: tuple[str, str],
    accept: Any = DOCUMENT,
) -> Row:
    return Row(title, Request(method, target, (*accept, *headers, ("Content-Type", kind)), body), expected)


FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=part"
UPLOAD = (
    b'--part\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n\r\n'
    + bytes(range(256)) * 600
    + b"\r\n--part--\r\n"
)
ITEM = "/shop/items/{id}"

ROWS = (
    # Documents.
    get("page", "/", page("/", path="/", url="http://shop.example/", hostname="shop.example", method="GET")),
    get("page for any client", "/", page("/"), accept=()),
    get("page with a query", "/?utm_source=x&q=a%20b", page("/", url="http://shop.example/?utm_source=x")),
    get("parametrised page", "/blog/hello", page("/blog/{slug}", path="/blog/hello")),
    get(
        "path beyond ASCII",
        "/blog/caf%C3%A9",
        page("/blog/{slug}", path="/blog/café", url="http://shop.example/blog/caf%C3%A9"),
    ),
    get("nested page", "/shop/items/7", page(ITEM)),
    get("page below a parametrised prefix", "/t/acme/orders/3", page("/t/{tenant}/orders/{id}")),
    get("page nested twice", "/deep/er/pages/3", page("/deep/er/pages/{id}")),
    get("XHTML", "/xhtml", page("/xhtml")),
    get("content type in odd case with charset", "/shouting", page("/shouting")),
    get("streamed page", "/stream", page("/stream")),
    get("referrer", "/", page("/", referrer="https://search.example/"), ("Referer", "https://search.example/")),
    get("locale", "/", page("/", locale="de"), ("Accept-Language", "de;q=0.9, fr;q=0.1")),
    get("signed-in user", "/account", page("/account", user_id="7"), ("X-User", "7")),
    get("nobody signed in", "/account", page("/account", user_id=None)),
    get("user named by the view", "/chosen-user", page("/chosen-user", user_id="user-9")),
    # Whether the request wants a document.
    get("Sec-Fetch-Dest document", "/", page("/"), ("Sec-Fetch-Dest", "document")),
    get("Sec-Fetch-Dest iframe", "/", None, ("Sec-Fetch-Dest", "iframe")),
    get("Sec-Fetch-Dest image", "/", None, ("Sec-Fetch-Dest", "image")),
    get("Sec-Fetch-Dest empty", "/", None, ("Sec-Fetch-Dest", "empty")),
    get("htmx fragment", "/", None, ("HX-Request", "true")),
    get("Turbo frame", "/", None, ("Turbo-Frame", "cart")),
    get("prefetch", "/", None, ("Sec-Purpose", "prefetch")),
    get("prerender", "/", None, ("Sec-Purpose", "prefetch;prerender"), ("Sec-Fetch-Dest", "document")),
    get("prefetch of old", "/", None, ("Purpose", "prefetch")),
    Row("HEAD", Request("HEAD", "/", DOCUMENT), None),
    Row("OPTIONS", Request("OPTIONS", "/", DOCUMENT), None),
    # Answers that are no fresh document.
    get("not modified, document", "/cached", page("/cached", 304), ("If-None-Match", '"v1"')),
    get("not modified, no document", "/cached", None, ("If-None-Match", '"v1"'), accept=API),
    get("not modified, image", "/cached", None, ("If-None-Match", '"v1"'), ("Sec-Fetch-Dest", "image")),
    get("modified", "/cached", page("/cached"), ("If-None-Match", '"v0"')),
    get("not found, document", "/nowhere", page(None, 404)),
    get("not found, Sec-Fetch-Dest document", "/nowhere", page(None, 404), ("Sec-Fetch-Dest", "document"), accept=()),
    get("not found, Sec-Fetch-Dest image", "/nowhere", None, ("Sec-Fetch-Dest", "image")),
    get("not found, no document", "/nowhere", None, accept=API),
    get("not found within a mount", "/shop/nowhere", page(None, 404)),
    get("wrong method, document", "/subscribe", page("/subscribe", 405)),
    get("unhandled error, document", "/failing", page("/failing", 500)),
    get("unhandled error, no document", "/failing", None, accept=API),
    send("unhandled error of a POST", "POST", "/failing", action("failing", "/failing", 500)),
    get("server error, document", "/gateway", page("/gateway", 502)),
    get("forbidden page, document", "/members", page("/members", 403)),
    get("forbidden page, any client", "/members", None, accept=()),
    get("no content", "/nothing", None),
    get("moved permanently", "/moved", None),
    get("redirect", "/found", None, ("Sec-Fetch-Dest", "document")),
    # Not documents.
    get("JSON", "/api/items", None),
    get("CSV", "/report.csv", None),
    get("file download", "/download", None),
    get("static file", "/static/app.css", None),
    get("excluded path", "/healthz", None),
    # Actions.
    send("form", "POST", "/subscribe", action("subscribe", "/subscribe", 303), b"email=a%40b.example", FORM),
    send("JSON created", "POST", "/api/orders", action("create_order", "/api/orders", 201), b'{"a": 1}', accept=API),
    send("PUT", "PUT", "/api/orders/5", action("change_order", "/api/orders/{id}", 200), b"{}"),
    send("PATCH", "PATCH", "/api/orders/5", action("change_order", "/api/orders/{id}", 200), b"{}"),
    Row("DELETE", Request("DELETE", "/api/orders/5", API), action("change_order", "/api/orders/{id}", 204)),
    send("nested form", "POST", "/shop/items/7/buy", action("/shop buy", "/shop/items/{id}/buy", 303), b"n=1", FORM),
    send(
        "form by htmx",
        "POST",
        "/subscribe",
        action("subscribe", "/subscribe", 303),
        b"email=a%40b.example",
        FORM,
        ("HX-Request", "true"),
    ),
    send("upload", "POST", "/upload", action("upload", "/upload", 200), UPLOAD, MULTIPART),
    send("POST to nowhere", "POST", "/nowhere", action(None, None, 404)),
    # Names and helpers.
    get(
        "search",
        "/search?q=tea",
        Expected("custom", 200, "/search", event_name="search.submitted", also={"properties": {"q": "tea"}}),
    ),
    get(
        "search by a fragment",
        "/search?q=tea",
        Expected("custom", 200, "/search", event_name="search.submitted"),
        ("HX-Request", "true"),
    ),
    get("search, prefetched", "/search?q=tea", None, ("Sec-Purpose", "prefetch")),
    get("search, prefetched by Turbo", "/search?q=tea", None, ("X-Sec-Purpose", "prefetch")),
    get("search, preloaded by htmx", "/search?q=tea", None, ("HX-Request", "true"), ("HX-Preloaded", "true")),
    Row("search, HEAD", Request("HEAD", "/search?q=tea", DOCUMENT), None),
    get("named JSON", "/api/poll", Expected("action", 200, "/api/poll", action_name="poll.answered"), accept=API),
    get(
        "both names",
        "/api/both",
        Expected("custom", 200, "/api/both", event_name="plan.compared", action_name="compare"),
    ),
    get("named redirect", "/go/3", Expected("action", 302, "/go/{id}", action_name="link.followed")),
    send(
        "purchase",
        "POST",
        "/purchase",
        action("purchase", "/purchase", 303, revenue=("29.99", "GBP"), properties={"plan": "annual"}),
        b"plan=annual",
        FORM,
    ),
    send("refund", "POST", "/refund", action("refund", "/refund", 200, revenue=("-1500", "JPY"))),
    get(
        "65 properties",
        "/many",
        page("/many", properties={"key0": "updated", **{f"key{number}": number for number in range(1, 64)}}),
    ),
    get("helpers used wrongly", "/clumsy", page("/clumsy", revenue=None, properties={})),
)
