"""The limits of the log: deletes entries that all have passed, skips consumers that lag too far, retires old ones.

All of it runs within others' write transactions, which also count what is lost.
"""

from collections.abc import Callable
from sqlite3 import Connection
from typing import Final, NamedTuple

from analytics_middleware.outbox.counting import count, last_seq, pending_events
from analytics_middleware.outbox.database import bytes_in_use
from analytics_middleware.outbox.leases import Leases

RETIRED_AFTER: Final = 7 * 86400.0
"""Seconds that a consumer is kept after processes stopped configuring it."""
OVERFLOW: Final = "overflow"
"""The reason under which entries lost to the limits are counted."""

_PRUNE_EVERY = 1.0
_PRUNE_ROWS = 2000
"""Maximum rows deleted in one transaction, so that other writers wait no longer than for a group of events."""

# A single statement: in a busy server each one waits for Python's lock several times.
_MARKS: Final = """
    WITH ends (last, read) AS (
        SELECT coalesce(max(seq), 0), (SELECT min(cursor) FROM consumer WHERE reads_private)
        FROM sqlite_sequence WHERE name = 'log'
    )
    SELECT (SELECT min(seq) FROM log),
        min(coalesce((SELECT min(cursor) FROM consumer), last),
            coalesce((SELECT min(cursor) FROM reader WHERE until >= ?), last)),
        coalesce(read, last),
        (SELECT min(seq) FROM log WHERE seq > ? AND seq <= coalesce(read, last) AND private IS NOT NULL)
    FROM ends
"""


class _Marks(NamedTuple):
    """Positions in the log."""

    first: int | None
    """The oldest entry."""
    passed: int
    """The last entry that nobody needs."""
    read: int
    """The last entry whose private data nobody needs."""
    private: int | None
    """The oldest entry whose private data must be cleared."""


class Limits:
    """Limits the entries kept for a lagging consumer to *max_pending*, and the database to *max_bytes*."""

    def __init__(
        self, max_pending: int, max_bytes: int, clock: Callable[[], float], monotonic: Callable[[], float]
    ) -> None:
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._clock = clock
        self._monotonic = monotonic
        self.reset()

    def reset(self) -> None:
        """Reset the state, initially and in a forked child."""
        self.more_to_prune = False
        """Whether more should be deleted than fits in one transaction."""
        self._pruned_at = 0.0
        self._cleared = 0

    def due(self) -> bool:
        """Whether it is time to prune."""
        return self._monotonic() - self._pruned_at >= _PRUNE_EVERY

    def prune(self, connection: Connection) -> None:
        """Delete entries that all consumers and readers have passed; clear private data no longer needed."""
        self._pruned_at = self._monotonic()
        marks = self._marks(connection)
        if marks.first is not None and marks.first <= marks.passed:
            last = min(marks.passed, marks.first + _PRUNE_ROWS - 1)
            connection.execute("DELETE FROM log WHERE seq <= ?", (last,))
            self.more_to_prune = last < marks.passed
        else:
            self.more_to_prune = False
        if marks.private is not None:
            connection.execute(
                "UPDATE log SET private = NULL WHERE seq >= ? AND seq <= ? AND private IS NOT NULL",
                (marks.private, marks.read),
            )
        # Cleared entries need no second look while another consumer lags.
        self._cleared = max(self._cleared, marks.read)

    def apply(self, connection: Connection) -> None:
        """Move consumers forward that lag by more than the limits allow."""
        _skip(connection, last_seq(connection) - self._max_pending)
        if bytes_in_use(connection) <= self._max_bytes:
            return
        rows, first = connection.execute("SELECT count(*), min(seq) FROM log").fetchone()
        if not rows:
            for name, waiting in connection.execute(
                "SELECT consumer, count(*) FROM retry GROUP BY consumer"
            ).fetchall():
                _drop_retries(connection, name, waiting - max(1, waiting // 10))
        elif first > self._marks(connection).passed:
            # Skip a tenth, and nothing more until it is deleted: checking too early must not drop more than that.
            _skip(connection, first - 1 + max(1, rows // 10))
        self.more_to_prune = True

    def keep_retries(self, connection: Connection, consumer: str) -> None:
        """Limit the retries of *consumer* to the number of entries that the log may keep for it."""
        _drop_retries(connection, consumer, self._max_pending)

    def retire(self, connection: Connection, leases: Leases, now: float) -> None:
        """Delete consumers that no process has configured for a week, and count their undelivered events."""
        for name, cursor, *lease in connection.execute(
            "SELECT name, cursor, holder, boot, lease_until FROM consumer WHERE seen < ?", (now - RETIRED_AFTER,)
        ).fetchall():
            if leases.live(*lease):
                # Somebody is delivering for it, so the clock must have jumped.
                continue
            # Its own counters are deleted too: if it comes back, it starts at the end of the log, from zero.
            count(connection, {"dropped.retired": pending_events(connection, name, cursor)[0]})
            connection.execute("DELETE FROM counter WHERE substr(name, 1, ?) = ?", (len(name) + 1, f"{name}/"))
            connection.execute("DELETE FROM retry WHERE consumer = ?", (name,))
            connection.execute("DELETE FROM consumer WHERE name = ?", (name,))

    def _marks(self, connection: Connection) -> _Marks:
        return _Marks._make(connection.execute(_MARKS, (self._clock(), self._cleared)).fetchone())


def _skip(connection: Connection, seq: int) -> None:
    """Move consumers behind *seq* to it, and count the events they miss."""
    for name, cursor in connection.execute("SELECT name, cursor FROM consumer WHERE cursor < ?", (seq,)).fetchall():
        (lost,) = connection.execute(
            "SELECT count(*) FROM log WHERE seq > ? AND seq <= ? AND kind = 'event'", (cursor, seq)
        ).fetchone()
        connection.execute("UPDATE consumer SET cursor = ? WHERE name = ?", (seq, name))
        count(connection, {f"{name}/dropped.{OVERFLOW}": lost})


def _drop_retries(connection: Connection, consumer: str, keep: int) -> None:
    """Keep the newest *keep* retries of *consumer*; drop and count the others."""
    (waiting,) = connection.execute("SELECT count(*) FROM retry WHERE consumer = ?", (consumer,)).fetchone()
    if waiting > keep:
        lost = connection.execute(
            "DELETE FROM retry WHERE consumer = ? AND seq IN "
            "(SELECT seq FROM retry WHERE consumer = ? ORDER BY seq LIMIT ?) RETURNING kind",
            (consumer, consumer, waiting - keep),
        ).fetchall()
        count(connection, {f"{consumer}/dropped.{OVERFLOW}": sum(kind == "event" for (kind,) in lost)})
