"""Some rows of a table, and how the threads of a question share them."""

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Any

from analytics_middleware.store._arrays import Int32s, Mask, NDArray, Rows, np, side_by_side
from analytics_middleware.store._tables import Table

_PORTION = 2**19
"""Rows that a thread handles at a time."""


class Selected:
    """Some rows of a table; None means all of them."""

    def __init__(self, table: Table, rows: Rows | None) -> None:
        self.table = table
        self.rows = rows
        self.kept: dict[Any, Any] = {}
        """Results computed about these rows, kept for the next question about them."""

    def take(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return *column*, which covers the whole table, for these rows."""
        return column if self.rows is None else column[self.rows]

    def sample(self, column: NDArray[Any], step: int) -> NDArray[Any]:
        """Return *column* for one in *step* of these rows."""
        return column[::step] if self.rows is None else column[self.rows[::step]]

    def only(self, mask: Mask) -> "Selected":
        """Return the rows for which *mask* holds."""
        return self.pick(places(len(mask), mask.__getitem__))

    def pick(self, places: Rows) -> "Selected":
        """Return the rows at *places* among these."""
        return Selected(self.table, places if self.rows is None else self.rows[places])

    def by_users(self, size: int) -> "list[Portion]":
        """Return these rows in portions of about *size* that never split a user."""
        who = self.table.who
        cuts = {0, len(self)}
        for place in range(size, len(self), size):
            # The end of that row's user; a Python number would make NumPy copy the whole column as int64.
            row = place if self.rows is None else self.rows.item(place)
            end = np.searchsorted(who, who[row : row + 1], "right").item()
            cuts.add(end if self.rows is None else int(np.searchsorted(self.rows, end)))
        return [Portion(self, start, end) for start, end in pairwise(sorted(cuts))]

    @cached_property
    def who(self) -> Int32s:
        """The visitors of the rows."""
        return self.take(self.table.who)

    def __len__(self) -> int:
        return len(self.table) if self.rows is None else len(self.rows)


class Portion:
    """The rows from *start* to *end* of *selected*."""

    def __init__(self, selected: Selected, start: int, end: int) -> None:
        self._selected = selected
        self._start = start
        self._end = end
        self.table = selected.table

    def take(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return *column*, which covers the whole table, for these rows."""
        rows = self._selected.rows
        return column[self._start : self._end] if rows is None else column[rows[self._start : self._end]]

    def pick(self, places: Rows) -> Selected:
        """Return the rows at *places* among these."""
        return self._selected.pick(places + self._start)


def both(one: Mask | None, other: Mask | None) -> Mask | None:
    """Return where both masks hold; None holds everywhere."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def places(rows: int, holds: Callable[[slice], Mask]) -> Rows:
    """Return the indexes of the *rows* rows for which *holds*, called with a slice at a time, is true."""
    return np.concatenate(
        side_by_side(lambda part: np.flatnonzero(holds(part)) + part.start, portions(rows)) or [np.zeros(0, np.intp)]
    )


def portions(rows: int) -> list[slice]:
    """Return slices that divide *rows* rows."""
    return [slice(start, min(start + _PORTION, rows)) for start in range(0, rows, _PORTION)]
