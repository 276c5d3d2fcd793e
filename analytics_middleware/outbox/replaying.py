"""Past events for one consumer: they are stored like retries and delivered like those.

The spans of time that a consumer has been given are remembered, so that an interrupted replay continues where it
stopped and nothing is given twice. They are written in the same transaction as the events.
"""

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from sqlite3 import Connection
from typing import NamedTuple

from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.tombstones import read_tombstones

_CHUNK = 500


class Span(NamedTuple):
    """The time from *start* up to, but not including, *stop*, in microseconds since the epoch."""

    start: int
    stop: int


class Waiting(NamedTuple):
    """How many past events wait for a consumer, and its state."""

    events: int
    breaker: str
    last_error: str | None


class ReplayedMeanwhile(Exception):  # noqa: N818 - another process was quicker, not an error
    """Another replay has given the consumer events of the same time; nothing was written."""


def registered_at(database: Database, consumer: str) -> float | None:
    """Return when *consumer* was first configured, None if that is unknown."""
    with database.read() as connection:
        row = connection.execute("SELECT registered FROM consumer WHERE name = ?", (consumer,)).fetchone()
    return None if row is None or row[0] is None else float(row[0])


def missing_spans(database: Database, consumer: str, whole: Span) -> list[Span]:
    """Return the parts of *whole*, in order, whose events *consumer* has not been given yet."""
    with database.read() as connection:
        given = connection.execute(
            "SELECT start, stop FROM replayed WHERE consumer = ? AND start < ? AND stop > ? ORDER BY start",
            (consumer, whole.stop, whole.start),
        ).fetchall()
    missing: list[Span] = []
    at = whole.start
    for start, stop in given:
        if start > at:
            missing.append(Span(at, start))
        at = max(at, stop)
    if at < whole.stop:
        missing.append(Span(at, whole.stop))
    return missing


def forget_spans(database: Database, consumer: str, whole: Span) -> None:
    """Allow the events of *whole* to be given to *consumer* again."""
    with database.write() as connection:
        for start, stop in connection.execute(
            "SELECT start, stop FROM replayed WHERE consumer = ? AND start < ? AND stop > ?",
            (consumer, whole.stop, whole.start),
        ).fetchall():
            connection.execute("DELETE FROM replayed WHERE consumer = ? AND start = ?", (consumer, start))
            for left, right in ((start, min(stop, whole.start)), (max(start, whole.stop), stop)):
                if left < right:
                    _remember(connection, consumer, Span(left, right))


def hand_over(database: Database, consumer: str, drafts: Sequence[Draft], dues: Sequence[float], span: Span) -> int:
    """Schedule *drafts*, all events of *span*, for *consumer*, each at its due time, and remember the span.

    Return how many were added, which excludes erased events and those already waiting. They count as accepted once
    more, so that the accounting stays exact. Raises `ReplayedMeanwhile`.
    """
    with database.write() as connection:
        if connection.execute(
            "SELECT 1 FROM replayed WHERE consumer = ? AND start < ? AND stop > ?", (consumer, span.stop, span.start)
        ).fetchone():
            raise ReplayedMeanwhile(consumer)
        added = 0
        if drafts:
            tombstones = read_tombstones(connection, min(draft.timestamp for draft in drafts))
            for draft, due in zip(drafts, dues, strict=True):
                if not tombstones.covers(draft):
                    added += _insert(connection, consumer, draft, due)
        connection.execute("UPDATE consumer SET baseline = baseline - ? WHERE name = ?", (added, consumer))
        _remember(connection, consumer, span)
    return added


def expected(database: Database, consumer: str) -> set[str]:
    """Return the ids of events that *consumer* will get anyway, or has refused."""
    with database.read() as connection:
        rows = connection.execute(
            "SELECT record_id FROM log WHERE kind = 'event' AND seq > (SELECT cursor FROM consumer WHERE name = :name) "
            "UNION SELECT record_id FROM retry WHERE consumer = :name "
            "UNION SELECT record_id FROM dead WHERE consumer = :name",
            {"name": consumer},
        ).fetchall()
    return {record_id for (record_id,) in rows}


def waiting(database: Database, consumer: str) -> Waiting:
    """Return what is still waiting for *consumer* of what was handed over."""
    with database.read() as connection:
        (events,) = connection.execute(
            "SELECT count(*) FROM retry WHERE consumer = ? AND seq < 0", (consumer,)
        ).fetchone()
        breaker, error = connection.execute(
            "SELECT breaker, last_error FROM consumer WHERE name = ?", (consumer,)
        ).fetchone()
    return Waiting(events, breaker, error)


def anything_waits(database: Database) -> bool:
    """Whether any event that was handed over still waits for delivery."""
    with database.read() as connection:
        return connection.execute("SELECT 1 FROM retry WHERE seq < 0 LIMIT 1").fetchone() is not None


def logged_history(database: Database, consumer: str, span: Span) -> Iterator[Draft]:
    """Yield the events of *span* that are still in the log but already passed by *consumer*, in order of time."""
    with database.read() as connection:
        keys = connection.execute(
            "SELECT seq FROM log WHERE seq <= (SELECT cursor FROM consumer WHERE name = ?) "
            "AND timestamp >= ? AND timestamp < ? AND kind = 'event' AND payload != x'' ORDER BY timestamp, record_id",
            (consumer, span.start / 1_000_000, span.stop / 1_000_000),
        ).fetchall()
    for begin in range(0, len(keys), _CHUNK):
        with database.read() as connection:
            rows = [
                connection.execute(
                    "SELECT kind, record_id, timestamp, payload, NULL, flags FROM log WHERE seq = ? AND payload != x''",
                    key,
                ).fetchone()
                for key in keys[begin : begin + _CHUNK]
            ]
        yield from (Draft(*row) for row in rows if row is not None)


def count_logged(database: Database, consumer: str, span: Span) -> int:
    """Return how many events `logged_history` yields."""
    with database.read() as connection:
        (found,) = connection.execute(
            "SELECT count(*) FROM log WHERE seq <= (SELECT cursor FROM consumer WHERE name = ?) "
            "AND timestamp >= ? AND timestamp < ? AND kind = 'event' AND payload != x''",
            (consumer, span.start / 1_000_000, span.stop / 1_000_000),
        ).fetchone()
    return int(found)


def _insert(connection: Connection, consumer: str, draft: Draft, due: float) -> int:
    # Numbers of log entries are above 0. A negative hash of the event's id is the same each time it is handed over.
    seq = -1 - (int.from_bytes(blake2b(draft.record_id.encode(), digest_size=8).digest(), "big") >> 1)
    return connection.execute(
        "INSERT OR IGNORE INTO retry (consumer, seq, due, attempts, reason, kind, record_id, timestamp, payload, "
        "flags) VALUES (?, ?, ?, 0, 'replay', ?, ?, ?, ?, ?)",
        (consumer, seq, due, draft.kind, draft.record_id, draft.timestamp, draft.payload, draft.flags),
    ).rowcount


def _remember(connection: Connection, consumer: str, span: Span) -> None:
    # Extend the previous span if this one continues it.
    longer = connection.execute(
        "UPDATE replayed SET stop = ? WHERE consumer = ? AND stop = ?", (span.stop, consumer, span.start)
    ).rowcount
    if not longer:
        connection.execute("INSERT INTO replayed (consumer, start, stop) VALUES (?, ?, ?)", (consumer, *span))
