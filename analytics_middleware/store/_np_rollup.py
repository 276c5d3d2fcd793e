"""Rollups: event counts by quarter of an hour and value, which answer most questions that only count.

The rollup of compacted segments is computed once and kept; rows that left them since are subtracted and all other
tables are counted anew. So the answer is exact despite late events, merges and erasures.
"""

from typing import Any, Final, NamedTuple

from analytics_middleware.store._arrays import Codes, Int32s, NDArray, np
from analytics_middleware.store._base import Base
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._sources import NUMERIC
from analytics_middleware.store._tables import QUARTER, Table
from analytics_middleware.store.instants import micros
from analytics_middleware.store.parameters import RangeQuestion
from analytics_middleware.store.timeout import check_time

_MAX_CELLS: Final = 4_000_000


class Rolled(NamedTuple):
    """The number of events by quarter of an hour, starting at *first*, and by code."""

    first: int
    counts: NDArray[Any]


def roll(frame: Frame, question: RangeQuestion, field: str, event: str) -> Rolled | None:
    """Return the events that *question* is about by code of *field*, or None if rollups can't answer it."""
    begin, end = max(micros(question.start), frame.horizon), micros(question.end)
    if (
        question.where
        or begin % QUARTER
        or end % QUARTER
        or end <= begin
        or (event and field != "name")
        or field in NUMERIC
        or field.startswith("traits.")
    ):
        return None
    if not frame.tables:
        return None
    codes = [frame.codes(table, field) for table in frame.tables]
    width = len(frame.vocabularies[field].values)
    # Limit the table to where there are events: the range may be a century.
    first = max(begin, min(table.bounds[0] for table in frame.tables)) // QUARTER
    last = min(end // QUARTER, max(table.bounds[1] for table in frame.tables) // QUARTER + 1)
    if last <= first or (last - first) * width > _MAX_CELLS:
        return None
    counts = np.zeros((last - first, width), np.int64)
    for table, column in zip(frame.tables, codes, strict=True):
        check_time()
        if not _add(frame, table, column, Rolled(first, counts), field, with_bots=question.bots):
            return None
    if event:
        code = frame.vocabularies["name"].code(event)
        counts[:, np.arange(width) != (0 if code is None else code)] = 0
    return Rolled(first, counts)


def _add(frame: Frame, table: Table, column: Codes, rolled: Rolled, field: str, *, with_bots: bool) -> bool:
    """Add the events of *table*; return False if there are too many values."""
    bots = None if with_bots else frame.bots(table)
    if not isinstance(table.source, Base):
        mask = table.alive if bots is None else ~bots if table.alive is None else table.alive & ~bots
        rows = np.arange(len(table)) if mask is None else np.flatnonzero(mask)
        _count(rolled, table.quarters[rows], column[rows])
        return True
    first, last = table.bounds[0] // QUARTER, table.bounds[1] // QUARTER + 1
    width = int(column.max(initial=0)) + 1 if field not in frame.widths else frame.widths[field]
    frame.widths[field] = width
    if (last - first) * width > _MAX_CELLS:
        return False

    def whole() -> NDArray[Any]:
        counts = Rolled(first, np.zeros((last - first, width), np.int64))
        rows = slice(None) if bots is None else np.flatnonzero(~bots)
        _count(counts, table.quarters[rows], column[rows])
        return counts.counts

    everything = table.source.derived(f"rollup {with_bots} {field}", whole)
    begin, end = max(first, rolled.first), min(last, rolled.first + len(rolled.counts))
    if begin < end:
        rolled.counts[begin - rolled.first : end - rolled.first, :width] += everything[begin - first : end - first]
    if table.alive is not None:
        dead = np.flatnonzero(~table.alive if bots is None else ~table.alive & ~bots)
        _count(rolled, table.quarters[dead], column[dead], sign=-1)
    return True


def _count(rolled: Rolled, quarters: Int32s, codes: Codes, sign: int = 1) -> None:
    """Add the events that lie in the range of *rolled* to it."""
    height, width = rolled.counts.shape
    inside = (quarters >= rolled.first) & (quarters < rolled.first + height)
    if not inside.all():
        quarters, codes = quarters[inside], codes[inside]
    if not len(quarters):
        return
    cells = (quarters - np.int32(rolled.first)) * np.int32(width) + codes
    if len(cells) * 8 < height * width:
        np.add.at(rolled.counts.reshape(-1), cells, sign)
    else:
        rolled.counts.reshape(-1)[:] += sign * np.bincount(cells, minlength=height * width)
