"""Compaction: recent segments are merged, and written into months, sorted and numbered; what is to go is left out."""

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
from analytics_middleware.store._months import month_name, month_number, month_numbers, month_table
from analytics_middleware.store._sources import numbered, numbers_of
from analytics_middleware.store.actors import Actors
from analytics_middleware.store.base import FirstSeen
from analytics_middleware.store.catalogue import Segment, State
from analytics_middleware.store.columns import ACTOR, ANON, COLUMNS, USER, event_hashes
from analytics_middleware.store.identities import Identities
from analytics_middleware.store.instants import micros
from analytics_middleware.store.segments import Segments, combined
from analytics_middleware.store.snapshot import gone_until

DAY = 86_400
_ORPHAN_AGE = 3600.0
"""Seconds after which a file that the catalogue does not know was left by somebody who died."""


class Compactor:
    """Rewrites segments. Readers go on with the files they know; those stay for a while."""

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
        """Return the time before which events are too old, in microseconds; it moves once a day.

        It was *before* so far. Where nobody says how long events are kept, a command on a directory say, it stays; it
        goes back when they are to be kept longer, and when the clock was wrong.
        """
        if self._retention_days is None:
            return before
        return int(self._clock() // DAY - self._retention_days) * DAY * 1_000_000

    def merge(self, epoch: int, members: Sequence[Segment]) -> None:
        """Make one recent segment of *members*."""
        table = pa.concat_tables([self._segments.read(member.file) for member in members], promote_options="permissive")
        hashes = np.concatenate([self._segments.hashes(member.file) for member in members])
        file = self._segments.write("recent", combined([table]), hashes)
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
        """Write recent events into their months, and leave out of all months what is erased or too old.

        *seen* are first dates to be kept with those that events tell.
        """
        with self._outbox.database.read() as connection:
            state = catalogue.read_state(connection)
            changed = catalogue.changed_owners(connection)
            identities = Identities(connection)
        with _lease_kept(self._outbox):
            horizon = self.horizon(state.horizon)
            _Compaction(self, self._segments, state, changed, identities, horizon, seen).run(epoch)

    def collect(self, keep_replaced: float) -> None:
        """Delete files replaced *keep_replaced* seconds ago, and those of somebody who died while writing them."""
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
        """Put *new* in the place of *old* in one transaction; nothing is left of either way when that fails.

        *actors* is the file of ids that a new one was made from.
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
    """Renew the lease meanwhile: a large month takes longer than a lease lasts."""
    done = threading.Event()

    def renew() -> None:
        while not done.wait(RENEW):
            try:
                outbox.claim(STORE)
            except (sqlite3.Error, OSError):
                # Should the lease end, the catalogue refuses what another process may be writing as well.
                continue

    thread = threading.Thread(target=renew, name="analytics-store-lease", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Compaction:
    """One compaction: what it found out on the way."""

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
        """Rewrite what must be, and enter it in the catalogue."""
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
        people = self._segments.write("actors", self._actors.table(self._owners, self._first, self._first_human))
        state: dict[str, str | int] = {"actors": people, "horizon": self._horizon}
        self._compactor._replace(epoch, replaced, written, state, self._state.version, self._state.actors)

    def _lives(self, actors: Int32s, times: Int64s) -> Mask:
        """Return which events are not erased."""
        if self._gone is None:
            return np.ones(len(times), np.bool_)
        return times > np.append(self._gone, ALWAYS)[actors]

    def _is_stale(self, segment: Segment) -> bool:
        """Return whether a month holds what must go or move; note first times that an erasure left."""
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
        """Note the first times that events tell of."""
        keep = keep & (actors >= 0)
        np.minimum.at(self._first, actors[keep], times[keep])
        found = _bots(table)
        keep &= ~found
        np.minimum.at(self._first_human, actors[keep], times[keep])

    def _write(self, number: int, before: Segment | None, rows: Sequence[Any]) -> Segment | None:
        tables: list[Any] = []
        actors: list[Int32s] = []
        hashes = np.zeros(0, np.uint64)
        if before is not None:
            stored = self._segments.read(before.file, [*COLUMNS, ACTOR])
            own: Int32s = stored.column(ACTOR).to_numpy()
            times = numbers_of(stored.column("timestamp"), "timestamp")
            keep = self._lives(own, times) & (times >= self._horizon)
            hashes = np.array(self._segments.hashes(before.file))
            if not keep.all():
                dropped = stored.column("event_id").filter(pa.array(~keep)).to_pylist()
                hashes = np.setdiff1d(hashes, event_hashes(dropped), assume_unique=True)
                stored = stored.filter(pa.array(keep))
            tables.append(stored.drop_columns([ACTOR]))
            actors.append(own[keep])
        for table, numbers, picked in zip(self._recent, self._numbers, rows, strict=True):
            if len(picked):
                part = table.take(pa.array(picked))
                tables.append(part)
                actors.append(numbers[picked])
                hashes = np.concatenate([hashes, event_hashes(part.column("event_id").to_pylist())])
        if not sum(table.num_rows for table in tables):
            return None
        numbers = np.concatenate(actors)
        visitors = np.append(self._owners, np.int32(-1))[numbers]
        table = month_table(combined(tables), numbers, visitors)
        times = numbers_of(table.column("timestamp"), "timestamp")
        file = self._segments.write(f"month-{month_name(number)}", table, hashes)
        return Segment(
            file=file,
            month=month_name(number),
            tier=0,
            rows=table.num_rows,
            bytes=self._segments.size(file),
            min_time=int(times.min()),
            max_time=int(times.max()),
        )


def _extended(times: Int64s, count: int) -> Int64s:
    return np.concatenate([times, np.full(count - len(times), NEVER, np.int64)])


def _bots(table: Any) -> Mask:
    """Return which rows are of bots: automatic page views of nobody known."""
    pageview = pc.equal(table.column("type").cast(pa.string()), EventType.PAGEVIEW.value)
    found = pc.and_(pc.and_(table.column("is_bot"), pageview), pc.is_null(table.column("user_id")))
    mask: Mask = found.to_numpy()
    return mask
