"""The layout of a segment: the columns of an event and their meaning, for writing and reading."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

import msgspec

from analytics_middleware.event import FROM_REQUEST, VISIT_FACTS, Event, EventType, Visit
from analytics_middleware.money import Money
from analytics_middleware.store._arrays import Hashes, np, pa
from analytics_middleware.store.filters import EVENT_FIELDS, VISIT_FIELDS
from analytics_middleware.store.identity import identity, is_cookieless
from analytics_middleware.store.instants import from_micros, micros

USER, ANON, COOKIELESS = 0, 1, 2

TEXTS: Final = (
    "type",
    "name",
    "event_name",
    "action_name",
    *FROM_REQUEST,
    *sorted(VISIT_FIELDS - {*VISIT_FACTS}),
    "currency",
    "properties",
)
"""Text columns: names and ids as they are, properties as one JSON object."""
SCHEMA: Final[Any] = pa.schema(
    [
        ("event_id", pa.string()),
        ("timestamp", pa.timestamp("us")),
        *((name, pa.string()) for name in TEXTS),
        *((name, pa.bool_()) for name in VISIT_FACTS),
        ("duration", pa.float64()),
        ("status_code", pa.int64()),
        ("revenue_minor", pa.int64()),
    ]
)
"""The columns of every segment. Timestamps are UTC, without a zone."""
COLUMNS: Final[tuple[str, ...]] = tuple(SCHEMA.names)
ACTOR: Final = "actor_number"
"""In compacted segments: the number of the event's id."""
VISITOR: Final = "visitor_number"
"""In compacted segments: the number of the id's owner when the segment was written. Rows are sorted by it."""
PROPERTY: Final = "properties."
"""In compacted segments: the prefix of columns that hold one property, as JSON."""

_PLAIN: Final = tuple(sorted(EVENT_FIELDS - {"type", "user_id", "anon_id"}))
_VISIT: Final = tuple(sorted(VISIT_FIELDS))
_BOTH_WAYS: Final = ("event_id", "type", "user_id", "anon_id", "currency", "revenue_minor", "properties")
_to_json = msgspec.json.Encoder().encode
_from_json = msgspec.json.Decoder().decode
_identity = lru_cache(8192)(identity)


def to_json(value: Any) -> str:
    """Return *value* as compact JSON."""
    return _to_json(value).decode()


def from_json(text: str) -> Any:
    """Return the value of JSON *text*."""
    return _from_json(text)


def table_of(events: Sequence[Event]) -> Any:
    """Return *events* as an Arrow table of `SCHEMA`, one row each, in the same order."""
    columns: dict[str, Iterable[Any]] = {
        "event_id": [event.event_id for event in events],
        "timestamp": np.fromiter((micros(event.timestamp) for event in events), np.int64, len(events)),
        "type": [event.type.value for event in events],
        "name": [event.name for event in events],
        "user_id": [_identity(event.user_id) for event in events],
        "anon_id": [_identity(event.anon_id) for event in events],
        "currency": [None if event.revenue is None else event.revenue.currency for event in events],
        "revenue_minor": [None if event.revenue is None else event.revenue.minor for event in events],
        "properties": [_to_json(event.properties).decode() if event.properties else None for event in events],
    }
    columns |= {name: [getattr(event, name) for event in events] for name in _PLAIN}
    visits = [event.visit for event in events]
    columns |= {name: [getattr(visit, name) for visit in visits] for name in _VISIT}
    return pa.table({name: pa.array(columns[name], SCHEMA.field(name).type) for name in COLUMNS}, schema=SCHEMA)


def events_of(table: Any) -> Iterator[Event]:
    """Yield the events of *table*, the reverse of `table_of`; requests and addresses are not stored."""
    columns = {name: table.column(name).to_pylist() for name in (*_PLAIN, *_VISIT, *_BOTH_WAYS)}
    times: list[int] = table.column("timestamp").cast(pa.int64()).to_pylist()
    plain = zip(*(columns[name] for name in _PLAIN), strict=True)
    visits = zip(*(columns[name] for name in _VISIT), strict=True)
    rest = zip(*(columns[name] for name in _BOTH_WAYS), strict=True)
    for at, fields, visit, row in zip(times, plain, visits, rest, strict=True):
        event_id, kind, user_id, anon_id, currency, minor, properties = row
        yield Event(
            event_id=event_id,
            type=EventType(kind),
            timestamp=from_micros(at),
            user_id=user_id,
            anon_id=anon_id,
            revenue=None if currency is None else Money.from_minor(minor, currency),
            properties={} if properties is None else _from_json(properties),
            visit=Visit(**dict(zip(_VISIT, visit, strict=True))),
            **dict(zip(_PLAIN, fields, strict=True)),
        )


def actor_kind(user_id: str | None, anon_id: str | None) -> int:
    """Return the kind of visitor of an event with these ids, of which at least one is given."""
    if user_id is not None:
        return USER
    return COOKIELESS if is_cookieless(anon_id) else ANON


def hash_text(text: str, prefix: bytes = b"") -> int:
    """Return a 64-bit hash of *text*, the same in every process."""
    return int.from_bytes(blake2b(prefix + text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")


def actor_hash(kind: int, text: str) -> int:
    """Return the hash of an id; a user and a visitor with the same id have different hashes."""
    return hash_text(text, b"u" if kind == USER else b"a")


def event_hashes(ids: Sequence[str]) -> Hashes:
    """Return the hashes that identify events. With 64 bits, ten million events are unlikely to share one."""
    digests = [blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest() for text in ids]
    return np.frombuffer(b"".join(digests), np.uint64)
