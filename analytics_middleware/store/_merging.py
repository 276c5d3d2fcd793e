"""Merging: a month's file and new rows become the next file, a few row groups in memory at a time.

A month's rows are sorted by visitor, time and event id. Those that stay keep their order. Those whose visitor has
changed are taken out and put in again with the new ones, which must fit into memory.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from analytics_middleware.store._arrays import Int32s, Int64s, Mask, NDArray, np, pa
from analytics_middleware.store._months import count_names, month_table, shredded_names
from analytics_middleware.store._sources import numbers_of
from analytics_middleware.store.columns import ACTOR, COLUMNS, SCHEMA, VISITOR, event_hashes
from analytics_middleware.store.segments import combined

AT_ONCE: Final = 100_000
"""Rows merged at a time: about 100 MB."""

_STORED: Final = (*COLUMNS, ACTOR)
Key = tuple[int, int]


class OldMonth:
    """The file of a month, with the numbers and times of its rows in memory: 16 bytes a row.

    It is read *at_once* rows at a time, or by single row groups if those have more.
    """

    def __init__(self, file: Any, at_once: int = AT_ONCE) -> None:
        self._file = file
        self._at_once = at_once
        numbers = file.read(columns=[ACTOR, VISITOR, "timestamp"])
        self.actors: Int32s = numbers.column(0).to_numpy()
        self.visitors: Int32s = numbers.column(1).to_numpy()
        self.times = numbers_of(numbers.column(2), "timestamp")
        sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
        self._ends: list[int] = np.cumsum(sizes).tolist()

    def parts(self, wanted: Mask, columns: Sequence[str]) -> Iterator[Any]:
        """Yield *columns* of the *wanted* rows, some row groups at a time; parts without any are left out."""
        groups: list[int] = []
        begin = 0
        for index, end in enumerate(self._ends):
            groups.append(index)
            if end - begin < self._at_once and end < self._ends[-1]:
                continue
            rows = np.flatnonzero(wanted[begin:end])
            if len(rows):
                table = self._file.read_row_groups(groups, columns=list(columns))
                yield table.take(pa.array(rows)) if len(rows) < end - begin else table
            groups, begin = [], end


class MonthMerge:
    """The rows of one month: those of *old* that *keep* selects, and *new* ones with the numbers *actors*.

    *owners* gives the visitor of each number. Of new rows alone *at_once* are merged at a time.
    """

    def __init__(
        self,
        old: OldMonth | None,
        keep: Mask,
        new: Sequence[Any],
        actors: Sequence[Int32s],
        owners: Int32s,
        at_once: int = AT_ONCE,
    ) -> None:
        self._old = old
        self._at_once = at_once
        self._visitor_of = np.append(owners, np.int32(-1))
        self._keep = keep
        self._stays = np.zeros(0, np.bool_)
        tables = [table.append_column(ACTOR, pa.array(own, pa.int32())) for table, own in zip(new, actors, strict=True)]
        if old is not None:
            moved = keep & (self._visitor_of[old.actors] != old.visitors)
            self._stays = keep & ~moved
            tables += [combined([table]) for table in old.parts(moved, _STORED)]
        self._new = combined(tables) if tables else combined([SCHEMA.empty_table().append_column(ACTOR, _NOBODY)])
        who, times = self._keys(self._new)
        self._order = np.lexsort((times, who))
        self._who, self._times = who[self._order], times[self._order]
        self.rows = int(self._stays.sum()) + len(who)
        self._times_kept = [each for each in (times, old.times[self._stays] if old is not None else times) if len(each)]

    @property
    def span(self) -> Key:
        """The times of the first and the last event, if there are any."""
        return int(min(map(np.min, self._times_kept))), int(max(map(np.max, self._times_kept)))

    def dropped(self) -> NDArray[np.uint64]:
        """Return the hashes of the event ids of old rows that are not kept."""
        parts = () if self._old is None else self._old.parts(~self._keep, ["event_id"])
        gone = [event_hashes(table.column(0).to_pylist()) for table in parts]
        return np.concatenate([np.zeros(0, np.uint64), *gone])

    def tables(self) -> Iterator[Any]:
        """Yield the rows in the layout and the order of a month's file."""
        shredded, others = shredded_names(self._names(), self.rows)
        for table in self._merged():
            who, times = self._keys(table)
            yield month_table(table, who, times, shredded, others)

    def _keys(self, table: Any) -> tuple[Int32s, Int64s]:
        """Return the visitor and the time of each row."""
        numbers: Int32s = table.column(ACTOR).to_numpy()
        return self._visitor_of[numbers], numbers_of(table.column("timestamp"), "timestamp")

    def _names(self) -> Counter[str]:
        counts = count_names(self._new.column("properties"))
        if self._old is not None:
            for table in self._old.parts(self._stays, ["properties"]):
                counts += count_names(table.column(0))
        return counts

    def _merged(self) -> Iterator[Any]:
        """Yield all rows, part by part; the rows of one visitor at one instant are in the same part."""
        done = 0
        waiting: list[Any] = []
        for table in () if self._old is None else self._old.parts(self._stays, _STORED):
            who, times = self._keys(table)
            last: Key = (int(who[-1]), int(times[-1]))
            # The next part, or new rows, may have others at the same instant.
            whole = int(np.argmax((who == last[0]) & (times == last[1])))
            upto = self._place(last)
            if whole or upto > done:
                yield combined([*waiting, table.slice(0, whole), self._taken(done, upto)])
                waiting, done = [], upto
            waiting.append(table.slice(whole))
        while waiting or done < len(self._order):
            upto = min(done + self._at_once, len(self._order))
            if upto < len(self._order):
                upto = self._place((int(self._who[upto]), int(self._times[upto])))
                if upto <= done:  # more rows than are taken at once have the same key
                    upto = len(self._order)
            yield combined([*waiting, self._taken(done, upto)])
            waiting, done = [], upto

    def _taken(self, begin: int, end: int) -> Any:
        return self._new.take(pa.array(self._order[begin:end]))

    def _place(self, key: Key) -> int:
        """Return how many new rows come before *key*."""
        begin, end = np.searchsorted(self._who, [key[0], key[0] + 1])
        return int(begin + np.searchsorted(self._times[begin:end], key[1]))


_NOBODY: Final = pa.array([], pa.int32())
