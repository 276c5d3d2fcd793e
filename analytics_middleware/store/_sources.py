"""The sources of event columns: compacted segments, blocks in memory, and rows picked from both."""

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from typing import Any, Final, Protocol

import msgspec

from analytics_middleware.event import EventType
from analytics_middleware.money import Money
from analytics_middleware.store._arrays import Codes, Floats, Int32s, Int64s, Mask, NDArray, Rows, narrowed, np, pa, pc
from analytics_middleware.store._vocabulary import Vocabularies, Vocabulary
from analytics_middleware.store.actors import Actors
from analytics_middleware.store.columns import PROPERTY, USER, actor_kind, from_json, to_json

NUMERIC = frozenset({"duration", "revenue", "revenue_minor", "timestamp"})
"""Fields stored as numbers, whose values seldom repeat."""
_NULL: Final = msgspec.Raw(b"null")
_values: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Source(Protocol):
    """Columns of some events, all in the same order."""

    def __len__(self) -> int: ...

    def actors(self) -> Int32s:
        """The number of each event's id, -1 for nobody."""
        ...

    def codes(self, field: str) -> Codes:
        """The codes of a field's values."""
        ...

    def numbers(self, field: str) -> NDArray[Any]:
        """The values of one of the `NUMERIC` fields. NaN means absent, for minor units 0."""
        ...

    def raw(self, rows: Rows, names: Sequence[str]) -> Any:
        """The stored columns *names* of the given *rows*, as an Arrow table."""
        ...

    def property_names(self, rows: Rows) -> Counter[str]:
        """How many of the given *rows* have each property."""
        ...


def numbers_of(column: Any, field: str) -> NDArray[Any]:
    """Return an Arrow column of numbers as an array."""
    if field == "timestamp":
        times: Int64s = column.cast(pa.int64()).to_numpy()
        return times
    if field == "revenue_minor":
        minor: Int64s = column.fill_null(0).to_numpy()
        return minor
    values: Floats = column.cast(pa.float64()).fill_null(float("nan")).to_numpy()
    return values


def major_units(minor: Int64s, currencies: Codes, known: Sequence[str | None]) -> Floats:
    """Return amounts in major units, NaN without a currency."""
    units = [float("nan") if code is None else 10.0 ** Money.from_minor(0, code).exponent for code in known]
    amounts: Floats = minor / np.array(units)[currencies]
    return amounts


def encode_property(vocabulary: Vocabulary, field: str, column: Any) -> Codes:
    """Return the codes of one property, taken from the JSON objects in *column*."""
    name = field.removeprefix(PROPERTY)
    parts: list[Codes] = []
    for chunk in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        encoded = chunk if pa.types.is_dictionary(chunk.type) else chunk.dictionary_encode()
        objects = (from_json(text) for text in encoded.dictionary.to_pylist())
        tokens = [to_json(each[name]) if name in each else None for each in objects]
        codes = narrowed(np.append(vocabulary.codes(tokens), np.int32(0)), len(vocabulary.values))
        indexes = encoded.indices.fill_null(len(codes) - 1).to_numpy(zero_copy_only=False)
        parts.append(codes[indexes])
    return np.concatenate(parts) if parts else np.zeros(0, np.uint8)


def names_in(column: Any, but: Set[str] = frozenset()) -> Counter[str]:
    """Return how many of the JSON objects in *column* have each property, except those in *but*."""
    counts: Counter[str] = Counter()
    found = pc.value_counts(column.drop_null())
    for text, count in zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True):
        for name, value in _values(text).items():
            if name not in but and value != _NULL:
                counts[name] += count
    return counts


class Block(Source):
    """Events in memory, in order of time and event id."""

    def __init__(self, table: Any, actors: Actors, vocabularies: Vocabularies) -> None:
        order = pc.sort_indices(table, [("timestamp", "ascending"), ("event_id", "ascending")])
        self.table = table.take(order).combine_chunks()
        self.time: Int64s = numbers_of(self.table.column("timestamp"), "timestamp")
        self._vocabularies = vocabularies
        self._columns: dict[str, NDArray[Any]] = {}
        self._actors = numbered(self.table, actors)

    def __len__(self) -> int:
        return len(self.time)

    def actors(self) -> Int32s:
        """The number of each event's id."""
        return self._actors

    def codes(self, field: str) -> Codes:
        """The codes of a field's values."""
        if field not in self._columns:
            if field.startswith(PROPERTY):
                self._columns[field] = encode_property(
                    self._vocabularies[field], field, self.table.column("properties")
                )
            else:
                self._columns[field] = self._vocabularies[field].encode(self.table.column(field))
        return self._columns[field]

    def numbers(self, field: str) -> NDArray[Any]:
        """The values of a numeric field."""
        if field == "revenue":
            known = self._vocabularies["currency"].values
            return major_units(self.numbers("revenue_minor"), self.codes("currency"), known)
        return numbers_of(self.table.column(field), field)

    def raw(self, rows: Rows, names: Sequence[str]) -> Any:
        """The stored columns *names* of the given *rows*."""
        return plain(self.table.select(list(names)).take(pa.array(rows)))

    def property_names(self, rows: Rows) -> Counter[str]:
        """How many of the given *rows* have each property."""
        return names_in(self.table.column("properties").take(pa.array(rows)))


