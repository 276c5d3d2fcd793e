"""Tables of events ordered by visitor, time and event id; all events of a visitor are in one table."""

from collections.abc import Sequence
from typing import Any

from analytics_middleware.store._arrays import ALWAYS, Int32s, Int64s, Mask, NDArray, Rows, np, ranges, side_by_side
from analytics_middleware.store._base import Base
from analytics_middleware.store._sources import Block, Picked, Source

QUARTER = 900_000_000
"""A quarter of an hour in microseconds; nearly all local hours and days begin at one."""


class Table:
    """Events of some visitors. *alive* is the mask of rows that count, None for all; nobody's number is -1."""

    def __init__(self, source: Source, who: Int32s, time: Int64s, alive: Mask | None = None) -> None:
        self.source = source
        self.who = who
        self.time = time
        self.alive = alive
        self._quarters: NDArray[np.int32] | None = None
        self._bounds: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.who)

    @property
    def quarters(self) -> Int32s:
        """The quarter of an hour of each event, counted from 1970."""
        if isinstance(self.source, Base):
            return self.source.derived("quarters", self._count_quarters, on_disk=True)
        if self._quarters is None:
            self._quarters = self._count_quarters()
        return self._quarters

    @property
    def bounds(self) -> tuple[int, int]:
        """The times of the first and the last event."""
        if self._bounds is None:
            self._bounds = (int(self.time.min()), int(self.time.max()))
        return self._bounds

    def _count_quarters(self) -> Int32s:
        halves = np.array_split(self.time, 2)
        return np.concatenate(side_by_side(lambda half: (half // QUARTER).astype(np.int32), halves))

    def rows_of(self, who: NDArray[Any]) -> Rows:
        """Return the living rows of the visitors *who*."""
        starts = np.searchsorted(self.who, who.astype(np.int32), "left")
        rows = ranges(starts, np.searchsorted(self.who, who.astype(np.int32), "right"))
        return rows if self.alive is None else rows[self.alive[rows]]

    def without(self, rows: Rows) -> "Table":
        """Return this table with *rows* marked dead."""
        if not len(rows):
            return self
        alive = np.ones(len(self), np.bool_) if self.alive is None else self.alive.copy()
        alive[rows] = False
        table = Table(self.source, self.who, self.time, alive)
        table._quarters, table._bounds = self._quarters, self._bounds
        return table


def overlay(
    tables: Sequence[Table],
    blocks: Sequence[tuple[Block, Rows]],
    owners: Int32s,
    touched: Int32s,
    gone_until: Int64s | None,
) -> list[Table]:
    """Return *tables* with the rows of *blocks* added.

    The visitors of those rows, and those *touched* by a merge or an erasure, move into a table of their own. *owners*
    gives the visitor of each number, *gone_until* the time up to which its events are erased.
    """
    owner_of = np.append(owners, np.int32(-1))
    moving = np.zeros(len(owners) + 1, np.bool_)
    moving[touched] = True
    for block, rows in blocks:
        moving[owner_of[block.actors()[rows]]] = True
    moving[-1] = False
    movers = np.flatnonzero(moving)
    parts: list[tuple[Source, Rows]] = []
    times: list[Int64s] = []
    before: list[Int32s] = []
    kept: list[Table] = []
    for table in tables:
        rows = table.rows_of(movers)
        kept.append(table.without(rows))
        parts.append((table.source, rows))
        times.append(table.time[rows])
        before.append(table.who[rows])
    for block, rows in blocks:
        parts.append((block, rows))
        times.append(block.time[rows])
        before.append(np.full(len(rows), -2, np.int32))
    parts, times, before = _filled(parts, times, before)
    if not parts:
        return kept
    actors = np.concatenate([source.actors()[rows] for source, rows in parts])
    who, time = owner_of[actors], np.concatenate(times)
    order = np.lexsort((time, who))
    if gone_until is not None:
        order = order[time[order] > np.append(gone_until, ALWAYS)[actors[order]]]
    order = _settle_ties(Picked(parts, np.arange(len(who))), order, who, time, np.concatenate(before) != who)
    hot = Table(Picked(parts, order), who[order], time[order])
    return [*kept, hot] if len(hot) else kept


def _filled(
    parts: list[tuple[Source, Rows]], times: list[Int64s], before: list[Int32s]
) -> tuple[list[tuple[Source, Rows]], list[Int64s], list[Int32s]]:
    full = [index for index, time in enumerate(times) if len(time)]
    return [parts[index] for index in full], [times[index] for index in full], [before[index] for index in full]


def _settle_ties(source: Source, order: Rows, who: Int32s, time: Int64s, moved: Mask) -> Rows:
    """Return *order* with the events of one visitor at one instant ordered by id.

    Rows from the same table are in that order already, so only instants with *moved* rows are sorted.
    """
    known = who[order] >= 0
    same = (who[order][1:] == who[order][:-1]) & (time[order][1:] == time[order][:-1]) & known[1:]
    if not same.any():
        return order
    groups = np.concatenate([[0], np.cumsum(~same)])
    mixed = np.zeros(groups[-1] + 1, np.bool_)
    mixed[groups[moved[order]]] = True
    mixed &= np.bincount(groups) > 1
    places = np.flatnonzero(mixed[groups])
    if not len(places):
        return order
    ids: list[str] = source.raw(order[places], ["event_id"]).column(0).to_pylist()
    keys = sorted(range(len(places)), key=lambda index: (int(groups[places[index]]), ids[index]))
    order = order.copy()
    order[places] = order[places[keys]]
    return order
