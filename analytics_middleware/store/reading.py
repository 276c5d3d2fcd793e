"""Reading all events back in order of time: for exports, other stores, and people who ask for their data.

All files are opened at the start and stay readable when compaction replaces them. So a reading sees one consistent
point, however long it takes.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from analytics_middleware.errors import AnalyticsError
from analytics_middleware.event import Erase, Identify
from analytics_middleware.outbox.database import Database
from analytics_middleware.store._arrays import ALWAYS, NEVER, Int64s, Mask, np, pa, pc, pq
from analytics_middleware.store._months import month_numbers
from analytics_middleware.store._sources import numbers_of, plain
from analytics_middleware.store.base import FirstSeen
from analytics_middleware.store.columns import ANON, COLUMNS, COOKIELESS, USER, table_of
from analytics_middleware.store.identities import Identities, Moment
from analytics_middleware.store.instants import from_micros, micros
from analytics_middleware.store.people import people
from analytics_middleware.store.point import Point, read_point
from analytics_middleware.store.segments import Segments
from analytics_middleware.store.spilling import sorted_tables


class EventSelection(NamedTuple):
    """The events to read: in ``[low, high)``, in microseconds, after the moment *after*, of one user."""

    low: int
    high: int
    after: Moment
    user_id: str | None
    anon_ids: tuple[str, ...] = ()
    """The anonymous ids that belong to the user."""

    @classmethod
    def of(
        cls,
        start: datetime | None,
        end: datetime | None,
        user_id: str | None,
        after: tuple[datetime, str] | None,
    ) -> "EventSelection":
        """Return the selection for the parameters of `DuckDBStore.events`."""
        moment = (ALWAYS, "") if after is None else (micros(after[0]), after[1])
        low = ALWAYS if start is None else micros(start)
        return cls(max(low, moment[0]), NEVER if end is None else micros(end), moment, user_id)

    def rows(self, table: Any, times: Int64s) -> Mask:
        """Return which rows of *table*, at *times*, are selected."""
        mask = (times >= self.low) & (times < self.high)
        at, event_id = self.after
        if (times[mask] == at).any():
            mask &= (times > at) | _mask(pc.greater(table.column("event_id"), event_id))
        return mask if self.user_id is None else mask & self.of_user(table)

    def of_user(self, table: Any) -> Mask:
        """Return which rows of *table* belong to the user."""
        nameless = pc.is_in(table.column("anon_id"), pa.array(self.anon_ids, pa.string()))
        own = pc.fill_null(pc.equal(table.column("user_id"), self.user_id), fill_value=False)
        return _mask(pc.or_(own, pc.and_(pc.is_null(table.column("user_id")), nameless)))


def read_tables(database: Database, segments: Segments, wanted: EventSelection, *, now: int) -> Iterator[Any]:
    """Return the *wanted* events at the time *now*, as Arrow tables in order of time and event id."""
    with database.read() as reading:
        point = read_point(reading, segments, now)
        if wanted.user_id is not None:
            anon_ids = point.tail.identities.anon_ids(reading, wanted.user_id)
            wanted = wanted._replace(anon_ids=tuple(anon_ids))
    wanted = wanted._replace(low=max(wanted.low, point.state.horizon))
    gone = point.tail.identities if point.has_erased else None
    files = [_File(segments.path(segment.file), gone) for segment in point.state.segments]
    return _tables(database, files, table_of(point.tail.surviving()), wanted)


def _tables(database: Database, files: list["_File"], unsealed: Any, wanted: EventSelection) -> Iterator[Any]:
    newest = numbers_of(unsealed.column("timestamp"), "timestamp")
    months = {number for file in files for number in file.months} | set(np.unique(month_numbers(newest)).tolist())
    for month in sorted(months):
        part = wanted._replace(low=max(wanted.low, _begin(month)), high=min(wanted.high, _begin(month + 1)))
        if part.low >= part.high:
            continue
        here = [file for file in files if month in file.months]
        rest = unsealed.filter(pa.array(part.rows(unsealed, newest)))
        times = [file.times(part) for file in here]
        batches = chain.from_iterable(file.batches(part) for file in here)
        yield from sorted_tables(
            chain([rest], batches),
            np.concatenate([numbers_of(rest.column("timestamp"), "timestamp"), *times]),
            database.directory,
        )


class _File:
    """A segment that is kept open. *identities* know the erasures, None if nothing is erased."""

    def __init__(self, path: Path, identities: Identities | None) -> None:
        try:
            self._file = pq.ParquetFile(path, memory_map=True)
        except pa.ArrowInvalid as error:
            raise AnalyticsError(f"{path} is damaged: {error}") from error
        self._identities = identities
        self._bounds = [self._bounds_of(index) for index in range(self._file.num_row_groups)]
        times = numbers_of(self._file.read(columns=["timestamp"]).column(0), "timestamp")
        self.months: set[int] = set(np.unique(month_numbers(times)).tolist())

    def _bounds_of(self, index: int) -> tuple[int, int]:
        place = self._file.schema_arrow.get_field_index("timestamp")
        statistics = self._file.metadata.row_group(index).column(place).statistics
        return micros(statistics.min), micros(statistics.max)

    def _groups(self, wanted: EventSelection) -> Iterator[int]:
        for index, (first, last) in enumerate(self._bounds):
            if first < wanted.high and last >= wanted.low:
                yield index

    def times(self, wanted: EventSelection) -> Int64s:
        """Return the times of events in the wanted range."""
        table = self._file.read_row_groups(list(self._groups(wanted)), columns=["timestamp"])
        times = numbers_of(table.column(0), "timestamp")
        return times[(times >= wanted.low) & (times < wanted.high)]

    def batches(self, wanted: EventSelection) -> Iterator[Any]:
        """Yield the selected rows that are not erased."""
        for index in self._groups(wanted):
            # Few row groups contain a given user.
            if wanted.user_id is not None:
                ids = self._file.read_row_group(index, columns=["user_id", "anon_id"])
                if not wanted.of_user(ids).any():
                    continue
            table = plain(self._file.read_row_group(index, columns=list(COLUMNS))).select(list(COLUMNS))
            times = numbers_of(table.column("timestamp"), "timestamp")
            mask = wanted.rows(table, times)
            if self._identities is not None:
                mask &= times > _gone_until(table, self._identities)
            yield table.filter(pa.array(mask))


def _gone_until(table: Any, identities: Identities) -> Int64s:
    """Return the time up to which the events of each row's ids are erased."""
    anons = {anon_id: identities.gone_until(None, anon_id) for anon_id in identities.erased_anons}
    of_user = _looked_up(table.column("user_id"), identities.erased_users)
    of_anon = _looked_up(table.column("anon_id"), anons)
    return np.where(_mask(pc.is_null(table.column("user_id"))), of_anon, of_user)


