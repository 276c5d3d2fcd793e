"""Entries that were not delivered: retries and dead letters. Written together with the cursor that passes them."""

from collections.abc import Sequence
from sqlite3 import Connection
from typing import Final

from analytics_middleware.outbox.base import DeadLetter, Settlement

_DEAD_KEPT: Final = 10_000
"""Dead letters kept per consumer; of older ones only the count remains."""


def count_missing(connection: Connection, consumer: str, settlement: Settlement) -> int:
    """Return how many events of a batch of retries were deleted while they were being sent."""
    batch = [*settlement.settled, *(retry.entry for retry in settlement.retries)]
    events = {entry.seq for entry in batch if entry.kind == "event"}
    present = 0
    for seq in events:
        row = connection.execute("SELECT 1 FROM retry WHERE consumer = ? AND seq = ?", (consumer, seq)).fetchone()
        present += row is not None
    return len(events) - present


def settle_retries(connection: Connection, consumer: str, settlement: Settlement) -> None:
    """Delete the retries that were settled, and add those to be retried."""
    if settlement.settled:
        connection.executemany(
            "DELETE FROM retry WHERE consumer = ? AND seq = ?",
            [(consumer, entry.seq) for entry in settlement.settled],
        )
    if settlement.retries:
        connection.executemany(
            "INSERT OR REPLACE INTO retry (consumer, due, reason, seq, kind, record_id, timestamp, payload, "
            "private, flags, attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(consumer, retry.due, retry.reason, *retry.entry) for retry in settlement.retries],
        )


def add_dead_letters(connection: Connection, consumer: str, dead: Sequence[DeadLetter], now: float) -> None:
    """Keep *dead* as dead letters of *consumer*, for people to look at."""
    if dead:
        connection.executemany(
            "INSERT INTO dead (consumer, at, reason, seq, kind, record_id, timestamp, payload, flags) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [(consumer, now, each.reason, *each.entry[:5], each.entry.flags) for each in dead],
        )
        connection.execute(
            "DELETE FROM dead WHERE consumer = ? AND id <= "
            "(SELECT id FROM dead WHERE consumer = ? ORDER BY id DESC LIMIT 1 OFFSET ?)",
            (consumer, consumer, _DEAD_KEPT),
        )
