"""What people can do with dead letters: look at them, send them again, throw them away."""

import time
from collections.abc import Generator
from typing import NamedTuple

from analytics_middleware.outbox.counting import count
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.erasure import discard_dead_letter

PURGED = "purged"
_CHUNK = 500


class Letter(NamedTuple):
    """A dead letter and its details."""

    id: int
    consumer: str
    at: float
    """When delivery was given up, in seconds since the epoch."""
    reason: str
    kind: str
    record_id: str
    timestamp: float
    payload: bytes


def letters(database: Database, consumer: str | None = None, limit: int | None = None) -> Generator[Letter]:
    """Yield dead letters, of all consumers or of one, oldest first."""
    last, left = 0, limit
    while left is None or left > 0:
        with database.read() as connection:
            rows = connection.execute(
                "SELECT id, consumer, at, reason, kind, record_id, timestamp, payload FROM dead "
                "WHERE id > ? AND consumer = coalesce(?, consumer) ORDER BY id LIMIT ?",
                (last, consumer, _CHUNK if left is None else min(left, _CHUNK)),
            ).fetchall()
        if not rows:
            return
        yield from (Letter(*row) for row in rows)
        last = rows[-1][0]
        left = None if left is None else left - len(rows)


def count_letters(database: Database, consumer: str | None = None) -> int:
    """Return how many dead letters there are."""
    with database.read() as connection:
        (found,) = connection.execute(
            "SELECT count(*) FROM dead WHERE consumer = coalesce(?, consumer)", (consumer,)
        ).fetchone()
    return int(found)


def retry_letters(database: Database, consumer: str | None = None) -> Generator[tuple[int, int]]:
    """Schedule dead letters to be sent again, as if for the first time; yield how many moved and how many could not.

    Dead letters of a collector that is no longer configured stay.
    """
    last = 0
    while True:
        with database.write() as connection:
            chunk = connection.execute(
                "SELECT id, consumer, kind FROM dead WHERE id > ? AND consumer = coalesce(?, consumer) "
                "ORDER BY id LIMIT ?",
                (last, consumer, _CHUNK),
            ).fetchall()
            moved = 0
            for letter, name, kind in chunk:
                copied = connection.execute(
                    "INSERT OR IGNORE INTO retry (consumer, seq, due, attempts, reason, kind, record_id, timestamp, "
                    "payload, flags) SELECT consumer, seq, ?, 0, reason, kind, record_id, timestamp, payload, flags "
                    "FROM dead WHERE id = ? AND consumer IN (SELECT name FROM consumer)",
                    (time.time(), letter),
                ).rowcount
                if copied:
                    connection.execute("DELETE FROM dead WHERE id = ?", (letter,))
                    count(connection, {f"{name}/dead": -int(kind == "event")})
                    moved += 1
        if not chunk:
            return
        yield moved, len(chunk) - moved
        last = chunk[-1][0]


def purge_letters(database: Database, consumer: str | None = None) -> Generator[int]:
    """Delete dead letters and count them as dropped; yield the number deleted, chunk by chunk."""
    while True:
        with database.write() as connection:
            chunk = connection.execute(
                "SELECT id FROM dead WHERE consumer = coalesce(?, consumer) ORDER BY id LIMIT ?", (consumer, _CHUNK)
            ).fetchall()
            purged = sum(discard_dead_letter(connection, letter, PURGED) for (letter,) in chunk)
        if not chunk:
            # Deleted data must not stay in the write-ahead log.
            database.truncate()
            return
        yield purged
