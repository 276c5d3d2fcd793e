"""URLs of the dashboard: the address of a page says everything that it shows."""

import json
from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from analytics_middleware.store.filters import Filter
from analytics_middleware.web.pages.scope import COMMON
from analytics_middleware.web.saved import SavedFilter, SavedFunnel

_KEPT = frozenset(parameter.name for parameter in COMMON)
_MAX_VALUE = 200
SHARED: Final = "shared/"
"""The path that the addresses of shared pages begin with."""


class Links:
    """Makes the addresses of pages for one request, which came with *query*; the dashboard is mounted at *mount*."""

    def __init__(self, mount: str, page: str, query: Iterable[tuple[str, str]], where: Iterable[Filter]) -> None:
        self._mount = mount
        self._page = page
        self._query = [(name, value) for name, value in query if name not in ("format", "table")]
        self._where = [_plain(each) for each in where]

    fixed = False
    """Whether this is the only page, with no links to others."""

    def page(self, page: str, **changes: Any) -> str:
        """Return the address of another page, with the same dates and filters."""
        return self._address(page, [pair for pair in self._query if pair[0] in _KEPT], changes)

    def same(self, **changes: Any) -> str:
        """Return this page's address with *changes*; None removes a parameter."""
        return self._address(self._page, self._query, changes)

    def kept(self, *without: str) -> list[tuple[str, str]]:
        """Return this page's query except *without*, for the hidden fields of a form."""
        return [pair for pair in self._query if pair[0] not in without]

    def action(self, page: str | None = None) -> str:
        """Return the address that a form is sent to."""
        return self._address(self._page if page is None else page, [], {})

    def filtered(self, field: str, value: object) -> str | None:
        """Return this page's address with one more filter; None if *value* is too long for an address."""
        if value is None or len(str(value)) > _MAX_VALUE:
            return None
        made = {"field": field, "op": "eq", "value": value}
        return self.where(self._where if made in self._where else [*self._where, made])

    @property
    def filters(self) -> list[dict[str, Any]]:
        """The filters of this page."""
        return list(self._where)

    def also(self, made: dict[str, Any]) -> str:
        """Return this page's address with the filter *made* as well."""
        return self.where([*self._where, made])

    def without(self, index: int) -> str:
        """Return this page's address without its filter number *index*."""
        return self.where([each for at, each in enumerate(self._where) if at != index])

    def saved_funnel(self, each: SavedFunnel) -> str:
        """Return the address of a saved funnel, with the same dates and filters."""
        pairs = [("step", step) for step in each.steps]
        changes = {"window": each.window, "order": each.order, "breakdown": each.breakdown}
        return self._address("funnels", [pair for pair in self._query if pair[0] in _KEPT] + pairs, changes)

    def shows(self, each: SavedFunnel) -> bool:
        """Return whether this page shows the saved funnel *each*."""
        asked = {"order": "ordered", **dict(self.funnel_set())}
        steps = [value for name, value in self._query if name == "step"]
        return steps == list(each.steps) and all(
            asked.get(name) == getattr(each, name) for name in ("window", "order", "breakdown")
        )

    def saved_filter(self, each: SavedFilter, page: str | None = None) -> str:
        """Return the address of this page, or of *page*, with the filters and the dates of *each*."""
        changes: dict[str, Any] = {"where": _text(list(each.where))}
        if each.period or each.from_ or each.to:
            changes |= {"period": each.period, "from": each.from_, "to": each.to}
        if page is not None:
            return self.page(page, **changes)
        return self.same(**changes)

    def filter_set(self) -> list[tuple[str, str]]:
        """Return the parameters for filters and dates of this page, for the form that saves them."""
        return [pair for pair in self._query if pair[0] in ("where", "period", "from", "to")]

    def funnel_set(self) -> list[tuple[str, str]]:
        """Return the parameters of this page's funnel, for the form that saves it."""
        return [pair for pair in self._query if pair[0] in ("step", "window", "order", "breakdown")]

    def to(self, page: str, query: str) -> str:
        """Return the address of *page* with *query*."""
        return self._address(page, parse_qsl(query), {})

    def shared(self, token: str) -> str:
        """Return the address that *token* opens."""
        return self._address(f"{SHARED}{token}", [], {})

    def erase(self, user_id: str) -> str:
        """Return the address of the page that asks whether a user is to be erased."""
        return self._address("erase", [], {"user_id": user_id})

    def where(self, where: list[dict[str, Any]]) -> str:
        """Return this page's address with the filters *where*."""
        changes = dict.fromkeys(("filter_field", "filter_op", "filter_value"))
        return self.same(where=_text(where), **changes)

    def _address(self, page: str, query: list[tuple[str, str]], changes: dict[str, Any]) -> str:
        changes = {name.rstrip("_"): value for name, value in changes.items()}
        pairs = [pair for pair in query if pair[0] not in changes]
        pairs += [(name, str(value)) for name, value in changes.items() if value is not None]
        text = urlencode(pairs, errors="replace")
        return f"{self._mount}/{page}{'?' if text else ''}{text}"


class SharedLinks(Links):
    """The links of a shared page: only to itself, as HTML, JSON and CSV."""

    fixed = True

    def __init__(self, mount: str, token: str, where: Iterable[Filter]) -> None:
        super().__init__(mount, f"{SHARED}{token}", (), where)

    def filtered(self, field: str, value: object) -> str | None:
        """Return None: filters can't be changed."""
        return None

    def _address(self, page: str, query: list[tuple[str, str]], changes: dict[str, Any]) -> str:
        twin = {name: value for name, value in changes.items() if name in ("format", "table")}
        return super()._address(self._page, [], twin)


def _text(where: list[dict[str, Any]]) -> str | None:
    return json.dumps(where, separators=(",", ":"), ensure_ascii=False) if where else None


def _plain(condition: Filter) -> dict[str, Any]:
    made: dict[str, Any] = {"field": condition.field, "op": condition.op}
    if condition.op not in ("exists", "not_exists"):
        value = condition.value
        made["value"] = value if isinstance(value, (str, int, float)) else sorted(value)
    return made


def web_address(text: object) -> str | None:
    """Return *text* if it is an http or https address, else None: nothing else may become a link."""
    if not isinstance(text, str) or len(text) > 2000 or any(each <= " " for each in text):
        return None
    try:
        parts = urlsplit(text)
        known = parts.scheme.lower() in ("http", "https") and bool(parts.hostname)
    except ValueError:
        return None
    return text if known else None
