"""Some rows of a table, and how the threads of a question share them out."""

from collections.abc import Callable
from functools import cached_property
from itertools import pairwise
from typing import Any

from analytics_middleware.store._arrays import Int32s, Mask, NDArray, Rows, np, side_by_side
from analytics_middleware.store._tables import Table

_PORTION = 2**19
"""Rows that a thread goes through at a time."""


class Selected:
    """Some rows of a table; None stands for all of them."""

    def __init__(self, table: Table, rows: Rows | None) -> None:
        self.table = table
        self.rows = rows
        self.kept: dict[Any, Any] = {}
        """What was worked out about these rows, for the next question about them."""

    def take(self, column: NDArray[Any]) -> NDArray[Any]:
        """Return *column*, which has all rows of the table, for these rows."""
        return column if self.rows is None else column[self.rows]

    def sample(self, column: NDArray[Any], step: int) -> NDArray[Any]:
        """Return *column* for one in *step* of these rows."""
        return column[::step] if self.rows is None else column[self.rows[::step]]

    def only(self, mask: Mask) -> "Selected":
        """Return those of these rows for which *mask* holds."""
        return self.pick(places(len(mask), mask.__getitem__))

    def pick(self, places: Rows) -> "Selected":
        """Return those of these rows that stand at *places*."""
        return Selected(self.table, places if self.rows is None else self.rows[places])

    def by_users(self, size: int) -> "list[Portion]":
        """Return these rows in portions of about *size*, each of which has all rows of its users."""
        who = self.table.who
        cuts = {0, len(self)}
        for place in range(size, len(self), size):
            # The end of the user who has the row there; a Python number would have the whole column copied as int64.
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
        """Return *column*, which has all rows of the table, for these rows."""
        rows = self._selected.rows
        return column[self._start : self._end] if rows is None else column[rows[self._start : self._end]]

    def pick(self, places: Rows) -> Selected:
        """Return those of these rows that stand at *places*."""
        return self._selected.pick(places + self._start)


def both(one: Mask | None, other: Mask | None) -> Mask | None:
    """Return where both masks hold; None holds everywhere."""
    if one is None or other is None:
        return other if one is None else one
    return one & other


def places(rows: int, holds: Callable[[slice], Mask]) -> Rows:
    """Return of so many *rows* those for which *holds* is true, asked of some at a time."""
    return np.concatenate(
        side_by_side(lambda part: np.flatnonzero(holds(part)) + part.start, portions(rows)) or [np.zeros(0, np.intp)]
    )


def portions(rows: int) -> list[slice]:
    """Return slices that share so many *rows* out."""
    return [slice(start, min(start + _PORTION, rows)) for start in range(0, rows, _PORTION)]
