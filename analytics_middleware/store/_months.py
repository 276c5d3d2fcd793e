"""The contents of a month's file: rows sorted by visitor, time and event id; frequent properties as columns."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from analytics_middleware.store._arrays import Int32s, Int64s, Rows, np, pa, pc
from analytics_middleware.store._base import COMPLETE
from analytics_middleware.store.columns import PROPERTY, VISITOR, from_json, to_json

_MAX_SHREDDED: Final = 64
"""The maximum number of properties with a column of their own."""
_RARE: Final = 1000
"""A property gets a column only if at least one in this many events has it."""
_objects = msgspec.json.Decoder(dict[str, msgspec.Raw])


def month_numbers(times: Int64s) -> Int32s:
    """Return the UTC month of each time, counted from January 1970."""
    months: Int64s = times.astype("datetime64[us]").astype("datetime64[M]").astype(np.int64)
    return months.astype(np.int32)


def month_name(number: int) -> str:
    """Return the name of month *number* since January 1970: ``2025-03``."""
    return f"{1970 + number // 12:04}-{number % 12 + 1:02}"


def month_number(name: str) -> int:
    """Return the number of the month called *name*."""
    begin = datetime.strptime(name, "%Y-%m").replace(tzinfo=UTC)
    return (begin.year - 1970) * 12 + begin.month - 1


def month_table(table: Any, visitors: Int32s, times: Int64s, shredded: Sequence[str], others: Sequence[str]) -> Any:
    """Return *table*, with dictionary-encoded texts, in the layout of a month's file.

    The properties *shredded* get a column; *others* are those of the month that don't.
    """
    order = np.lexsort((times, visitors))
    order = _settle_ties(table, order, visitors[order], times[order])
    table = table.take(pa.array(order)).combine_chunks()
    table = table.append_column(VISITOR, pa.array(visitors[order], pa.int32()))
    # Lets a reader skip the events of this month when looking for a property that none of them has.
    known_names = to_json([*shredded, *others])
    return _with_properties(table, shredded).replace_schema_metadata({COMPLETE: known_names.encode()})


def _settle_ties(table: Any, order: Rows, who: Int32s, time: Int64s) -> Rows:
    same = (who[1:] == who[:-1]) & (time[1:] == time[:-1])
    if not same.any():
        return order
    tied = np.zeros(len(order), np.bool_)
    tied[1:] |= same
    tied[:-1] |= same
    places = np.flatnonzero(tied)
    groups = np.cumsum(np.concatenate([[True], ~same]))[places].tolist()
    ids: list[str] = table.column("event_id").take(pa.array(order[places])).to_pylist()
    keys = sorted(range(len(places)), key=lambda index: (groups[index], ids[index]))
    order = order.copy()
    order[places] = order[places[keys]]
    return order


def _with_properties(table: Any, names: Sequence[str]) -> Any:
    column = table.column("properties").combine_chunks()
    objects = column.dictionary.to_pylist()
    absent = len(objects)
    rows = column.indices.fill_null(absent).to_numpy(zero_copy_only=False)
    codes = {name: np.full(absent + 1, -1, np.int32) for name in names}
    tokens: dict[str, dict[str, int]] = {name: {} for name in names}
    for index, text in enumerate(objects):
        for name, value in _objects.decode(text).items():
            if name in codes:
                known = tokens[name]
                codes[name][index] = known.setdefault(_canonical(bytes(value)), len(known))
    for name in names:
        table = table.append_column(PROPERTY + name, _dictionary(codes[name][rows], list(tokens[name])))
    return table


def count_names(column: Any) -> Counter[str]:
    """Return how many rows of *column*, JSON objects in a dictionary, have each property."""
    counts: Counter[str] = Counter()
    for found in pc.value_counts(column.unify_dictionaries().drop_null()).to_pylist():
        for name in _objects.decode(found["values"]):
            counts[name] += found["counts"]
    return counts


def shredded_names(counts: Counter[str], rows: int) -> tuple[list[str], list[str]]:
    """Return the names of properties that get a column in a file of so many *rows*, and the other names."""
    shredded = [name for name, count in counts.most_common(_MAX_SHREDDED) if count * _RARE >= rows]
    return shredded, [name for name in counts if name not in shredded]


def _canonical(value: bytes) -> str:
    return to_json(from_json(value.decode()))


def _dictionary(codes: Int32s, tokens: list[str]) -> Any:
    indexes = pa.array(codes, pa.int32(), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(indexes, pa.array(tokens, pa.string()))
