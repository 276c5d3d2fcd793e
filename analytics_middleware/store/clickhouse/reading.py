"""Reading everything back: events in order of time, traits, ties and erasures, first dates."""

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from analytics_middleware.event import VISIT_FACTS, Erase, Event, EventType, Identify, Visit
from analytics_middleware.money import Money
from analytics_middleware.store.base import FirstSeen
from analytics_middleware.store.clickhouse.rows import name_of
from analytics_middleware.store.clickhouse.schema import ANON_HASH, TEXTS, USER, USER_HASH
from analytics_middleware.store.clickhouse.scope import AT, Scope
from analytics_middleware.store.filters import EVENT_FIELDS
from analytics_middleware.store.instants import from_micros, micros
from analytics_middleware.store.people import people

_HOUR: Final = 3_600_000_000
_PAGE: Final = 10_000
_PLAIN: Final = ("event_id", "type", "user_id", "anon_id", "duration", "status_code", "currency", "revenue_minor")
_COLUMNS: Final = (*_PLAIN, "properties", *TEXTS, *VISIT_FACTS)
_VISIT: Final = tuple(name for name in (*TEXTS, *VISIT_FACTS) if name not in EVENT_FIELDS)


def read_events(
    ask: Callable[[], Scope],
    start: datetime | None,
    end: datetime | None,
    user_id: str | None,
    after: tuple[datetime, str] | None,
) -> Iterator[Event]:
    """Yield the events of ``[start, end)``, of one user, after a moment, in order of time and event id.

    They are queried by hour and page, so no result has to be sorted or held as a whole.
    """
    low = -(2**62) if start is None else micros(start)
    high = 2**62 if end is None else micros(end)
    moment = (low, "") if after is None else (micros(after[0]), after[1])
    hours = _hours(ask(), (max(low, moment[0]), high), user_id)
    for begin in hours:
        bounds = (max(low, moment[0], begin), min(high, begin + _HOUR))
        while page := _page(ask(), bounds, moment, user_id):
            moment = (page[-1][0], page[-1][1])
            yield from map(_event, page)
            if len(page) < _PAGE:
                break


def _hours(scope: Scope, span: tuple[int, int], user_id: str | None) -> list[int]:
    """Return the beginnings of hours that have events."""
    hour = f"{AT} - positiveModulo({AT}, {scope.bind('Int64', _HOUR)}) AS hour"
    rows = scope.events(hour, bots=True, span=span, also=_theirs(scope, user_id))
    return [begin for (begin,) in scope.ask(f"{rows} GROUP BY hour ORDER BY hour")]


def _page(scope: Scope, span: tuple[int, int], after: tuple[int, str], user_id: str | None) -> list[tuple[Any, ...]]:
    at, event_id = scope.bind("Int64", after[0]), scope.bind("String", after[1])
    columns = f"{AT} AS at, {', '.join(f'e.{name}' for name in _COLUMNS)}"
    also = [*_theirs(scope, user_id), f"({AT}, e.event_id) > ({at}, {event_id})"]
    rows = scope.events(columns, bots=True, span=span, also=also)
    return scope.ask(f"{rows} ORDER BY at, e.event_id LIMIT {scope.bind('UInt32', _PAGE)}")


def _theirs(scope: Scope, user_id: str | None) -> list[str]:
    """Return the condition that an event belongs to *user_id*, if given, or to an anonymous id of theirs."""
    if user_id is None:
        return []
    bound = scope.bind("String", name_of(user_id))
    owned = f"SELECT {ANON_HASH.format('anon_id')} FROM ({scope.owners()}) WHERE owner = {bound}"
    return [f"e.actor {scope.layout.spread}IN (SELECT {USER_HASH.format(bound)} UNION ALL {owned})"]


def _event(row: tuple[Any, ...]) -> Event:
    at, *rest = row
    values = dict(zip(_COLUMNS, rest, strict=True))
    currency = values["currency"]
    return Event(
        event_id=values["event_id"],
        type=EventType(values["type"]),
        timestamp=from_micros(at),
        user_id=values["user_id"] or None,
        anon_id=values["anon_id"] or None,
        duration=values["duration"],
        status_code=values["status_code"],
        properties=msgspec.json.decode(values["properties"]) if values["properties"] else {},
        revenue=None if currency is None else Money.from_minor(values["revenue_minor"], currency),
        visit=Visit(**{name: values[name] for name in _VISIT}),
        **{name: values[name] for name in TEXTS if name in EVENT_FIELDS},
    )


def read_people(scope: Scope, user_id: str | None) -> Iterator[Identify | Erase]:
    """Return all erasures, then traits and ties, of everybody or of one user, as records for `apply`."""
    erased = {name: from_micros(until) for name, until in scope.ask(scope.erased_users())}
    browsers: dict[str, list[str]] = {}
    for anon_id, owner in scope.ask(scope.erased_anons()) if erased else ():
        browsers.setdefault(anon_id, []).append(owner)
    ties = [
        (anon_id, owner, (from_micros(at), event_id)) for anon_id, owner, at, event_id in scope.ask(scope.all_ties())
    ]
    traits = {
        (owner, key): ((from_micros(at), event_id), msgspec.json.decode(text))
        for owner, key, at, event_id, text in scope.ask(scope.all_traits())
    }
    records = people(erased, browsers, ties, traits)
    return (record for record in records if user_id in (None, record.user_id))


def read_first_seen(ask: Callable[[], Scope]) -> Iterator[FirstSeen]:
    """Yield when each id was first seen, page by page."""
    last = 0
    while page := _first_dates(ask(), last):
        for actor, kind, name, at, human, has_human in page:
            last = actor
            yield FirstSeen(
                name if kind == USER else None,
                None if kind == USER else name,
                from_micros(at),
                from_micros(human) if has_human else None,
            )


def _first_dates(scope: Scope, after: int) -> list[tuple[Any, ...]]:
    return scope.ask(scope.first_dates(after, _PAGE))
