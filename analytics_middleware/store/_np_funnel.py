"""Funnels over arrays: all attempts of all users at once; `_funnel` says the same in plain Python.

For each step an array gives the next event of that step from every row on, so a funnel takes a few passes over the
events per step, however many attempts there are.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from analytics_middleware.store._arrays import NEVER, Codes, Int32s, Int64s, Mask, NDArray, changes, np, side_by_side
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._np_rows import Portion, Selected
from analytics_middleware.store._np_select import Grouping, within
from analytics_middleware.store.columns import COOKIELESS
from analytics_middleware.store.questions import Funnel, FunnelOrder
from analytics_middleware.store.results import FunnelStep, Group
from analytics_middleware.store.timeout import check_time

_MICROSECOND = timedelta(microseconds=1)
_PORTION = 2**16
"""Step events that one thread handles at a time, so that their arrays fit the processor's caches."""
_LONGEST = 2**19
"""The maximum number of rows in a portion."""
_SAMPLED = 1000
"""Sample one in this many rows to estimate how many are steps."""


class Attempts(NamedTuple):
    """Each user's best attempt: steps done, the row it begins with, the time of its last step."""

    steps: NDArray[Any]
    first: NDArray[Any]
    end: Int64s


def best_attempts(
    who: Int32s,
    time: Int64s,
    names: Codes,
    steps: Sequence[int],
    window: timedelta | None,
    order: FunnelOrder,
    barred: Int64s | None = None,
) -> Attempts:
    """Return the best attempts in rows sorted by user and time; *names* and *steps* are codes of event names.

    *barred* gives for each row the time by which an attempt that begins there must end.
    """
    stream = _Stream(who, time, names, steps)
    first = np.flatnonzero(names == steps[0] if order != "any" else stream.is_step)
    if order == "ordered" and len(steps) > 1 and steps[0] not in steps[1:]:
        first = stream.last_before_next(first)
    until = np.full(len(first), NEVER) if window is None else time[first] + window // _MICROSECOND
    if barred is not None:
        until = np.minimum(until, barred[first])
    done, end = stream.any(first, until) if order == "any" else stream.in_order(first, until)
    # The attempt that got furthest wins; among equals the one that began last.
    starts = np.flatnonzero(changes(who[first]))
    if not len(starts):
        return Attempts(done, first, end)
    furthest = np.maximum.reduceat(done * np.int64(len(first)) + np.arange(len(first)), starts) % len(first)
    return Attempts(done[furthest], first[furthest], end[furthest])


class _Stream:
    """Rows, indexed to look up what follows them. The number of rows, as a row number, means none."""

    def __init__(self, who: Int32s, time: Int64s, names: Codes, steps: Sequence[int]) -> None:
        self._count = len(who)
        self._who = who
        self._time = time
        self._steps = steps
        self._names = names
        known = np.zeros(int(names.max(initial=0)) + 1, np.bool_)
        known[[step for step in steps if 0 <= step < len(known)]] = True
        self.is_step: Mask = known[names]
        self._instant = self._instants()

    def _instants(self) -> Int32s:
        """Return for each row the first row of its user at the same instant.

        Events at one instant may be taken in any order, so a step is searched from the first row of its instant.
        """
        instants = np.arange(self._count + 1, dtype=np.int32)
        tied = np.flatnonzero(~changes(self._who, self._time)).astype(np.int32)
        if len(tied):
            runs = np.flatnonzero(np.append(np.True_, tied[1:] != tied[:-1] + 1))
            instants[tied] = np.repeat(tied[runs] - 1, np.diff(np.append(runs, len(tied))))
        return instants

    def _following(self, wanted: Mask) -> Int32s:
        """Return for each row the first *wanted* row at or after it."""
        check_time()
        places = np.append(np.flatnonzero(wanted), self._count).astype(np.int32)
        found: Int32s = np.repeat(places, np.diff(places, prepend=np.int32(-1)))
        return np.append(found, np.int32(self._count))

    def _reached(self, place: NDArray[Any], who: Int32s, until: Int64s) -> tuple[Mask, NDArray[Any]]:
        """Return which of the rows *place* exist, belong to *who* and are in time, and *place* with valid indexes."""
        inside = place < self._count
        place = np.where(inside, place, 0)
        mask: Mask = inside & (self._who[place] == who) & (self._time[place] <= until)
        return mask, place

    def last_before_next(self, first: NDArray[Any]) -> NDArray[Any]:
        """Return the rows of *first* that have no other such row between them and the next step.

        An attempt that begins later and continues with the same event gets as far and has more of its window left. So
        only one of a hundred page views before a purchase is tried.
        """
        following = self._following(self._names == self._steps[1])[self._instant[first]]
        who = self._who[first]
        # The next step may be another user's; then it is the same one for all of this user's last rows.
        last = np.ones(len(first), np.bool_)
        last[:-1] = (who[1:] != who[:-1]) | (following[1:] != following[:-1])
        return first[last]

    def in_order(self, first: NDArray[Any], until: Int64s) -> tuple[NDArray[Any], Int64s]:
        """Return how many steps the attempts beginning at *first* complete by *until*, and when they do the last."""
        done = np.ones(len(first), np.int32)
        end = self._time[first]
        who = self._who[first]
        going = np.arange(len(first))
        current = first
        # The last row taken for each step; taking the first row of an instant is as good as taking another.
        taken: dict[int, NDArray[Any]] = {}
        for index, step in enumerate(self._steps):
            if index == 0 and step not in self._steps[1:]:
                continue
            following = self._following(self._names == step)
            place = self._instant[current]
            if step in taken:
                place = np.maximum(place, taken[step] + 1)
            place = following[place]
            reached, place = self._reached(place, who, until)
            if not reached.all():
                going, place, who, until = going[reached], place[reached], who[reached], until[reached]
                taken = {name: rows[reached] for name, rows in taken.items()}
            taken[step] = current = place
            done[going] = index + 1
            end[going] = self._time[place]
        return done, end

    def any(self, first: NDArray[Any], until: Int64s) -> tuple[NDArray[Any], Int64s]:
        """Return how many distinct steps happen from *first* to *until*, and when the last of them first happens."""
        done = np.zeros(len(first), np.int32)
        end = self._time[first]
        who = self._who[first]
        for step, wanted in Counter(self._steps).items():
            following = self._following(self._names == step)
            place = self._instant[first]
            for _ in range(wanted):
                reached, place = self._reached(following[place], who, until)
                done += reached
                end = np.where(reached, np.maximum(end, self._time[place]), end)
                # Once an event of a step is missing, later ones are too.
                place = np.where(reached, place + 1, self._count)
        return done, end


