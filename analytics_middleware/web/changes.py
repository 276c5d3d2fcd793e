"""What forms on the pages do: save, rename and delete, annotate, share and revoke.

Forms are plain HTML. They are accepted only from pages of this site, as browsers' headers tell
(`Origins.check_own`), which needs neither a script nor a session. Django checks its own token as well.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

import msgspec

from analytics_middleware.store.filters import QuestionError
from analytics_middleware.web.body import misfit
from analytics_middleware.web.http import Refusal, WebRequest
from analytics_middleware.web.parameters import filters
from analytics_middleware.web.saved import Annotation, Named, Saved, SavedFilter, SavedFunnel
from analytics_middleware.web.share import DAYS, MAX_DAYS, Shares

MAX_BODY: Final = 65_536
_FORM: Final = "application/x-www-form-urlencoded"
_MAX_FIELDS: Final = 100
_WHERE: Final = filters("where")
_SAVED: Final[Mapping[str, type[Named]]] = {"funnel": SavedFunnel, "filter": SavedFilter}

Form = list[tuple[str, str]]


@dataclasses.dataclass(frozen=True, slots=True)
class Forms:
    """What all forms of one page contain."""

    guard: tuple[tuple[str, str], ...]
    """Hidden fields that the framework needs."""
    back: str
    """The page to return to, with its query."""

    def hidden(self, do: str, **fields: Any) -> Form:
        """Return the hidden fields of a form; *do* is what it does."""
        return [*self.guard, ("do", do), ("back", self.back), *((name, str(value)) for name, value in fields.items())]


def read_form(request: WebRequest) -> Form:
    """Return the fields of the form in *request*. Raises `Refusal` if there is none."""
    if request.content_type.partition(";")[0].strip().lower() != _FORM:
        raise Refusal(415, "content_type", f"A form is sent as {_FORM}.", "content-type")
    try:
        return parse_qsl(request.body.decode("ascii"), errors="strict", max_num_fields=_MAX_FIELDS)
    except ValueError:
        raise Refusal(400, "invalid", f"A form is UTF-8 with at most {_MAX_FIELDS} fields.", "body") from None


class Changes:
    """Does what forms ask for. *check* raises `QuestionError` for a page and query that can't be shared."""

    def __init__(self, saved: Saved, shares: Shares, check: Callable[[str, str], None]) -> None:
        self._saved = saved
        self._shares = shares
        self._check = check
        self._does: Mapping[str, Callable[[dict[str, str], Form], str | None]] = {
            "funnel": self._funnel,
            "filter": self._filter,
            "annotate": self._annotate,
            "rename": self._rename,
            "delete": self._delete,
            "share": self._share,
        }

    def __call__(self, form: Form) -> str:
        """Do what *form* asks for; return the address below the mount to continue at.

        Raises `Refusal` or `QuestionError` if it can't be done.
        """
        fields = {name: value.strip() for name, value in form}
        does = self._does.get(fields.get("do", ""))
        if does is None:
            raise QuestionError("do", f"must be one of {', '.join(self._does)}")
        try:
            return does(fields, form) or _address(fields.get("back", ""))
        except msgspec.ValidationError as error:
            raise misfit(error) from None

    def _funnel(self, fields: dict[str, str], form: Form) -> None:
        steps = [value for name, value in form if name == "step"]
        made = {**_given(fields, "name", "window", "order", "breakdown"), "steps": steps}
        self._saved.save(msgspec.convert(made, SavedFunnel))

    def _filter(self, fields: dict[str, str], form: Form) -> None:
        made: dict[str, Any] = _given(fields, "name", "period", "from", "to")
        try:
            made["where"] = _WHERE.read(fields.get("where") or "[]")
        except ValueError as error:
            raise QuestionError("where", str(error)) from None
        self._saved.save(msgspec.convert(made, SavedFilter))

    def _annotate(self, fields: dict[str, str], form: Form) -> None:
        self._saved.annotate(msgspec.convert(_given(fields, "day", "text"), Annotation))

    def _rename(self, fields: dict[str, str], form: Form) -> None:
        kind = _SAVED.get(fields.get("kind", ""))
        if kind is None:
            raise QuestionError("kind", f"must be one of {', '.join(_SAVED)}")
        # Not stripped: a name that was saved over REST may begin with a space.
        self._saved.rename(kind, dict(form).get("key", ""), fields.get("name", ""))

    def _delete(self, fields: dict[str, str], form: Form) -> None:
        kind, key = fields.get("kind", ""), dict(form).get("key", "")
        if kind == "share":
            self._shares.revoke(key)
        elif kind == "annotation":
            self._saved.delete(Annotation, key)
        elif kind in _SAVED:
            self._saved.delete(_SAVED[kind], key)
        else:
            raise QuestionError("kind", f"must be one of share, annotation, {', '.join(_SAVED)}")

    def _share(self, fields: dict[str, str], form: Form) -> str:
        page, _, query = fields.get("back", "").partition("?")
        days = fields.get("days", str(DAYS))
        if not (days.isascii() and days.isdigit() and len(days) < 9 and 1 <= int(days) <= MAX_DAYS):
            raise QuestionError("days", f"{days!r:.100} is not a whole number from 1 to {MAX_DAYS}")
        self._check(page, query)
        made = self._shares.make(page, query, int(days), fields.get("name") or None)
        return f"saved?made={made.id}"


def _given(fields: dict[str, str], *names: str) -> dict[str, Any]:
    return {name: fields[name] for name in names if fields.get(name)}


def _address(back: str) -> str:
    page, _, query = back.partition("?")
    # This becomes a Location header: the page must be a plain name, and the query is encoded again.
    safe = page if page.isascii() and page.isalnum() else ""
    text = urlencode(parse_qsl(query, max_num_fields=_MAX_FIELDS), errors="replace")
    return f"{safe}{'?' if text else ''}{text}"
