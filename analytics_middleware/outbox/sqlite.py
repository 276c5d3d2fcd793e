"""The durable outbox: the log, cursors, retries, dead letters and counters in one SQLite database."""

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from sqlite3 import Connection

from analytics_middleware.counters import logger
from analytics_middleware.outbox.base import (
    Draft,
    Entry,
    Erased,
    OutboxStats,
    Settlement,
)
from analytics_middleware.outbox.batches import insert_batch, read_batch
from analytics_middleware.outbox.counting import consumer_stats, count, counter_value, last_seq
from analytics_middleware.outbox.database import Database, bytes_in_use
from analytics_middleware.outbox.erasure import erase_revealed, erase_user
from analytics_middleware.outbox.groups import claim_group, forget_groups
from analytics_middleware.outbox.leases import Leases
from analytics_middleware.outbox.leftovers import left_in, take_in
from analytics_middleware.outbox.limits import OVERFLOW, Limits
from analytics_middleware.outbox.recent import Recent
from analytics_middleware.outbox.removal import count_lost, take_lost
from analytics_middleware.outbox.settling import add_dead_letters, count_missing, settle_retries
from analytics_middleware.outbox.tombstones import ERASED, read_tombstones

_BUSY = 50
"""A group of at least this many events also prunes the log."""
_ENTRY = "seq, kind, record_id, timestamp, payload, private, flags"
_PLACE = """
    SELECT coalesce(max(cursor), 0),
        (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'log'),
        (SELECT coalesce(max(until), -1e999) FROM tombstone)
    FROM consumer WHERE name = ?
"""
_LIMIT_EVERY = 256
"""Appends between checks of how far consumers lag."""


