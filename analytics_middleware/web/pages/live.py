"""*Live*: who is here now, and what they do as they do it."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.event import Event
from analytics_middleware.store.filters import field_value
from analytics_middleware.store.identity import identity
from analytics_middleware.web.pages.recent import recent
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.tables import Table, table

NOW: Final = timedelta(minutes=5)
"""Who did something in this time is here."""
_SHOWN: Final = 30
_SAMPLE: Final = 2000


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """One event of the stream."""

    event_id: str
    time: datetime
    name: str
    user_id: str | None
    path: str | None
    route: str | None
    country: str | None
    source: str | None
    device: str | None
    status_code: int | None
    currency: str | None
    revenue: int | None
    """Minor units."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The page. Filters count; the dates do not."""

    scope: Scope
    now: datetime
    visitors: int
    stream: tuple[Happening, ...]
    tables: dict[str, Table]


def live(analytics: Analytics, scope: Scope, _asked: dict[str, Any], rows: int) -> Live:
    """Return the page."""
    now, since = scope.now, scope.now - NOW
    here = analytics.insights.active_users(
        since, now + timedelta(seconds=1), tz=scope.tz, where=scope.where, bots=scope.bots
    )
    latest = [event for event in recent(analytics, _SAMPLE) if _passes(event, scope)]
    latest.sort(key=lambda event: event.timestamp, reverse=True)
    stream = tuple(_happening(event) for event in latest[: max(_SHOWN, rows)])
    present = [event for event in latest if event.timestamp > since]
    columns = ("Time", "Event", "User", "Path", "Country", "Source", "Device")
    cells = [(e.time, e.name, e.user_id, e.path, e.country, e.source, e.device) for e in stream]
    return Live(
        scope=scope,
        now=now,
        visitors=here.count,
        stream=stream,
        tables={
            "routes": _top("routes", "Pages now", "Route", "matched_pattern", present, rows),
            "sources": _top("sources", "Sources now", "Source", "source", present, rows),
            "countries": _top("countries", "Countries now", "Country", "country", present, rows),
            "stream": table("stream", "Events", columns, cells),
        },
    )


def _passes(event: Event, scope: Scope) -> bool:
    # Traits are not in the log: a filter by one passes nothing here that it could wrongly let through.
    bot = event.visit.is_bot and not scope.bots
    return not bot and all(each.matches(field_value(event, {}, each.field)) for each in scope.where)


def _happening(event: Event) -> Happening:
    return Happening(
        event_id=event.event_id,
        time=event.timestamp,
        name=event.name,
        user_id=identity(event.user_id),
        path=event.path,
        route=event.matched_pattern,
        country=event.visit.country,
        source=event.visit.source,
        device=event.visit.device,
        status_code=event.status_code,
        currency=None if event.revenue is None else event.revenue.currency,
        revenue=None if event.revenue is None else event.revenue.minor,
    )


def _top(name: str, title: str, column: str, field: str, events: list[Event], rows: int) -> Table:
    people: dict[str, set[str]] = {}
    for event in events:
        value, who = field_value(event, {}, field), identity(event.user_id) or identity(event.anon_id)
        if value is not None and who is not None:
            people.setdefault(str(value), set()).add(who)
    ranked = sorted(((value, len(who)) for value, who in people.items()), key=lambda each: (-each[1], each[0]))
    return table(name, title, (column, "Visitors"), ranked[:rows], field)
