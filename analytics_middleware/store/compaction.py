"""Compaction: merge recent segments, write them into sorted and numbered months, leave out what must be deleted."""

import sqlite3
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from analytics_middleware.event import EventType
from analytics_middleware.outbox.base import STORE, Settlement
from analytics_middleware.outbox.leases import RENEW
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import catalogue
from analytics_middleware.store._arrays import ALWAYS, NEVER, Int32s, Int64s, Mask, np, pa, pc
from analytics_middleware.store._disk import generation_directory, remove_others
from analytics_middleware.store._merging import MonthMerge, OldMonth
from analytics_middleware.store._months import month_name, month_number, month_numbers
from analytics_middleware.store._sources import numbered, numbers_of
from analytics_middleware.store.actors import Actors
from analytics_middleware.store.base import FirstSeen
from analytics_middleware.store.catalogue import Segment, State
from analytics_middleware.store.columns import ACTOR, ANON, USER, event_hashes
from analytics_middleware.store.identities import Identities
from analytics_middleware.store.instants import micros
from analytics_middleware.store.segments import Segments, combined
from analytics_middleware.store.snapshot import gone_until

DAY = 86_400
_ORPHAN_AGE = 3600.0
"""Seconds after which a file missing from the catalogue must be from a writer that died."""


class Compactor:
    """Rewrites segments. Replaced files stay for a while, because readers may still use them."""

    def __init__(
        self,
        outbox: SqliteOutbox,
        segments: Segments,
        *,
        retention_days: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._outbox = outbox
        self._segments = segments
        self._retention_days = retention_days
        self._clock = clock

    def horizon(self, before: int) -> int:
        """Return the time, in microseconds, before which events are too old. It changes once a day.

        *before* is the value so far. It stays if no retention is set, as in a command run on a data directory. It goes
        back if the retention becomes longer, and if the clock was wrong.
        """
        if self._retention_days is None:
            return before
        return int(self._clock() // DAY - self._retention_days) * DAY * 1_000_000

    def merge(self, epoch: int, members: Sequence[Segment]) -> None:
        """Merge *members* into one recent segment."""
        table = pa.concat_tables([self._segments.read(member.file) for member in members], promote_options="permissive")
        hashes = np.concatenate([self._segments.hashes(member.file) for member in members])
        file = self._segments.write("recent", [combined([table])], hashes)
        merged = Segment(
            file=file,
            month=None,
            tier=max(member.tier for member in members) + 1,
            rows=sum(member.rows for member in members),
            bytes=self._segments.size(file),
            min_time=min(member.min_time for member in members),
            max_time=max(member.max_time for member in members),
        )
        self._replace(epoch, [member.file for member in members], [merged], {})

    def compact(self, epoch: int, seen: Sequence[FirstSeen] = ()) -> None:
        """Write recent events into their months, and leave erased and too old events out of all months.

        *seen* are first dates to keep besides those that events show.
        """
        with self._outbox.database.read() as connection:
            state = catalogue.read_state(connection)
            changed = catalogue.changed_owners(connection)
            identities = Identities(connection)
        with _lease_kept(self._outbox):
            horizon = self.horizon(state.horizon)
            _Compaction(self, self._segments, state, changed, identities, horizon, seen).run(epoch)

    def collect(self, keep_replaced: float) -> None:
        """Delete files replaced *keep_replaced* seconds ago, and those left by writers that died."""
        now = self._clock()
        with self._outbox.database.read() as connection:
            garbage = catalogue.read_garbage(connection, now - keep_replaced)
            orphans = self._segments.orphans(catalogue.known_files(connection), time.time() - _ORPHAN_AGE)
            actors = catalogue.read_state(connection).actors
        remove_others(generation_directory(self._segments.directory, actors), time.time() - _ORPHAN_AGE)
        for path in orphans:
            path.unlink(missing_ok=True)
        for file in garbage:
            self._segments.remove(file)
        if garbage:
            with self._outbox.database.write() as connection:
                connection.executemany("DELETE FROM store_garbage WHERE file = ?", [(file,) for file in garbage])

    def _replace(
        self,
        epoch: int,
        old: Sequence[str],
        new: Sequence[Segment],
        state: dict[str, str | int],
        version: int = 0,
        actors: str | None = None,
    ) -> None:
        """Replace *old* by *new* in one transaction; if it fails, delete the files of *new*.

        *actors* is the file of ids that the new one was based on.
        """

        def commit(connection: Any) -> None:
            before = catalogue.read_state(connection)
            known = {segment.file for segment in before.segments}
            if not known.issuperset(old) or ("actors" in state and before.actors != actors):
                raise catalogue.Conflict("segments were replaced by another process")
            catalogue.advance(connection, before.version)
            gone = list(old)
            if "actors" in state and before.actors is not None:
                gone.append(before.actors)
            catalogue.discard(connection, gone, self._clock())
            catalogue.add_segments(connection, new)
            for key, value in state.items():
                catalogue.set_state(connection, key, value)
            if version:
                connection.execute("DELETE FROM store_changed WHERE version <= ?", (version,))
                connection.execute("UPDATE store_state SET value = 0 WHERE key = 'erased' AND value <= ?", (version,))

        try:
            self._outbox.settle(STORE, epoch, Settlement(), within=commit)
        except BaseException:
            for segment in new:
                self._segments.remove(segment.file)
            if "actors" in state:
                self._segments.remove(str(state["actors"]))
            raise


@contextmanager
def _lease_kept(outbox: SqliteOutbox) -> Generator[None]:
    """Renew the lease within the block: a large month takes longer than a lease lasts."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(RENEW):
            try:
                outbox.claim(STORE)
            except (sqlite3.Error, OSError):
                # If the lease ends, the catalogue refuses our changes once another process has written.
                continue

    thread = threading.Thread(target=renew, name="analytics-store-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Compaction:
    """The working state of one compaction."""

    def __init__(
        self,
        compactor: Compactor,
        segments: Segments,
        state: State,
        changed: dict[str, str | None],
        identities: Identities,
        horizon: int,
        seen: Sequence[FirstSeen],
    ) -> None:
        self._compactor = compactor
        self._segments = segments
        self._state = state
        self._horizon = horizon
        self._actors = actors = Actors(segments, state.actors)
        self._recent = [segments.read(segment.file) for segment in state.recent]
        self._numbers = [numbered(table, actors) for table in self._recent]
        seen = [item for item in seen if micros(item.at) > identities.gone_until(item.user_id, item.anon_id)]
        numbers = actors.numbers(
            [ANON if item.user_id is None else USER for item in seen],
            [item.user_id or item.anon_id or "" for item in seen],
        )
        self._owners = actors.all_owners(changed)
        self._gone = gone_until(actors, identities, len(self._owners)) if state.erased else None
        self._moved = np.zeros(len(self._owners) + 1, np.bool_)
        before = np.concatenate([actors.owners, np.arange(actors.sealed, len(actors), dtype=np.int32)])
        self._moved[:-1] = before != self._owners
        self._first = _extended(actors.first, len(actors))
        self._first_human = _extended(actors.first_human, len(actors))
        for item, number in zip(seen, numbers.tolist(), strict=True):
            self._first[number] = min(self._first[number], micros(item.at))
            human = NEVER if item.human_at is None else micros(item.human_at)
            self._first_human[number] = min(self._first_human[number], human)
        if self._gone is not None:
            self._first[self._first <= self._gone] = NEVER
            self._first_human[self._first_human <= self._gone] = NEVER

    def run(self, epoch: int) -> None:
        """Rewrite the segments that need it, and update the catalogue."""
        times = [numbers_of(table.column("timestamp"), "timestamp") for table in self._recent]
        keeps = [self._lives(actors, at) for actors, at in zip(self._numbers, times, strict=True)]
        for table, actors, at, keep in zip(self._recent, self._numbers, times, keeps, strict=True):
            self._see(table, actors, at, keep)
        months = {month_number(segment.month or ""): segment for segment in self._state.months}
        stale = {number: segment for number, segment in months.items() if self._is_stale(segment)}
        keeps = [keep & (at >= self._horizon) for keep, at in zip(keeps, times, strict=True)]
        numbers = [month_numbers(at) for at in times]
        wanted = {number for own, keep in zip(numbers, keeps, strict=True) for number in np.unique(own[keep]).tolist()}
        written: list[Segment] = []
        for number in sorted(wanted | set(stale)):
            rows = [np.flatnonzero(keep & (own == number)) for keep, own in zip(keeps, numbers, strict=True)]
            segment = self._write(number, months.get(number), rows)
            if segment is not None:
                written.append(segment)
        replaced = [segment.file for segment in self._state.recent]
        replaced += [segment.file for number, segment in months.items() if number in wanted | set(stale)]
        people = self._segments.write("actors", [self._actors.table(self._owners, self._first, self._first_human)])
        state: dict[str, str | int] = {"actors": people, "horizon": self._horizon}
        self._compactor._replace(epoch, replaced, written, state, self._state.version, self._state.actors)

    def _lives(self, actors: Int32s, times: Int64s) -> Mask:
        """Return which events are not erased."""
        if self._gone is None:
            return np.ones(len(times), np.bool_)
        return times > np.append(self._gone, ALWAYS)[actors]

    def _is_stale(self, segment: Segment) -> bool:
        """Return whether a month has events to delete or move. Also note the first times left by an erasure."""
        if self._gone is None and not self._moved.any() and segment.min_time >= self._horizon:
            return False
        table = self._segments.read(segment.file, [ACTOR, "timestamp", "is_bot", "type", "user_id"])
        actors: Int32s = table.column(ACTOR).to_numpy()
        times = numbers_of(table.column("timestamp"), "timestamp")
        alive = self._lives(actors, times)
        if self._gone is not None:
            of_erased = np.append(self._gone > ALWAYS, False)[actors]
            self._see(table, actors, times, alive & of_erased)
        return bool(self._moved[actors].any() or not alive.all() or segment.min_time < self._horizon)

    def _see(self, table: Any, actors: Int32s, times: Int64s, keep: Mask) -> None:
        """Update the first times of ids from the events in *keep*."""
        keep = keep & (actors >= 0)
        np.minimum.at(self._first, actors[keep], times[keep])
        found = _bots(table)
        keep &= ~found
        np.minimum.at(self._first_human, actors[keep], times[keep])

    def _write(self, number: int, before: Segment | None, rows: Sequence[Any]) -> Segment | None:
        new: list[Any] = []
        actors: list[Int32s] = []
        for table, numbers, picked in zip(self._recent, self._numbers, rows, strict=True):
            if len(picked):
                new.append(table.take(pa.array(picked)))
                actors.append(numbers[picked])
        hashes = [event_hashes(table.column("event_id").to_pylist()) for table in new]
        old, keep = None, np.zeros(0, np.bool_)
        if before is not None:
            old = OldMonth(self._segments.open(before.file))
            keep = self._lives(old.actors, old.times) & (old.times >= self._horizon)
        merge = MonthMerge(old, keep, new, actors, self._owners)
        if not merge.rows:
            return None
        if before is not None:
            stored, dropped = self._segments.hashes(before.file), merge.dropped()
            hashes.append(np.setdiff1d(stored, dropped, assume_unique=True) if len(dropped) else stored)
        file = self._segments.write(f"month-{month_name(number)}", merge.tables(), np.concatenate(hashes))
        return Segment(
            file=file,
            month=month_name(number),
            tier=0,
            rows=merge.rows,
            bytes=self._segments.size(file),
            min_time=merge.span[0],
            max_time=merge.span[1],
        )


def _extended(times: Int64s, count: int) -> Int64s:
    return np.concatenate([times, np.full(count - len(times), NEVER, np.int64)])


def _bots(table: Any) -> Mask:
    """Return which rows are bot events, that is bots' page views without a user."""
    pageview = pc.equal(table.column("type").cast(pa.string()), EventType.PAGEVIEW.value)
    found = pc.and_(pc.and_(table.column("is_bot"), pageview), pc.is_null(table.column("user_id")))
    mask: Mask = found.to_numpy()
    return mask
