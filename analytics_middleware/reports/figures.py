"""The figures of a report: a period compared with the one before, and what changed most."""

import dataclasses
import math
from datetime import date, timedelta
from typing import Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.store.calendar import local_day
from analytics_middleware.store.questions import MAX_LIMIT
from analytics_middleware.web.links import Links
from analytics_middleware.web.pages.overview import Tile, overview
from analytics_middleware.web.pages.scope import Scope, Span
from analytics_middleware.web.pages.series import PAGEVIEW, Point
from analytics_middleware.web.tables import Table

_TABLES: Final = {"pages": "Page", "sources": "Source", "countries": "Country", "events": "Event"}
"""The overview's tables that a report includes, and the name of a row in each."""
_ROWS: Final = 10
_CHANGES: Final = 6
_LEAST: Final = 10
"""Visitors below which a change is not worth mentioning."""
_DEVIATIONS: Final = 3.0
"""How many standard deviations a count must differ from the change of all visitors together to be mentioned."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One value of a field: its visitors, its events, and its visitors in the period before."""

    key: str
    visitors: int
    count: int
    before: int | None
    """None if there is no period before, or if it has too many values to list them all."""
    link: str | None = None
    """The dashboard, filtered by this value."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A table of a report."""

    name: str
    title: str
    column: str
    counted: str
    rows: tuple[Row, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A value whose number of visitors changed more than chance and the change of all visitors can explain."""

    what: str
    """``Page``, ``Source``, ``Country`` or ``Event``."""
    key: str
    visitors: int
    before: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The figures of a period and of the one before. Rates are fractions, money is in minor units."""

    title: str
    first: date
    last: date
    """The last day, included."""
    before_first: date | None
    before_last: date | None
    tz: str
    unit: str
    """The time that each of *points* covers: ``hour``, ``day``, ``week`` or ``month``."""
    tiles: tuple[Tile, ...]
    points: tuple[Point, ...]
    """Visitors over time."""
    changes: tuple[Change, ...]
    sections: tuple[Section, ...]
    bots: int
    """Page views of bots that were left out."""
    cookieless: int
    """Cookieless visitors, who count once on each day."""
    dashboard: str | None = None
    """The dashboard's page for the same days."""


def build_report(analytics: Analytics, scope: Scope, title: str, dashboard_url: str | None = None) -> Report:
    """Return the report about *scope*, with links into the dashboard at *dashboard_url* if there is one.

    Raises `AnalyticsError` if there is no store to ask.
    """
    view = overview(analytics, scope, {"metric": "visitors"}, _ROWS)
    links = None
    if dashboard_url is not None:
        period = [("from", scope.first.isoformat()), ("to", scope.last.isoformat()), ("tz", scope.tz)]
        links = Links(dashboard_url.rstrip("/"), "", period, scope.where)
    visitors = next(each for each in view.tiles if each.metric == "visitors")
    share = _share(visitors.value or 0, visitors.before or 0)
    sections: list[Section] = []
    changes: list[Change] = []
    for name, what in _TABLES.items():
        table = view.tables[name]
        before = None if scope.before is None else _visitors_by_key(analytics, scope, scope.before, table)
        sections.append(_section(table, before, links))
        if before is not None:
            now = _visitors_by_key(analytics, scope, Span(start=scope.start, end=scope.end), table)
            changes += [each for each in _changes(what, now, before) if _deviations(each, share) >= _DEVIATIONS]
    changes.sort(key=lambda each: (-_deviations(each, share), each.what, each.key))
    whole = scope.before_whole
    return Report(
        title=_encodable(title),
        first=scope.first,
        last=scope.last,
        before_first=None if whole is None else local_day(whole.start, scope.tz),
        before_last=None if whole is None else local_day(whole.end, scope.tz) - timedelta(days=1),
        tz=scope.tz,
        unit=scope.unit,
        tiles=view.tiles,
        points=view.points,
        changes=tuple(changes[:_CHANGES]),
        sections=tuple(sections),
        bots=view.bots,
        cookieless=view.cookieless,
        dashboard=None if links is None else links.where(links.filters),
    )


def _visitors_by_key(analytics: Analytics, scope: Scope, span: Span, table: Table) -> dict[str, int]:
    asked = scope.of(span)
    if table.name == "pages":
        asked["where"] = (*scope.where, PAGEVIEW)
    found = analytics.insights.top_values(table.field or table.name, limit=MAX_LIMIT, **asked)
    return {each.key: each.users for each in found}


def _section(table: Table, before: dict[str, int] | None, links: Links | None) -> Section:
    first, _, counted = table.columns
    complete = before is not None and len(before) < MAX_LIMIT
    rows: list[Row] = []
    for key, visitors, count in table.rows:
        name = str(key)
        earlier = None if before is None else before.get(name, 0 if complete else None)
        link = None if links is None or not table.field else links.filtered(table.field, key)
        rows.append(
            Row(key=_encodable(name), visitors=_whole(visitors), count=_whole(count), before=earlier, link=link)
        )
    return Section(name=table.name, title=table.title, column=first, counted=counted, rows=tuple(rows))


def _changes(what: str, now: dict[str, int], before: dict[str, int]) -> list[Change]:
    # If a period has more values than were asked for, a missing one may just be too far down in the list.
    cut = max(len(now), len(before)) >= MAX_LIMIT
    keys = now.keys() & before.keys() if cut else now.keys() | before.keys()
    return [
        Change(what=what, key=_encodable(key), visitors=now.get(key, 0), before=before.get(key, 0))
        for key in keys
        if max(now.get(key, 0), before.get(key, 0)) >= _LEAST
    ]


def _share(now: float, before: float) -> float:
    """Return which share of both periods' visitors came in this one; a half if there were none."""
    return now / (now + before) if now + before else 0.5


def _deviations(change: Change, share: float) -> float:
    """Return by how many standard deviations *change* differs from *share*, this period's share of all visitors.

    Given the sum of two Poisson counts, each of them is binomially distributed.
    """
    both = change.visitors + change.before
    spread = math.sqrt(both * share * (1 - share))
    return abs(change.visitors - both * share) / spread if spread else 0.0


def _encodable(text: str) -> str:
    """Return *text* with lone surrogates replaced, because neither mail nor JSON can contain them."""
    return text.encode("utf-8", "replace").decode()


def _whole(cell: object) -> int:
    return cell if isinstance(cell, int) else 0