def _looked_up(ids: Any, until: Mapping[str, int]) -> Int64s:
    found = pc.fill_null(pc.index_in(ids, pa.array(list(until), pa.string())), -1)
    times: Int64s = np.array([*until.values(), ALWAYS], np.int64)[found.to_numpy()]
    return times


def _mask(booleans: Any) -> Mask:
    mask: Mask = booleans.to_numpy()
    return mask


def _begin(month: int) -> int:
    """Return the start of a month, in microseconds; *month* counts from January 1970."""
    return int(np.datetime64(month, "M").astype("datetime64[us]").astype(np.int64))


def read_people(
    database: Database, segments: Segments, *, now: int, user_id: str | None = None
) -> Iterator[Identify | Erase]:
    """Return all erasures, then traits and ties, of everybody or of one user, as records for `apply`."""
    with database.read() as reading:
        known = read_point(reading, segments, now).tail.identities
        all_ties, all_traits = known.all_ties(reading), known.all_traits(reading)
    ties = [
        (anon_id, owner, (from_micros(at), event_id))
        for anon_id, owners in all_ties.items()
        for owner, tie in owners.items()
        for at, event_id in {tie.first, *tie.identified}
    ]
    traits = {item: ((from_micros(at), event_id), value) for item, ((at, event_id), value) in all_traits.items()}
    erased = {name: from_micros(until) for name, until in known.erased_users.items()}
    records = people(erased, known.erased_anons, ties, traits)
    return (record for record in records if user_id in (None, record.user_id))


def read_first_seen(database: Database, segments: Segments, *, now: int) -> Iterator[FirstSeen]:
    """Return when each id in compacted segments was first seen, counting deleted events."""
    with database.read() as reading:
        point = read_point(reading, segments, now)
    if point.state.actors is None:
        return iter(())
    return _first_seen(pq.ParquetFile(segments.path(point.state.actors), memory_map=True), point)


def _first_seen(file: Any, point: Point) -> Iterator[FirstSeen]:
    for batch in file.iter_batches(columns=["kind", "id", "first", "first_human"]):
        for row in batch.to_pylist():
            if row["kind"] == COOKIELESS:
                continue
            user_id, anon_id = (row["id"] if row["kind"] == kind else None for kind in (USER, ANON))
            gone = point.tail.identities.gone_until(user_id, anon_id)
            times = [at for at in (row["first"], row["first_human"]) if gone < at < NEVER]
            if times:
                human = row["first_human"] if row["first_human"] in times else None
                yield FirstSeen(
                    user_id, anon_id, from_micros(min(times)), None if human is None else from_micros(human)
                )