class Picked(Source):
    """Rows of other sources, in one order."""

    def __init__(self, parts: Sequence[tuple[Source, Rows]], order: Rows) -> None:
        self._parts = parts
        self._order = order
        self._columns: dict[str, NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self._order)

    def actors(self) -> Int32s:
        """The number of each event's id."""
        if "" not in self._columns:
            self._columns[""] = self._joined([source.actors()[rows] for source, rows in self._parts])
        return self._columns[""]

    def codes(self, field: str) -> Codes:
        """The codes of a field's values."""
        if field not in self._columns:
            self._columns[field] = self._joined([source.codes(field)[rows] for source, rows in self._parts])
        return self._columns[field]

    def numbers(self, field: str) -> NDArray[Any]:
        """The values of a numeric field."""
        if field not in self._columns:
            self._columns[field] = self._joined([source.numbers(field)[rows] for source, rows in self._parts])
        return self._columns[field]

    def raw(self, rows: Rows, names: Sequence[str]) -> Any:
        """The stored columns *names* of the given *rows*."""
        tables: list[Any] = []
        places: list[Rows] = []
        for source, picked, here in self._shares(rows):
            tables.append(source.raw(picked, names))
            places.append(here)
        if not tables:
            return self._parts[0][0].raw(np.zeros(0, np.intp), names)
        back = np.argsort(np.concatenate(places), kind="stable")
        return pa.concat_tables(tables).take(pa.array(back))

    def property_names(self, rows: Rows) -> Counter[str]:
        """How many of the given *rows* have each property."""
        counts: Counter[str] = Counter()
        for source, picked, _ in self._shares(rows):
            counts += source.property_names(picked)
        return counts

    def _shares(self, rows: Rows) -> Iterator[tuple[Source, Rows, Rows]]:
        """Yield each source that has some of *rows*, with their row numbers in it and their positions in *rows*."""
        wanted = self._order[rows]
        begin = 0
        for source, picked in self._parts:
            here = np.flatnonzero((wanted >= begin) & (wanted < begin + len(picked)))
            if len(here):
                yield source, picked[wanted[here] - begin], here
            begin += len(picked)

    def _joined(self, columns: list[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate(columns)[self._order]


def plain(table: Any) -> Any:
    """Return *table* with dictionaries decoded to plain text, so that tables can be concatenated."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(index, field.name, table.column(index).cast(field.type.value_type))
    return table


def bots(source: Source, vocabularies: Vocabularies, kinds: NDArray[np.uint8]) -> Mask | None:
    """Return which events are bot events, that is bots' page views without a user; None if none are."""
    true = vocabularies["is_bot"].code(True)
    if true is None and not (len(source) and (true := _code(source, vocabularies, "is_bot", True))):
        return None
    found = source.codes("is_bot") == true
    if not found.any():
        return None
    pageview = _code(source, vocabularies, "type", EventType.PAGEVIEW.value)
    actors = source.actors()
    anonymous = np.append(kinds != USER, True)[actors]
    mask: Mask = found & (source.codes("type") == pageview) & anonymous
    return mask


def _code(source: Source, vocabularies: Vocabularies, field: str, token: Any) -> int | None:
    source.codes(field)
    return vocabularies[field].code(token)


def numbered(table: Any, actors: Actors) -> Int32s:
    """Return the number of the id of each row, -1 for nobody."""
    found = np.full(table.num_rows, -1, np.int32)
    for name in ("anon_id", "user_id"):  # a user_id outranks an anon_id
        column = table.column(name).combine_chunks()
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        ids: list[str] = column.dictionary.to_pylist()
        kinds = [USER if name == "user_id" else actor_kind(None, text) for text in ids]
        numbers = np.append(actors.numbers(kinds, ids), np.int32(-1))
        given = numbers[column.indices.fill_null(len(ids)).to_numpy(zero_copy_only=False)]
        found = np.where(given >= 0, given, found)
    return found
