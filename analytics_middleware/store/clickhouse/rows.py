"""Rows of records: columns of values in the types of the schema."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from analytics_middleware.event import VISIT_FACTS, Event, EventType
from analytics_middleware.properties import Scalar, clean_properties, clean_text
from analytics_middleware.store.clickhouse.connection import Columns
from analytics_middleware.store.clickhouse.schema import ANON, COOKIELESS, NOBODY, TEXTS, USER
from analytics_middleware.store.filters import EVENT_FIELDS, as_number, as_text
from analytics_middleware.store.identity import identity, is_cookieless
from analytics_middleware.store.instants import micros

Moment = tuple[int, str]
"""A timestamp in microseconds and an event id."""

_OWN: Final = tuple(name for name in TEXTS if name in EVENT_FIELDS)
_VISIT: Final = tuple(name for name in TEXTS if name not in EVENT_FIELDS)
_to_json = msgspec.json.Encoder().encode
_identity = lru_cache(8192)(identity)


class EventRow(msgspec.Struct, frozen=True):
    """An event to store: its time, and its ids, empty if they identify nobody."""

    at: int
    user_id: str
    anon_id: str
    event: Event

    @classmethod
    def of(cls, event: Event) -> "EventRow":
        """Return the row of *event*."""
        return cls(micros(event.timestamp), name_of(event.user_id), name_of(event.anon_id), event)

    @property
    def moment(self) -> Moment:
        """Its time and event id."""
        return self.at, self.event_id

    @property
    def event_id(self) -> str:
        """The event's id."""
        return storable(self.event.event_id)

    @property
    def kind(self) -> int:
        """The kind of its visitor."""
        if self.user_id:
            return USER
        if not self.anon_id:
            return NOBODY
        return COOKIELESS if is_cookieless(self.anon_id) else ANON

    @property
    def bot(self) -> bool:
        """Whether it is a bot's. Only page views without a user can be."""
        return self.event.visit.is_bot and self.event.type is EventType.PAGEVIEW and not self.user_id


def name_of(value: str | None) -> str:
    """Return *value* if it identifies somebody, else an empty string."""
    known = _identity(value)
    return "" if known is None else storable(known)


def event_columns(rows: Sequence[EventRow]) -> Columns:
    """Return the columns of ``events``."""
    events = [row.event for row in rows]
    visits = [event.visit for event in events]
    paid = [event.revenue for event in events]
    values = [properties_of(event.properties) for event in events]
    return {
        "event_id": [row.event_id for row in rows],
        "timestamp": [row.at for row in rows],
        "kind": [row.kind for row in rows],
        "user_id": [row.user_id for row in rows],
        "anon_id": [row.anon_id for row in rows],
        "bot": [row.bot for row in rows],
        "type": [event.type.value for event in events],
        "name": _texts(event.name for event in events),
        **{name: _texts(getattr(event, name) for event in events) for name in _OWN},
        **{name: _texts(getattr(visit, name) for visit in visits) for name in _VISIT},
        **{name: [getattr(visit, name) for visit in visits] for name in VISIT_FACTS},
        "duration": [_finite(event.duration) for event in events],
        "status_code": [event.status_code for event in events],
        "currency": [None if money is None else money.currency for money in paid],
        "revenue_minor": [0 if money is None else money.minor for money in paid],
        "revenue": [None if money is None else float(money.amount) for money in paid],
        "properties": [_object(event.properties) if event.properties else "" for event in events],
        "texts": [texts for texts, _ in values],
        "numbers": [numbers for _, numbers in values],
    }


def properties_of(properties: Mapping[str, Scalar]) -> tuple[dict[str, str], dict[str, float]]:
    """Return the values in the form that questions compare: all as text, and the numeric ones also as numbers."""
    texts: dict[str, str] = {}
    numbers: dict[str, float] = {}
    for name, value in properties.items():
        text = as_text(value)
        if text is not None:
            key = storable(name)
            texts[key] = storable(text)
            number = as_number(value)
            if number is not None:
                numbers[key] = float(number)
    return texts, numbers


def trait_of(moment: Moment, value: Scalar) -> tuple[int, str, str, str, float]:
    """Return one value of a trait as stored: moment, JSON, text, and number or NaN."""
    number = as_number(value)
    text = as_text(value)
    return (
        *moment,
        _to_json(storable(value) if isinstance(value, str) else value).decode(),
        "" if text is None else storable(text),
        math.nan if number is None else float(number),
    )


def storable(text: str) -> str:
    """Return *text* without what UTF-8 can't encode, which records read from a log never contain."""
    return text if text.isascii() else clean_text(text, len(text))


def _object(properties: Mapping[str, Scalar]) -> str:
    try:
        return _to_json(properties).decode()
    except UnicodeEncodeError:
        return _to_json(clean_properties(properties)[0]).decode()


def _texts(values: Iterable[str | None]) -> list[str | None]:
    return [value if value is None or value.isascii() else storable(value) for value in values]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
