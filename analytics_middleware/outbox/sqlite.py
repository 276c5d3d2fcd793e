"""The durable outbox: the log, cursors, retries, dead letters and counters in one SQLite database."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from sqlite3 import Connection
from typing import Final

from analytics_middleware.outbox.base import (
    DeadLetter,
    Draft,
    Entry,
    Erased,
    OutboxStats,
    Settlement,
)
from analytics_middleware.outbox.counting import consumer_stats, count, counter_value, last_seq, pending_events
from analytics_middleware.outbox.database import Database, bytes_in_use
from analytics_middleware.outbox.erasure import erase_user
from analytics_middleware.outbox.leases import Leases
from analytics_middleware.outbox.tombstones import ERASED, read_tombstones

_DRAFT = "kind, record_id, timestamp, payload, private, flags"
_ROWS = 50
"""Rows that one statement inserts: the log's sequence number is written once for each statement."""
_INSERT = f"INSERT INTO log ({_DRAFT}) VALUES (?, ?, ?, ?, ?, ?)"  # noqa: S608 - our own names
_INSERT_ROWS = _INSERT + ", (?, ?, ?, ?, ?, ?)" * (_ROWS - 1)
_ENTRY = "seq, kind, record_id, timestamp, payload, private, flags"
_PRUNE_EVERY = 1.0
_PRUNE_ROWS = 2000
"""Rows deleted in one transaction at most: other writers wait no longer than for a group of events."""
_OVERFLOW_EVERY = 256
"""Appends between two looks at how far consumers lag."""
_DEAD_KEPT = 10_000
"""Dead letters kept for a consumer; of older ones only the count remains."""
RETIRED_AFTER: Final = 7 * 86400.0
OVERFLOW: Final = "overflow"
"""The reason under which what is not kept is counted."""


