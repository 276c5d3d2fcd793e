"""The visitors of events: distinct ones, in total and by value."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Final, NamedTuple

from analytics_middleware.store._arrays import Codes, Int32s, Mask, NDArray, Rows, changes, nobodies, np
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._np_rows import Selected
from analytics_middleware.store._np_select import Spans
from analytics_middleware.store.parameters import RangeQuestion
from analytics_middleware.store.timeout import check_time

_MAX_CELLS: Final = 32_000_000


class People(NamedTuple):
    """Distinct visitors; a cookieless one once for each of its days, whose index is *day*. Others have day -1."""

    who: Int32s
    day: NDArray[Any]
    cookieless: int

    def __len__(self) -> int:
        return len(self.who)


class RowVisitors:
    """The distinct visitors of some rows, and each row's index among them."""

    def __init__(self, who: Int32s, first: Rows, day: NDArray[Any]) -> None:
        self.first = first
        """The first row of each visitor."""
        self.day = day
        # Don't keep the selection: it refers to this object, and the cycle would wait for the garbage collector.
        self._who = who

    @cached_property
    def begin(self) -> int:
        """The first row that belongs to a visitor: rows of nobody come first."""
        return nobodies(self._who)

    @cached_property
    def of(self) -> Int32s:
        """The index of each row's visitor, for rows from `begin` on."""
        places = np.arange(len(self.first), dtype=np.int32)
        return np.repeat(places, np.diff(np.append(self.first, len(self._who))))

    @property
    def cookieless(self) -> Mask:
        """Which visitors are cookieless."""
        return self.day >= 0


def once(frame: Frame, selected: Selected, question: RangeQuestion, *within: NDArray[Any]) -> tuple[Rows, NDArray[Any]]:
    """Return the first row of each visitor, or of each visitor and group of rows if *within* gives groups.

    All rows lie in the question's range. A cookieless visitor counts once a day. Also returns the index of the day for
    each row found, -1 for visitors who are not cookieless.
    """
    who = selected.who
    if frame.has_cookieless and (cookieless := frame.cookieless(who)).any():
        day = np.where(cookieless, Spans.of(question, "day").find(selected), -1)
        first = np.flatnonzero(changes(who, day, *within) & (who >= 0))
        return first, day[first]
    first = np.flatnonzero(changes(who, *within) & (who >= 0))
    return first, np.full(len(first), -1)


def row_visitors(frame: Frame, selected: Selected, question: RangeQuestion) -> RowVisitors:
    """Return the distinct visitors of *selected*, which all lie in the question's range."""
    key = (question.start, question.end, question.tz)
    found: RowVisitors | None = selected.kept.get(key)
    if found is None:
        selected.kept[key] = found = RowVisitors(selected.who, *once(frame, selected, question))
    return found


def distinct(frame: Frame, selections: Sequence[Selected], question: RangeQuestion) -> People:
    """Return the distinct visitors of *selections*, whose rows all lie in the question's range."""
    found: list[Int32s] = []
    on: list[NDArray[Any]] = []
    for selected in selections:
        check_time()
        people = row_visitors(frame, selected, question)
        found.append(selected.who[people.first])
        on.append(people.day)
    who = np.concatenate(found) if found else np.zeros(0, np.int32)
    day = np.concatenate(on) if on else np.zeros(0, np.int64)
    return People(who, day, int((day >= 0).sum()))


def users_by(people: RowVisitors, values: Codes, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the number of visitors, and of cookieless visitors, of each of *number* values.

    *values* has one code for each row of *people* from `begin` on; the code *number* means absent.
    """
    if len(people.first) * (number + 1) <= _MAX_CELLS:
        there = np.zeros((len(people.first), number + 1), np.bool_)
        # Rows are ordered by visitor, so this goes through the table once.
        there.reshape(-1)[people.of.astype(np.int64) * (number + 1) + values] = True
        users = np.count_nonzero(there, axis=0)
        cookieless = people.cookieless
        return users[:-1], np.count_nonzero(there[cookieless], axis=0)[:-1] if cookieless.any() else np.zeros(
            number, np.int64
        )
    # Most duplicates are adjacent. A stable sort by value keeps the order of visitors.
    first = np.flatnonzero(changes(values, people.of))
    keys = [values[first], people.of[first]]
    order = np.argsort(keys[0], kind="stable")
    keys = [key[order] for key in keys]
    unique = changes(*keys)
    found, whose = keys[0][unique], keys[1][unique]
    users = np.bincount(found, minlength=number + 1)
    return users[:-1], np.bincount(found[people.cookieless[whose]], minlength=number + 1)[:-1]
