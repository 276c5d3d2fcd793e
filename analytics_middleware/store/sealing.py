"""Sealing: the store's consumer of the log. It writes segments, compacts them into months and deletes old events."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from sqlite3 import Connection
from typing import Any, NamedTuple, TypeVar

from analytics_middleware.event import Record
from analytics_middleware.outbox.base import STORE, LeaseLost
from analytics_middleware.outbox.records import decode_record
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import catalogue
from analytics_middleware.store._arrays import Hashes, np, pa
from analytics_middleware.store._sources import numbers_of
from analytics_middleware.store.base import FirstSeen
from analytics_middleware.store.catalogue import Conflict, Segment
from analytics_middleware.store.columns import event_hashes, table_of
from analytics_middleware.store.compaction import Compactor
from analytics_middleware.store.feed import settlement_of
from analytics_middleware.store.segments import Segments
from analytics_middleware.store.tail import TableCounts, Tail

logger = logging.getLogger("analytics_middleware.store")

_LEASE_POLL = 1.0
_BATCH = 10_000
_BATCH_BYTES = 16 * 2**20
_TRIES = 20

T = TypeVar("T")


class SealingPace(NamedTuple):
    """The timing of the sealer."""

    seal_after: float = 60.0
    """Seconds that an event may wait in the log before it is sealed."""
    seal_events: int = 5000
    """Number of waiting events at which sealing starts at once."""
    merge_files: int = 16
    """Number of recent segments of one size that are merged into one."""
    compact_events: int = 50_000
    """Compaction into months starts at this number of recent events, or ..."""
    compact_fraction: float = 0.02
    """... at this fraction of all events, whichever is more, ..."""
    compact_most: int = 1_000_000
    """... but never later than at this number, because compaction takes about 600 bytes of memory for each."""
    rewrite_after: float = 3600.0
    """Seconds that erased events, already hidden, may stay in files: one rewrite then covers many erasures."""
    tend_every: float = 60.0
    """Seconds between checks for segments to merge, compact or delete."""


class Sealer:
    """Consumes the log for the store; one thread calls `step`, like a collector's consumer.

    It calls *compacted* when it has compacted.
    """

    name = STORE
    answers_from_log = True

    def __init__(
        self,
        outbox: SqliteOutbox,
        segments: Segments,
        compactor: Compactor,
        *,
        pace: SealingPace,
        compacted: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        keep_replaced: float = 120.0,
    ) -> None:
        self._outbox = outbox
        self._segments = segments
        self.compactor = compactor
        self._pace = pace
        self._compacted = compacted
        self._clock = clock
        self._keep_replaced = keep_replaced
        self._monotonic = monotonic
        self._tended: float | None = None
        self._since: float | None = None
        self._erased_since: float | None = None

    def step(self, *, hurry: bool = False) -> float | None:
        """Do what is due; return the seconds until there may be more, None if only the log can tell."""
        try:
            epoch = self._outbox.claim(STORE)
            if epoch is None:
                return _LEASE_POLL
            waiting = self._waiting()
            if waiting is not None and (hurry or waiting <= 0):
                self._seal_log(epoch)
                return 0.0
            now = self._monotonic()
            if self._tended is None or now - self._tended >= self._pace.tend_every:
                self._tended = now
                if self._tend(epoch, force=False):
                    return 0.0
        except (LeaseLost, Conflict):
            logger.info("analytics: another process seals events now")
            return _LEASE_POLL
        pause = self._pace.tend_every if waiting is None else waiting
        return min(pause, self._pace.tend_every)

    def maintain(self) -> bool:
        """Seal, compact and delete everything now; return False if another process holds the lease."""
        epoch = self._outbox.claim(STORE)
        if epoch is None:
            return False
        try:
            while self._waiting() is not None:
                self._seal_log(epoch)
            self._tend(epoch, force=True)
        except LeaseLost:
            return False
        return True

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Store first dates; raise `LeaseLost` if another process holds the lease."""
        for _ in range(_TRIES):
            epoch = self._outbox.claim(STORE)
            if epoch is None:
                raise LeaseLost("another process holds the store's lease")
            try:
                self.compactor.compact(epoch, seen)
            except Conflict:
                continue
            return
        raise Conflict(f"others changed the catalogue {_TRIES} times meanwhile")

    def close(self) -> None:
        """Give up the lease."""
        self._outbox.release(STORE)

    def apply(self, records: Sequence[Record]) -> int:
        """Seal *records* that are in no log; return how many were refused."""
        refused = self._committed(lambda: self._prepare(records), self._commit)
        self._relieve()
        return refused

    def append_table(self, table: Any) -> TableCounts:
        """Seal the rows of *table*, which has the columns of a segment, except known and inadmissible ones."""
        counts = self._committed(lambda: self._prepare_table(table), self._commit)
        self._relieve()
        return counts

    def _relieve(self) -> None:
        """Compact what was added without the log before there is too much of it, unless another process does."""
        if sum(segment.rows for segment in self.state().recent) >= self._pace.compact_most:
            epoch = self._outbox.claim(STORE)
            if epoch is not None:
                with suppress(LeaseLost, Conflict):
                    self._tend(epoch, force=False)

    def _committed(self, prepare: "Callable[[], tuple[_Prepared, T]]", commit: "Callable[[_Prepared], object]") -> T:
        """Prepare and commit, again if others change the catalogue meanwhile; return the answer of *prepare*."""
        for _ in range(_TRIES):
            prepared, answer = prepare()
            try:
                commit(prepared)
            except Conflict:
                self._discard(prepared)
                continue
            except BaseException:
                self._discard(prepared)
                raise
            return answer
        raise Conflict(f"others changed the catalogue {_TRIES} times meanwhile")

    def _commit(self, prepared: "_Prepared") -> None:
        with self._outbox.database.write() as connection:
            prepared.commit(connection)

    def _prepare_table(self, table: Any) -> "tuple[_Prepared, TableCounts]":
        with self._outbox.database.read() as connection:
            state = catalogue.read_state(connection)
            tail = Tail(connection, self._segments, state)
            hashes, keep, taken = tail.take_table(connection, table, int(self._clock() * 1_000_000))
        if not keep.all():
            table, hashes = table.filter(pa.array(keep)), hashes[keep]
        return _Prepared(state.version, self._write(table, hashes) if table.num_rows else None, tail), taken

    def _waiting(self) -> float | None:
        """Return the seconds until the waiting records should be sealed, None if there are none."""
        with self._outbox.database.read() as connection:
            count, erased = connection.execute(
                "SELECT count(*), max(kind = 'erase') FROM (SELECT kind FROM log WHERE seq > ? LIMIT ?)",
                (catalogue.read_cursor(connection), self._pace.seal_events),
            ).fetchone()
        if not count:
            self._since = None
            return None
        now = self._monotonic()
        if self._since is None:
            self._since = now
        if count >= self._pace.seal_events or erased:
            return 0.0
        # The timestamps of events may be old and don't show how long they have waited.
        return max(0.0, self._since + self._pace.seal_after - now)

    def _seal_log(self, epoch: int) -> None:
        entries = self._outbox.read(STORE, _BATCH, _BATCH_BYTES)
        if not entries:
            return
        records = [record for entry in entries if (record := decode_record(entry.kind, entry.payload)) is not None]
        taken = settlement_of(entries, records)

        def settle(prepared: _Prepared) -> None:
            refused = prepared.tail.refused_events
            settlement = taken._replace(
                delivered=taken.delivered - refused, dropped={**taken.dropped, "refused": refused}
            )
            self._outbox.settle(STORE, epoch, settlement, within=prepared.commit)

        self._committed(lambda: self._prepare(records), settle)
        self._since = None

    def _prepare(self, records: Sequence[Record]) -> "tuple[_Prepared, int]":
        """Write a segment of the valid events in *records*; return it for the catalogue, and how many were refused."""
        now = int(self._clock() * 1_000_000)
        with self._outbox.database.read() as connection:
            state = catalogue.read_state(connection)
            tail = Tail(connection, self._segments, state)
            tail.take(connection, records, now)
        events = tail.surviving()
        segment = self._write(table_of(events), event_hashes([event.event_id for event in events])) if events else None
        return _Prepared(state.version, segment, tail), tail.refused

    def _write(self, table: Any, hashes: Hashes) -> Segment:
        times = numbers_of(table.column("timestamp"), "timestamp")
        file = self._segments.write("recent", [table], hashes)
        return Segment(
            file=file,
            month=None,
            tier=0,
            rows=table.num_rows,
            bytes=self._segments.size(file),
            min_time=int(np.min(times)),
            max_time=int(np.max(times)),
        )

    def state(self) -> catalogue.State:
        """Return the current contents of the catalogue."""
        with self._outbox.database.read() as connection:
            return catalogue.read_state(connection)

    def _discard(self, prepared: "_Prepared") -> None:
        if prepared.segment is not None:
            self._segments.remove(prepared.segment.file)

    def _tend(self, epoch: int, *, force: bool) -> bool:
        """Compact, merge and delete what is due; return whether anything was rewritten."""
        state = self.state()
        recent = sum(segment.rows for segment in state.recent)
        total = recent + sum(segment.rows for segment in state.months)
        limit = max(self._pace.compact_events, self._pace.compact_fraction * total)
        limit = min(limit, self._pace.compact_most)
        horizon = self.compactor.horizon(state.horizon)
        older = horizon > state.horizon and any(segment.min_time < horizon for segment in state.segments)
        outdated = older or horizon < state.horizon
        useful = bool(state.recent or state.erased or outdated)
        if (force and useful) or outdated or self._is_rewriting_due(state) or recent >= limit:
            self.compactor.compact(epoch)
            self._compacted()
            done = True
        else:
            done = self._merge(epoch, state)
        self.compactor.collect(self._keep_replaced)
        return done

    def _is_rewriting_due(self, state: catalogue.State) -> bool:
        if not state.erased:
            self._erased_since = None
            return False
        if self._erased_since is None:
            self._erased_since = self._monotonic()
        return self._monotonic() - self._erased_since >= self._pace.rewrite_after

    def _merge(self, epoch: int, state: catalogue.State) -> bool:
        tiers: dict[int, list[Segment]] = {}
        for segment in state.recent:
            tiers.setdefault(segment.tier, []).append(segment)
        for _, members in sorted(tiers.items()):
            if len(members) >= self._pace.merge_files:
                self.compactor.merge(epoch, members)
                return True
        return False


class _Prepared(NamedTuple):
    """Changes for the catalogue, valid only while it still has the version they are based on."""

    version: int
    segment: Segment | None
    tail: Tail

    def commit(self, connection: Connection) -> None:
        version = catalogue.advance(connection, self.version)
        if self.segment is not None:
            catalogue.add_segments(connection, [self.segment])
        self.tail.identities.flush(connection, version)
