"""Who the events are of: distinct visitors, over all and by value."""

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
    """Distinct visitors; a cookieless one once for each of its days, whose index is *day*, else -1."""

    who: Int32s
    day: NDArray[Any]
    cookieless: int

    def __len__(self) -> int:
        return len(self.who)


class Persons:
    """The same of some rows, with each row's place among them."""

    def __init__(self, who: Int32s, first: Rows, day: NDArray[Any]) -> None:
        self.first = first
        """The first row of each."""
        self.day = day
        # Not the selection, which keeps this object: together they would stay until the garbage collector comes.
        self._who = who

    @cached_property
    def begin(self) -> int:
        """The first row that is of anybody: those of nobody come before all others."""
        return nobodies(self._who)

    @cached_property
    def of(self) -> Int32s:
        """The place of each row from `begin` on."""
        places = np.arange(len(self.first), dtype=np.int32)
        return np.repeat(places, np.diff(np.append(self.first, len(self._who))))

    @property
    def few(self) -> Mask:
        """Which of them are cookieless."""
        return self.day >= 0


def once(frame: Frame, selected: Selected, question: RangeQuestion, *within: NDArray[Any]) -> tuple[Rows, NDArray[Any]]:
    """Return the first row of each visitor, in each stretch of time that *within* tells rows apart by.

    All rows lie in the question's range. A cookieless visitor counts once a day: with each row found comes the index
    of that day, -1 of those who are not cookieless.
    """
    who = selected.who
    if frame.has_cookieless and (few := frame.cookieless(who)).any():
        day = np.where(few, Spans.of(question, "day").find(selected), -1)
        first = np.flatnonzero(changes(who, day, *within) & (who >= 0))
        return first, day[first]
    first = np.flatnonzero(changes(who, *within) & (who >= 0))
    return first, np.full(len(first), -1)


def persons(frame: Frame, selected: Selected, question: RangeQuestion) -> Persons:
    """Return the distinct visitors of *selected*, which all lie in the question's range."""
    key = (question.start, question.end, question.tz)
    found: Persons | None = selected.kept.get(key)
    if found is None:
        selected.kept[key] = found = Persons(selected.who, *once(frame, selected, question))
    return found


def distinct(frame: Frame, selections: Sequence[Selected], question: RangeQuestion) -> People:
    """Return the visitors of rows that all lie in the question's range."""
    found: list[Int32s] = []
    on: list[NDArray[Any]] = []
    for selected in selections:
        check_time()
        people = persons(frame, selected, question)
        found.append(selected.who[people.first])
        on.append(people.day)
    who = np.concatenate(found) if found else np.zeros(0, np.int32)
    day = np.concatenate(on) if on else np.zeros(0, np.int64)
    return People(who, day, int((day >= 0).sum()))


def users_by(people: Persons, values: Codes, number: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the number of visitors, and of cookieless ones among them, of each of *number* values.

    *values* are those of the rows of *people* from its first on; one that is *number* is absent.
    """
    if len(people.first) * (number + 1) <= _MAX_CELLS:
        there = np.zeros((len(people.first), number + 1), np.bool_)
        # Rows are in order of visitors, so this goes through the table once.
        there.reshape(-1)[people.of.astype(np.int64) * (number + 1) + values] = True
        users = np.count_nonzero(there, axis=0)
        few = people.few
        return users[:-1], np.count_nonzero(there[few], axis=0)[:-1] if few.any() else np.zeros(number, np.int64)
    # Most repetitions follow one another; what is left is sorted by value, in order of visitors as it was.
    first = np.flatnonzero(changes(values, people.of))
    keys = [values[first], people.of[first]]
    order = np.argsort(keys[0], kind="stable")
    keys = [key[order] for key in keys]
    unique = changes(*keys)
    found, whose = keys[0][unique], keys[1][unique]
    users = np.bincount(found, minlength=number + 1)
    return users[:-1], np.bincount(found[people.few[whose]], minlength=number + 1)[:-1]
