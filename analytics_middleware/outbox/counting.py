"""Counters in the database, updated in the transaction that they count, and figures derived from them."""

from collections.abc import Mapping
from sqlite3 import Connection
from typing import Any

from analytics_middleware.outbox.base import ConsumerStats


def count(connection: Connection, counts: Mapping[str, int]) -> None:
    """Add *counts*, some of which may be negative."""
    connection.executemany(
        "INSERT INTO counter (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
        [(name, value) for name, value in counts.items() if value],
    )


def counter_value(connection: Connection, name: str) -> int:
    """Return the value of the counter *name*."""
    row = connection.execute("SELECT value FROM counter WHERE name = ?", (name,)).fetchone()
    return 0 if row is None else int(row[0])


def last_seq(connection: Connection) -> int:
    """Return the last sequence number of the log."""
    # From SQLite's sequence: the last row may have been pruned.
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'log'").fetchone()
    return 0 if row is None else int(row[0])


def pending_events(connection: Connection, name: str, cursor: int) -> tuple[int, float | None]:
    """Return how many events wait for consumer *name*, and the timestamp of the oldest, ignoring replayed ones."""
    row: tuple[int, float | None] = connection.execute(
        "SELECT count(*), min(CASE WHEN seq > 0 THEN timestamp END) FROM "
        "(SELECT seq, timestamp FROM log WHERE seq > ? AND kind = 'event' "
        "UNION ALL SELECT seq, timestamp FROM retry WHERE consumer = ? AND kind = 'event')",
        (cursor, name),
    ).fetchone()
    return row


def consumer_stats(connection: Connection, counters: Mapping[str, int], name: str, *state: Any) -> ConsumerStats:
    """Return the state of consumer *name*; *state* is its cursor, baseline, breaker and last error."""
    cursor, baseline, breaker, last_error = state
    pending, oldest = pending_events(connection, name, cursor)
    prefix = f"{name}/dropped."
    return ConsumerStats(
        accepted=counters.get("accepted", 0) - baseline,
        delivered=counters.get(f"{name}/delivered", 0),
        pending=pending,
        dead=counters.get(f"{name}/dead", 0),
        dropped={key.removeprefix(prefix): count for key, count in counters.items() if key.startswith(prefix)},
        breaker=breaker,
        last_error=last_error,
        oldest_pending=oldest,
    )
