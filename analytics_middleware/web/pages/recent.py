"""The latest events: what a store in memory keeps, or what is in the log, whose end stays there until it is sealed."""

from typing import Final

import msgspec

from analytics_middleware.analytics import Analytics
from analytics_middleware.event import Event
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store.memory import MemoryStore

_LATEST: Final = "SELECT payload FROM log WHERE kind = 'event' AND length(payload) > 0 ORDER BY seq DESC LIMIT ?"


def recent(analytics: Analytics, limit: int, name: str = "") -> list[Event]:
    """Return the latest events, the newest first: of *limit* those called *name*, if it is not empty."""
    store, outbox = analytics.store, analytics.outbox
    found: list[Event] = []
    if isinstance(store, MemoryStore):
        found = store.latest(limit, name)
    elif isinstance(outbox, SqliteOutbox):
        found = _logged(outbox, limit)
    return [event for event in found if not name or event.name == name]


def _logged(outbox: SqliteOutbox, limit: int) -> list[Event]:
    with outbox.database.read() as connection:
        payloads: list[bytes] = [payload for (payload,) in connection.execute(_LATEST, (limit,)).fetchall()]
    events: list[Event] = []
    for payload in payloads:
        try:
            events.append(Event.decode(payload))
        except (msgspec.DecodeError, ValueError, KeyError):
            # Written by another version.
            continue
    return events