def next_foreign(who: Int32s, time: Int64s, steps: NDArray[Any]) -> Int64s:
    """Return when the user of each row in *steps* has the next event that is not a step, `NEVER` without one.

    *who* and *time* cover all events. An event at the same instant as a step does not come after it.
    """
    ends = np.flatnonzero(np.append(steps[1:] != steps[:-1] + 1, np.True_))
    after = steps[ends] + 1
    found = np.repeat(after, np.diff(ends, prepend=-1))
    while True:
        check_time()
        inside = found < len(who)
        safe = np.where(inside, found, 0)
        there = inside & (who[safe] == who[steps])
        same = np.flatnonzero(there & (time[safe] == time[steps]))
        if not len(same):
            return np.where(there, time[safe], NEVER)
        # Try the next row; if that is a step, skip to the end of its run of steps.
        following = found[same] + 1
        place = np.minimum(np.searchsorted(steps, following), len(steps) - 1)
        is_step = steps[place] == following
        found[same] = np.where(is_step, after[np.searchsorted(ends, place)], following)


class Entrants(NamedTuple):
    """The users of one table who entered, and the row that each entered with."""

    selected: Selected
    who: Int32s
    steps: NDArray[Any]
    micros: Int64s


def entrants(frame: Frame, question: Funnel) -> list[Entrants]:
    """Return every user who did step 0 (with ``any``: one of the steps), for each portion of the tables."""
    found: list[Entrants] = []
    for selected in within(frame, question):
        names = frame.codes(selected.table, "name")
        vocabulary = frame.vocabularies["name"]
        # A step that never occurred gets a code that no event has.
        unknown = {step: -2 - index for index, step in enumerate(dict.fromkeys(question.steps))}
        steps = [unknown[step] if (code := vocabulary.code(step)) is None else code for step in question.steps]
        is_step = np.zeros(len(vocabulary.values), np.bool_)
        is_step[[step for step in steps if step >= 0]] = True
        share = is_step[selected.sample(names, _SAMPLED)].mean()
        portions = selected.by_users(int(_PORTION / max(share, _PORTION / _LONGEST)))
        entering = partial(_entering, question, names, steps, is_step)
        found += [each for each in side_by_side(entering, portions) if each is not None]
    return found


def _entering(question: Funnel, names: Codes, steps: Sequence[int], is_step: Mask, portion: Portion) -> Entrants | None:
    check_time()
    everybody, at, names = (portion.take(column) for column in (portion.table.who, portion.table.time, names))
    wanted = np.flatnonzero(is_step[names])
    wanted = wanted[everybody[wanted] >= 0]
    if not len(wanted):
        return None
    barred = next_foreign(everybody, at, wanted) if question.order == "strict" else None
    who, time = everybody[wanted], at[wanted]
    best = best_attempts(who, time, names[wanted], steps, question.window, question.order, barred)
    opened = portion.pick(wanted[best.first])
    return Entrants(opened, who[best.first], best.steps, best.end - time[best.first])


def funnel(frame: Frame, question: Funnel) -> list[Group[list[FunnelStep]]]:
    """Users per step."""
    found = entrants(frame, question)
    steps = _joined([each.steps for each in found])
    seconds = _joined([each.micros for each in found])
    who = _joined([each.who for each in found]).astype(np.int64)
    cookieless = frame.kinds[who] == COOKIELESS
    if question.breakdown is None:
        return [Group(key=None, answer=_steps(question, steps, seconds, cookieless))]
    codes = [each.selected.take(frame.codes(each.selected.table, question.breakdown)) for each in found]
    grouping = Grouping.of(frame, question.breakdown, codes, question.breakdown_limit)
    group = _joined(grouping.groups)
    return grouping.answer(
        lambda index: _steps(question, steps[group == index], seconds[group == index], cookieless[group == index])
    )


def _joined(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    return np.concatenate(parts) if parts else np.zeros(0, np.int64)


def _steps(question: Funnel, steps: NDArray[Any], micros: NDArray[Any], cookieless: Mask) -> list[FunnelStep]:
    answer: list[FunnelStep] = []
    for index, step in enumerate(question.steps):
        reached = steps > index
        count = int(reached.sum())
        last = index == len(question.steps) - 1
        answer.append(
            FunnelStep(
                event=step,
                count=count,
                conversion=count / len(steps) if len(steps) else 0.0,
                median_seconds=median(micros[reached] / 1_000_000) if last and count else None,
                cookieless=int((reached & cookieless).sum()),
            )
        )
    return answer


def median(values: NDArray[Any]) -> float:
    """Return the median: the mean of the middle two if their number is even."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    pair = np.partition(values, [middle - 1, middle])
    return (float(pair[middle - 1]) + float(pair[middle])) / 2