class SqliteOutbox:
    """The log in *directory*; see `Outbox`. Counts and cursors change in the transaction that they describe.

    *max_pending* limits the entries kept for a lagging consumer, *max_bytes* the size of the database.
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
        self._clock = clock
        self._monotonic = monotonic
        self._limits = Limits(max_pending, max_bytes, clock, monotonic)
        self._known: dict[str, bool | None] = {}
        """Consumers, and whether they read private data, None if unknown."""
        self._reset()

    def _reset(self) -> None:
        self._leases = Leases(self._monotonic)
        self._limits.reset()
        self._in_flight: dict[str, Sequence[Entry]] = {}
        self._group = ""
        """The last group that this process wrote."""
        self._appends = 0
        self._last = 0
        self._cursors: dict[str, int] = {}
        self._recent = Recent()

    def append(self, drafts: Sequence[Draft], counts: Mapping[str, int], group: str | None = None) -> int:
        """Write *drafts* durably; see `Outbox.append`."""
        with self.database.write() as connection:
            if group is not None and not claim_group(connection, group, instead_of=self._group):
                drafts, counts = (), {}
            written, last = self._append(connection, drafts, counts)
        self._group = group or self._group
        self._appended(written, last)
        return last

    def append_groups(self, groups: Mapping[str, Sequence[Draft]], counts: Mapping[str, int]) -> int:
        """Write the drafts of each of *groups*, as `append` does, unless another process has written that group.

        *counts* are added unless all of *groups* have been written.
        """
        with self.database.write() as connection:
            new = [drafts for group, drafts in groups.items() if claim_group(connection, group)]
            written, last = self._append(connection, list(chain.from_iterable(new)), counts if new else {})
        self._appended(written, last)
        return last

    def _append(
        self, connection: Connection, drafts: Sequence[Draft], counts: Mapping[str, int]
    ) -> tuple[Sequence[Draft], int]:
        """Return the *drafts* that were written, and the log's last sequence number."""
        if drafts:
            tombstones = read_tombstones(connection, min(draft.timestamp for draft in drafts))
            drafts, erased, revealed = tombstones.admitted(drafts)
            erase_revealed(connection, revealed)
            if erased:
                counts = {**counts, f"dropped.{ERASED}": counts.get(f"dropped.{ERASED}", 0) + erased}
        if self._limits.more_to_prune or len(drafts) >= _BUSY:
            # Prune first: the new rows then reuse the pages of deleted ones, and each page is written only once.
            self._limits.prune(connection)
        accepted = sum(draft.kind == "event" for draft in drafts)
        last = insert_batch(connection, drafts) if drafts else last_seq(connection)
        count(connection, {**counts, "accepted": accepted} if accepted else counts)
        self._appends += 1
        if self._appends % _LIMIT_EVERY == 1:
            self._limits.apply(connection)
        if self._leases.due():
            self._leases.renew(connection)
        return drafts, last

    def _appended(self, drafts: Sequence[Draft], last: int) -> None:
        self._last = last
        if drafts and self._cursors:
            self._recent.note(drafts, last)

    def tick(self, consumers: Iterable[str]) -> None:
        """Renew leases, record which consumers are configured, and prune; see `Outbox.tick`."""
        if self.database.misplaced():
            self._start_over()
        self.database.recover_log()
        # Before old groups are forgotten: a process may have died between adding a file's events and deleting the file.
        self._take_in_leftovers()
        now = self._clock()
        with self.database.write(durable=False) as connection:
            self._leases.renew(connection)
            connection.executemany("UPDATE consumer SET seen = ? WHERE name = ?", [(now, name) for name in consumers])
            self._limits.retire(connection, self._leases, now)
            self._limits.apply(connection)
            self._limits.prune(connection)
            forget_groups(connection, now)

    def _take_in_leftovers(self) -> None:
        directory = self.database.directory
        if left_in(directory):
            with self.database.locked():
                take_in(directory, lambda group, drafts, counts: self.append_groups({group: drafts}, counts))

    def _start_over(self) -> None:
        """Reopen the database at its path: the open file was removed or replaced."""
        lost: dict[str, int] = {}
        with suppress(sqlite3.Error, OSError), self.database.write() as connection:
            # Not if this opened the new file.
            if self.database.misplaced():
                lost = take_lost(connection)
        logger.error(
            "analytics: %s was removed or replaced while in use; %d events that were not delivered yet are lost, "
            "and new events go to the file that is there now",
            self.database.path,
            max(lost.values(), default=0),
        )
        self.database.close()
        self._reset()
        for consumer, reads_private in list(self._known.items()):
            self._enrol(consumer, reads_private)
        with self.database.write() as connection:
            count_lost(connection, lost)

    @property
    def more_to_prune(self) -> bool:
        """Whether more should be deleted than fits in one transaction."""
        return self._limits.more_to_prune

    def register(self, consumer: str, *, reads_private: bool = False) -> None:
        """See `Outbox.register`."""
        self._enrol(consumer, reads_private)
        self._known[consumer] = reads_private

    def _enrol(self, consumer: str, reads_private: bool | None) -> None:
        """Register *consumer*. If *reads_private* is None, the value that another process registered stays."""
        with self.database.write() as connection:
            connection.execute(
                "INSERT INTO consumer (name, cursor, baseline, seen, registered, reads_private) "
                "VALUES (:name, :cursor, :baseline, :now, :now, coalesce(:private, 0)) "
                "ON CONFLICT (name) DO UPDATE SET "
                "seen = excluded.seen, reads_private = coalesce(:private, reads_private)",
                {
                    "name": consumer,
                    "cursor": last_seq(connection),
                    "baseline": counter_value(connection, "accepted"),
                    "now": self._clock(),
                    "private": reads_private,
                },
            )

    def claim(self, consumer: str) -> int | None:
        """See `Outbox.claim`."""
        epoch = self._leases.fresh(consumer)
        if epoch is not None:
            return epoch
        if consumer not in self._known:
            self._enrol(consumer, None)
            self._known.setdefault(consumer, None)
        # Usually another process keeps delivering. Check by reading, because a claim would block its writes.
        if self.elsewhere(consumer):
            return None
        with self.database.write(durable=False) as connection:
            epoch = self._leases.claim(connection, consumer)
        if epoch is None and not self._registered(consumer):
            # It was retired while this process didn't deliver: register it again, at the end of the log.
            self._enrol(consumer, self._known[consumer])
        return epoch

    def elsewhere(self, consumer: str) -> bool:
        """Return whether another process holds the lease on *consumer*."""
        with self.database.read() as connection:
            return self._leases.elsewhere(connection, consumer)

    def release(self, consumer: str) -> None:
        """See `Outbox.release`."""
        with self.database.write(durable=False) as connection:
            self._leases.release(connection, consumer)

    def read(self, consumer: str, limit: int, max_bytes: int) -> list[Entry]:
        """See `Outbox.read`."""
        with self.database.read() as connection:
            cursor, end, erased = connection.execute(_PLACE, (consumer,)).fetchone()
            batch = self._recent.after(cursor, limit, max_bytes, end, erased)
            if batch is None:
                batch = read_batch(connection, cursor, limit, max_bytes)
        self._in_flight[consumer] = batch
        self._cursors[consumer] = cursor
        return batch

    def behind(self, consumer: str) -> int:
        """See `Outbox.behind`."""
        # From memory, because it is called for each group of events.
        return max(0, self._last - self._cursors.get(consumer, self._last))

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
            self._take_back_overflow(connection, consumer, cursor, settlement)
            if settlement.retries or settlement.dead:
                held = [retry.entry for retry in settlement.retries] + [letter.entry for letter in settlement.dead]
                tombstones = read_tombstones(connection, min(entry.timestamp for entry in held))
                settlement = tombstones.settled(settlement)
            settle_retries(connection, consumer, settlement)
            if settlement.retries:
                self._limits.keep_retries(connection, consumer)
            add_dead_letters(connection, consumer, settlement.dead, now)
            counts = {f"{consumer}/dropped.{reason}": number for reason, number in settlement.dropped.items()}
            counts[f"{consumer}/delivered"] = settlement.delivered
            counts[f"{consumer}/dead"] = sum(letter.entry.kind == "event" for letter in settlement.dead)
            count(connection, counts)
            connection.execute(
                "UPDATE consumer SET cursor = ?, last_error = coalesce(?, last_error), breaker = coalesce(?, breaker) "
                "WHERE name = ?",
                (max(cursor, settlement.cursor or 0), settlement.error, settlement.breaker, consumer),
            )
            if self._limits.due():
                self._limits.prune(connection)
        self._cursors[consumer] = max(cursor, settlement.cursor or 0)
        self._recent.passed(min(self._cursors.values()))
        self._in_flight.pop(consumer, None)

    def _take_back_overflow(self, connection: Connection, consumer: str, cursor: int, settlement: Settlement) -> None:
        """Correct the count of events that overflow dropped while they were being sent: their outcome is now known."""
        if settlement.cursor is None:
            overtaken = count_missing(connection, consumer, settlement)
        else:
            batch = self._in_flight.get(consumer, ())
            overtaken = sum(entry.kind == "event" and entry.seq <= cursor for entry in batch)
        count(connection, {f"{consumer}/dropped.{OVERFLOW}": -overtaken})

    def passed(self, consumer: str, seq: int) -> bool:
        """See `Outbox.passed`."""
        with self.database.read() as connection:
            row = connection.execute("SELECT cursor FROM consumer WHERE name = ?", (consumer,)).fetchone()
            waiting = connection.execute(
                # Negative numbers are replayed events, which are not part of the log.
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
            size = bytes_in_use(connection)
        return OutboxStats({name: value for name, value in counters.items() if "/" not in name}, consumers, size)

    def erase(self, user_id: str, record: Draft, progress: Callable[[int], object] = lambda _: None) -> Erased:
        """See `Outbox.erase`."""
        self._take_in_leftovers()
        return erase_user(self.database, user_id, record, progress)

    def after_fork(self) -> None:
        """See `Outbox.after_fork`."""
        self.database.after_fork()
        self._known.clear()
        self._reset()

    def close(self) -> None:
        """See `Outbox.close`."""
        if self.database.directory.exists() and self.database.misplaced():
            # Since the last tick. Whoever removed the whole directory wants nothing counted.
            self._start_over()
        self.database.close()

    def _registered(self, consumer: str) -> bool:
        with self.database.read() as connection:
            return connection.execute("SELECT 1 FROM consumer WHERE name = ?", (consumer,)).fetchone() is not None
