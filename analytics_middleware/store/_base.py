"""All compacted segments as one source, ordered by visitor and time; columns are read when needed."""

import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any

from analytics_middleware.store._arrays import Codes, Int32s, Int64s, Mask, NDArray, Rows, np, pa, pc, side_by_side
from analytics_middleware.store._disk import DiskColumns, Stored
from analytics_middleware.store._sources import Source, encode_property, major_units, names_in, numbers_of, plain
from analytics_middleware.store._vocabulary import Vocabularies, Vocabulary
from analytics_middleware.store.actors import Actors
from analytics_middleware.store.catalogue import State
from analytics_middleware.store.columns import ACTOR, PROPERTY, VISITOR, from_json
from analytics_middleware.store.segments import Segments

COMPLETE = b"analytics_middleware.complete"
"""Metadata key of a file: the names of all its properties as JSON, including those with a column of their own."""

_BATCH = 16_384
"""Rows decoded at a time when only a few are wanted."""


class ColumnCache:
    """An LRU cache of columns by name, limited in bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._size = 0
        self._columns: OrderedDict[str, NDArray[Any]] = OrderedDict()
        self._lock = threading.RLock()

    def get(self, name: str, load: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """Return the column called *name*, from *load* if it is not cached."""
        with self._lock:
            if name in self._columns:
                self._columns.move_to_end(name)
                return self._columns[name]
            column = load()
            self._columns[name] = column
            self._size += column.nbytes
            while self._size > self._limit and len(self._columns) > 1:
                _, dropped = self._columns.popitem(last=False)
                self._size -= dropped.nbytes
            return column


class Base(Source):
    """The events of all compacted segments. Each is sorted and holds one month, so merging only has to place rows."""

    def __init__(
        self,
        segments: Segments,
        state: State,
        actors: Actors,
        vocabularies: Vocabularies,
        cache_bytes: int,
        disk: DiskColumns,
    ) -> None:
        self._files = [segments.open(segment.file) for segment in state.months]
        self._visitors = actors.sealed
        self._vocabularies = vocabularies
        self._cache = ColumnCache(cache_bytes)
        self.disk = disk
        self.who: Int32s = self._from_disk(VISITOR, lambda: self._merged[1])
        self.time: Int64s = self.numbers("timestamp")

    @cached_property
    def _merged(self) -> tuple[list[Rows], Int32s]:
        visitors = side_by_side(lambda file: _integers(file.read(columns=[VISITOR]).column(0)), self._files)
        return _merged(visitors, self._visitors)

    @property
    def _places(self) -> list[Rows]:
        """The places of each file's rows in the merged order."""
        return self._merged[0]

    def __len__(self) -> int:
        return len(self.who)

    def actors(self) -> Int32s:
        """The number of each event's id."""
        return self._cached(ACTOR, lambda file: _integers(file.read(columns=[ACTOR]).column(0)))

    def codes(self, field: str) -> Codes:
        """The codes of a field's values."""
        vocabulary = self._vocabularies[field]

        def load() -> Codes:
            stored = self.disk.get(field)
            if stored is not None and stored.values is not None:
                return vocabulary.translated(stored.column, stored.values)
            codes: Codes = self._placed(side_by_side(lambda file: self._codes(file, field, vocabulary), self._files))
            self.disk.put(field, Stored(codes, vocabulary.tokens()))
            return codes

        return self._cache.get(field, load)

    def numbers(self, field: str) -> NDArray[Any]:
        """The values of a numeric field."""
        if field == "revenue":
            known = self._vocabularies["currency"].values
            return major_units(self.numbers("revenue_minor"), self.codes("currency"), known)
        return self._cached(field, lambda file: numbers_of(file.read(columns=[field]).column(0), field))

    def derived(self, name: str, make: Callable[[], NDArray[Any]], *, on_disk: bool = False) -> NDArray[Any]:
        """Return the column that *make* computes, cached like the others; also on disk if *on_disk*.

        Don't use *on_disk* for codes, which are valid in one process only.
        """
        return self._cache.get(name, partial(self._from_disk, name, make) if on_disk else make)

    def raw(self, rows: Rows, names: Sequence[str]) -> Any:
        """The stored columns of the given *rows*; only the needed parts of the files are read."""
        tables: list[Any] = []
        places: list[Rows] = []
        for file, picked, mine in self._shares(rows):
            tables.append(plain(_pick(file, picked, list(names))))
            places.append(mine)
        if not tables:
            return plain(self._files[0].schema_arrow.empty_table().select(list(names)))
        back = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_tables(tables).take(pa.array(back))

    def property_names(self, rows: Rows) -> Counter[str]:
        """How many of *rows* have each property. Only properties without a column are looked up in the JSON."""
        known = [_own_columns(file) for file in self._files]
        counts: Counter[str] = Counter()
        for name in set[str]().union(*known):
            has = self._cached(f"has {name}", partial(_has, PROPERTY + name))
            counts[name] = int(has[rows].sum())
        rare = [file for file, own in zip(self._files, known, strict=True) if len(_all_properties(file)) > len(own)]
        for file, picked, _ in self._shares(rows) if rare else ():
            if file in rare:
                counts += names_in(plain(_pick(file, picked, ["properties"])).column(0), _own_columns(file))
        return +counts

    def _shares(self, rows: Rows) -> Iterator[tuple[Any, Rows, Rows]]:
        """Yield each file that has some of *rows*, with their row numbers in the file and their positions in *rows*."""
        for file, here in zip(self._files, self._places, strict=True):
            found = np.searchsorted(here, rows)
            mine = np.flatnonzero(here[np.minimum(found, len(here) - 1)] == rows) if len(here) else found[:0]
            if len(mine):
                yield file, found[mine], mine

    def _cached(self, name: str, read: Callable[[Any], NDArray[Any]]) -> NDArray[Any]:
        return self._cache.get(
            name, lambda: self._from_disk(name, lambda: self._placed(side_by_side(read, self._files)))
        )

    def _from_disk(self, name: str, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        stored = self.disk.get(name)
        if stored is None:
            stored = Stored(make(), None)
            self.disk.put(name, stored)
        return stored.column

    def _placed(self, columns: list[NDArray[Any]]) -> NDArray[Any]:
        if len(columns) == 1:
            return columns[0]
        merged = np.empty(sum(map(len, columns)), np.result_type(*columns) if columns else np.int64)

        def place(index: int) -> None:
            merged[self._places[index]] = columns[index]

        side_by_side(place, range(len(columns)))
        return merged

    def _codes(self, file: Any, field: str, vocabulary: Vocabulary) -> Codes:
        if field in file.schema_arrow.names:
            if _is_empty(file, field):
                empty: int = file.metadata.num_rows
                return np.zeros(empty, np.uint8)
            return vocabulary.encode(file.read(columns=[field]).column(0))
        if field.removeprefix(PROPERTY) not in _all_properties(file):
            rows: int = file.metadata.num_rows
            return np.zeros(rows, np.uint8)
        return encode_property(vocabulary, field, file.read(columns=["properties"]).column(0))


def _all_properties(file: Any) -> list[str]:
    names: list[str] = from_json(file.schema_arrow.metadata[COMPLETE].decode())
    return names


def _is_empty(file: Any, field: str) -> bool:
    """Return whether no event has *field*, according to the file's statistics."""
    column, metadata = file.schema_arrow.names.index(field), file.metadata
    for index in range(metadata.num_row_groups):
        group = metadata.row_group(index)
        statistics = group.column(column).statistics
        if statistics is None or not statistics.has_null_count or statistics.null_count < group.num_rows:
            return False
    return True


def _own_columns(file: Any) -> set[str]:
    """Return the names of the properties that have a column of their own."""
    return {name.removeprefix(PROPERTY) for name in file.schema_arrow.names if name.startswith(PROPERTY)}


def _has(field: str, file: Any) -> Mask:
    """Return which events have a property; only properties with a column of their own are considered."""
    rows: int = file.metadata.num_rows
    if field not in file.schema_arrow.names:
        return np.zeros(rows, np.bool_)
    parts = [
        pc.and_(chunk.is_valid(), pc.not_equal(chunk.indices.fill_null(0), pc.index(chunk.dictionary, "null")))
        for chunk in file.read(columns=[field]).column(0).chunks
    ]
    mask: Mask = pa.chunked_array(parts, pa.bool_()).to_numpy()
    return mask


def _integers(column: Any) -> Int32s:
    numbers: Int32s = column.to_numpy()
    return numbers


def _merged(visitors: list[Int32s], count: int) -> tuple[list[Rows], Int32s]:
    """Return the places of each file's rows in the order of all by visitor, and the visitor at each place.

    The files are in order of time and don't overlap, so a visitor's rows follow one another file by file. Nobody,
    number -1, comes first.
    """
    if not visitors:
        return [], np.zeros(0, np.int32)
    if len(visitors) == 1:
        return [np.arange(len(visitors[0]))], visitors[0]
    counts = side_by_side(lambda who: np.bincount(who + 1, minlength=count + 1), visitors)
    totals = np.sum(counts, axis=0)
    begins = np.cumsum(totals) - totals
    shifts: list[Rows] = []
    for own in counts:
        shifts.append(begins - (np.cumsum(own) - own))
        begins = begins + own

    def places(index: int) -> Rows:
        found: Rows = np.repeat(shifts[index], counts[index])
        found += np.arange(len(found))
        return found

    return side_by_side(places, range(len(visitors))), np.repeat(np.arange(-1, count, dtype=np.int32), totals)


def _pick(file: Any, rows: Rows, names: list[str]) -> Any:
    """Return *rows* of *file*, which may be in any order."""
    sizes = [file.metadata.row_group(index).num_rows for index in range(file.num_row_groups)]
    ends = np.cumsum(sizes)
    groups = np.searchsorted(ends, rows, side="right")
    needed = np.unique(groups)
    begins = np.zeros(len(sizes), np.intp)
    begins[needed] = np.cumsum(np.array(sizes)[needed]) - np.array(sizes)[needed]
    local = rows - (ends - sizes)[groups] + begins[groups]
    if len(needed) > 1:
        table = file.read_row_groups(needed.tolist(), columns=names)
    else:
        # Read a single group only up to the last row wanted: decoding event ids takes most of a timeline's time.
        batches: list[Any] = []
        missing = int(local.max()) + 1
        for batch in file.iter_batches(_BATCH, row_groups=needed.tolist(), columns=names):
            batches.append(batch)
            missing -= len(batch)
            if missing <= 0:
                break
        table = pa.Table.from_batches(batches).unify_dictionaries()
    return table.select(names).take(pa.array(local))