class SqliteOutbox:
    """The log in *directory*; see `Outbox`. Counts and cursors change in the transaction that they belong to.

    For a consumer that lags at most *max_pending* entries and *max_bytes* of database are kept.
    """

    durable = True

    def __init__(
        self,
        directory: Path,
        *,
        max_pending: int = 100_000,
        max_bytes: int = 2**30,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.database = Database(directory)
        self._max_pending = max_pending
        self._max_bytes = max_bytes
        self._clock = clock
        self._monotonic = monotonic
        self._known: dict[str, bool] = {}
        self._reset()

    def _reset(self) -> None:
        self._leases = Leases(self._monotonic)
        self._in_flight: dict[str, Sequence[Entry]] = {}
        self._pruned_at = 0.0
        self._more_to_prune = False
        self._cleared = 0
        self._appends = 0

    def append(self, drafts: Sequence[Draft], counts: Mapping[str, int]) -> int:
        """Write *drafts* durably; see `Outbox.append`."""
        with self.database.write() as connection:
            if drafts:
                tombstones = read_tombstones(connection, min(draft.timestamp for draft in drafts))
                drafts, erased = tombstones.admitted(drafts)
                if erased:
                    counts = {**counts, f"dropped.{ERASED}": counts.get(f"dropped.{ERASED}", 0) + erased}
            accepted = sum(draft.kind == "event" for draft in drafts)
            _insert(connection, drafts)
            count(connection, {**counts, "accepted": accepted} if accepted else counts)
            self._appends += 1
            if self._appends % _OVERFLOW_EVERY == 1:
                self._limit(connection)
            if self._more_to_prune:
                self._prune(connection)
            if self._leases.due():
                self._leases.renew(connection)
            return last_seq(connection)

    def tick(self, consumers: Iterable[str]) -> None:
        """Keep leases alive and note which consumers are configured; called about every second."""
        now = self._clock()
        with self.database.write(durable=False) as connection:
            self._leases.renew(connection)
            connection.executemany("UPDATE consumer SET seen = ? WHERE name = ?", [(now, name) for name in consumers])
            self._retire(connection, now)
            self._limit(connection)
            self._prune(connection)

    @property
    def more_to_prune(self) -> bool:
        """Whether there was more to delete than one transaction should."""
        return self._more_to_prune

    def register(self, consumer: str, *, reads_private: bool = False) -> None:
        """See `Outbox.register`."""
        with self.database.write() as connection:
            connection.execute(
                "INSERT INTO consumer (name, cursor, baseline, seen, registered, reads_private) "
                "VALUES (?1, ?2, ?3, ?4, ?4, ?5) "
                "ON CONFLICT (name) DO UPDATE SET seen = excluded.seen, reads_private = excluded.reads_private",
                (consumer, last_seq(connection), counter_value(connection, "accepted"), self._clock(), reads_private),
            )
        self._known[consumer] = reads_private

    def claim(self, consumer: str) -> int | None:
        """See `Outbox.claim`."""
        epoch = self._leases.fresh(consumer)
        if epoch is not None:
            return epoch
        if consumer not in self._known:
            self.register(consumer)
        with self.database.read() as reading:
            # As a rule another process goes on delivering, and asking it each time would hold up its writes.
            if self._leases.elsewhere(reading, consumer):
                return None
        with self.database.write(durable=False) as connection:
            epoch = self._leases.claim(connection, consumer)
        if epoch is None and consumer in self._known and not self._registered(consumer):
            # Retired while this process did not look: it starts anew.
            self.register(consumer, reads_private=self._known[consumer])
        return epoch

    def release(self, consumer: str) -> None:
        """See `Outbox.release`."""
        with self.database.write(durable=False) as connection:
            self._leases.release(connection, consumer)

    def read(self, consumer: str, limit: int, max_bytes: int) -> list[Entry]:
        """See `Outbox.read`."""
        batch: list[Entry] = []
        size = 0
        with self.database.read() as connection:
            for row in connection.execute(
                f"SELECT {_ENTRY}, 0 FROM log WHERE seq > (SELECT cursor FROM consumer WHERE name = ?) "  # noqa: S608
                "ORDER BY seq LIMIT ?",
                (consumer, limit),
            ):
                size += len(row[4])
                if batch and size > max_bytes:
                    break
                batch.append(Entry._make(row))
        self._in_flight[consumer] = batch
        return batch

    def due(self, consumer: str, now: float, limit: int) -> list[Entry]:
        """See `Outbox.due`."""
        with self.database.read() as connection:
            rows = connection.execute(
                f"SELECT {_ENTRY}, attempts FROM retry WHERE consumer = ? AND due <= ? "  # noqa: S608
                "ORDER BY due, seq LIMIT ?",
                (consumer, now, limit),
            ).fetchall()
        return [Entry._make(row) for row in rows]

    def next_due(self, consumer: str) -> float | None:
        """See `Outbox.next_due`."""
        with self.database.read() as connection:
            (due,) = connection.execute("SELECT min(due) FROM retry WHERE consumer = ?", (consumer,)).fetchone()
        return None if due is None else float(due)

    def settle(
        self,
        consumer: str,
        epoch: int,
        settlement: Settlement,
        within: Callable[[Connection], object] | None = None,
    ) -> None:
        """See `Outbox.settle`; *within* may write more in the same transaction."""
        now = self._clock()
        with self.database.write() as connection:
            cursor = self._leases.check(connection, consumer, epoch)
            if within is not None:
                within(connection)
            if settlement.retries or settlement.dead:
                held = [retry.entry for retry in settlement.retries] + [letter.entry for letter in settlement.dead]
                tombstones = read_tombstones(connection, min(entry.timestamp for entry in held))
                settlement = tombstones.settled(settlement)
            self._settle_retries(connection, consumer, settlement)
            self._bury(connection, consumer, settlement.dead, now)
            counts = {f"{consumer}/dropped.{reason}": number for reason, number in settlement.dropped.items()}
            counts[f"{consumer}/delivered"] = settlement.delivered
            counts[f"{consumer}/dead"] = sum(letter.entry.kind == "event" for letter in settlement.dead)
            count(connection, counts)
            if settlement.cursor is not None:
                self._take_back_overflow(connection, consumer, cursor)
            connection.execute(
                "UPDATE consumer SET cursor = ?, last_error = coalesce(?, last_error), breaker = coalesce(?, breaker) "
                "WHERE name = ?",
                (max(cursor, settlement.cursor or 0), settlement.error, settlement.breaker, consumer),
            )
            if self._more_to_prune or self._monotonic() - self._pruned_at >= _PRUNE_EVERY:
                self._prune(connection)
        self._in_flight.pop(consumer, None)

    def _settle_retries(self, connection: Connection, consumer: str, settlement: Settlement) -> None:
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
            _drop_retries(connection, consumer, self._max_pending)

    def _bury(self, connection: Connection, consumer: str, dead: Sequence[DeadLetter], now: float) -> None:
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

    def _take_back_overflow(self, connection: Connection, consumer: str, cursor: int) -> None:
        """Events that overflow took while they were being sent were counted as dropped; now it is known better."""
        batch = self._in_flight.get(consumer, ())
        if batch and batch[0].seq <= cursor:
            overtaken = sum(entry.kind == "event" and entry.seq <= cursor for entry in batch)
            count(connection, {f"{consumer}/dropped.{OVERFLOW}": -overtaken})

    def passed(self, consumer: str, seq: int) -> bool:
        """See `Outbox.passed`."""
        with self.database.read() as connection:
            row = connection.execute("SELECT cursor FROM consumer WHERE name = ?", (consumer,)).fetchone()
            waiting = connection.execute(
                # Below 0 is what happened long before.
                "SELECT 1 FROM retry WHERE consumer = ? AND seq > 0 AND seq <= ? LIMIT 1",
                (consumer, seq),
            ).fetchone()
        return row is not None and row[0] >= seq and waiting is None

    def stats(self) -> OutboxStats:
        """See `Outbox.stats`."""
        with self.database.read() as connection:
            counters: dict[str, int] = dict(connection.execute("SELECT name, value FROM counter"))
            consumers = {
                name: consumer_stats(connection, counters, name, *state)
                for name, *state in connection.execute(
                    "SELECT name, cursor, baseline, breaker, last_error FROM consumer ORDER BY name"
                ).fetchall()
            }
        return OutboxStats({name: value for name, value in counters.items() if "/" not in name}, consumers)

    def erase(self, user_id: str, record: Draft, progress: Callable[[int], object] = lambda _: None) -> Erased:
        """See `Outbox.erase`."""
        return erase_user(self.database, user_id, record, progress)

    def after_fork(self) -> None:
        """See `Outbox.after_fork`."""
        self.database.after_fork()
        self._known.clear()
        self._reset()

    def close(self) -> None:
        """See `Outbox.close`."""
        self.database.close()

    def _registered(self, consumer: str) -> bool:
        with self.database.read() as connection:
            return connection.execute("SELECT 1 FROM consumer WHERE name = ?", (consumer,)).fetchone() is not None

    def _limit(self, connection: Connection) -> None:
        """Move consumers forward that lag by more than is kept."""
        _skip(connection, last_seq(connection) - self._max_pending)
        if bytes_in_use(connection) <= self._max_bytes:
            return
        rows, first = connection.execute("SELECT count(*), min(seq) FROM log").fetchone()
        if not rows:
            for name, waiting in connection.execute(
                "SELECT consumer, count(*) FROM retry GROUP BY consumer"
            ).fetchall():
                _drop_retries(connection, name, waiting - max(1, waiting // 10))
        elif first > self._passed(connection):
            # A tenth at a time, and not again before it is gone: one look too many must not cost more than that.
            _skip(connection, first - 1 + max(1, rows // 10))
        self._more_to_prune = True

    def _prune(self, connection: Connection) -> None:
        """Delete entries that every consumer has passed, and everybody who reads along."""
        self._pruned_at = self._monotonic()
        passed = self._passed(connection)
        (first,) = connection.execute("SELECT min(seq) FROM log").fetchone()
        last = passed if first is None else min(passed, first + _PRUNE_ROWS - 1)
        connection.execute("DELETE FROM log WHERE seq <= ?", (last,))
        self._more_to_prune = last < passed
        (read,) = connection.execute("SELECT min(cursor) FROM consumer WHERE reads_private").fetchone()
        cleared = last_seq(connection) if read is None else read
        connection.execute(
            "UPDATE log SET private = NULL WHERE seq > ? AND seq <= ? AND private IS NOT NULL", (self._cleared, cleared)
        )
        # What is cleared stays so: not to be looked at every second while another consumer lags.
        self._cleared = max(self._cleared, cleared)

    def _passed(self, connection: Connection) -> int:
        """Return the last entry that nobody needs any more."""
        (passed,) = connection.execute("SELECT min(cursor) FROM consumer").fetchone()
        if passed is None:
            passed = last_seq(connection)
        (kept_from,) = connection.execute(
            "SELECT min(cursor) FROM reader WHERE until >= ?", (self._clock(),)
        ).fetchone()
        return int(passed if kept_from is None else min(passed, kept_from))

    def _retire(self, connection: Connection, now: float) -> None:
        """Forget consumers that no process has configured for a week, and count what they never got."""
        for name, cursor, *lease in connection.execute(
            "SELECT name, cursor, holder, boot, lease_until FROM consumer WHERE seen < ?", (now - RETIRED_AFTER,)
        ).fetchall():
            if self._leases.live(*lease):
                # The clock has jumped: somebody delivers for it at this moment.
                continue
            # Its own counters end with it: if it comes back it starts at the end of the log, from zero.
            count(connection, {"dropped.retired": pending_events(connection, name, cursor)[0]})
            connection.execute("DELETE FROM counter WHERE substr(name, 1, ?) = ?", (len(name) + 1, f"{name}/"))
            connection.execute("DELETE FROM retry WHERE consumer = ?", (name,))
            connection.execute("DELETE FROM consumer WHERE name = ?", (name,))


def _insert(connection: Connection, drafts: Sequence[Draft]) -> None:
    drafts = list(drafts)
    whole = len(drafts) - len(drafts) % _ROWS
    for start in range(0, whole, _ROWS):
        connection.execute(_INSERT_ROWS, list(chain.from_iterable(drafts[start : start + _ROWS])))
    connection.executemany(_INSERT, drafts[whole:])


def _skip(connection: Connection, seq: int) -> None:
    """Move consumers that lag behind *seq* there, and count what they don't get."""
    for name, cursor in connection.execute("SELECT name, cursor FROM consumer WHERE cursor < ?", (seq,)).fetchall():
        (lost,) = connection.execute(
            "SELECT count(*) FROM log WHERE seq > ? AND seq <= ? AND kind = 'event'", (cursor, seq)
        ).fetchone()
        connection.execute("UPDATE consumer SET cursor = ? WHERE name = ?", (seq, name))
        count(connection, {f"{name}/dropped.{OVERFLOW}": lost})


def _drop_retries(connection: Connection, consumer: str, keep: int) -> None:
    """Let *keep* retries of *consumer* wait, and count the others, the oldest events."""
    (waiting,) = connection.execute("SELECT count(*) FROM retry WHERE consumer = ?", (consumer,)).fetchone()
    if waiting > keep:
        lost = connection.execute(
            "DELETE FROM retry WHERE consumer = ? AND seq IN "
            "(SELECT seq FROM retry WHERE consumer = ? ORDER BY seq LIMIT ?) RETURNING kind",
            (consumer, consumer, waiting - keep),
        ).fetchall()
        count(connection, {f"{consumer}/dropped.{OVERFLOW}": sum(kind == "event" for (kind,) in lost)})
