"""Funnels: how far one user got, found by trying every event that an attempt may begin with."""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import NamedTuple

from analytics_middleware.store._counting import by_field, grouped
from analytics_middleware.store._history import History, Row, Visitor, by_visitor, cookieless
from analytics_middleware.store.questions import Funnel, FunnelOrder
from analytics_middleware.store.results import FunnelStep, Group


class Attempt(NamedTuple):
    """A user's best attempt: the number of steps, the index of its first event, and when it reached its last step."""

    steps: int
    first: int
    end: datetime


def best_attempt(
    events: Sequence[tuple[datetime, str]], steps: Sequence[str], window: timedelta | None, order: FunnelOrder
) -> Attempt | None:
    """Return the attempt that got furthest through *steps*, or None if *events* contain no start of one.

    *events* are one user's ``(time, name)``, in order of time. Among attempts that got equally far the one that began
    last wins; it ends as early as it can.
    """
    stream = _Stream(events, steps)
    openings = {steps[0]} if order != "any" else set(steps)
    best: Attempt | None = None
    for index in reversed(range(len(events))):
        begin, name = events[index]
        # Events at one instant may be taken in any order, so one attempt per instant is enough.
        if name not in openings or (best is not None and events[best.first][0] == begin):
            continue
        until = datetime.max.replace(tzinfo=UTC) if window is None else begin + window
        if order == "strict":
            until = min(until, stream.next_foreign(begin) or until)
        done, end = stream.any(begin, until) if order == "any" else stream.in_order(begin, until)
        if best is None or done > best.steps:
            best = Attempt(done, index, end)
        if best.steps == len(steps):
            break
    return best


class _Stream:
    """One user's events, indexed to look up what follows an instant."""

    def __init__(self, events: Sequence[tuple[datetime, str]], steps: Sequence[str]) -> None:
        self._steps = steps
        self._wanted = Counter(steps)
        self._times: dict[str, list[datetime]] = {step: [] for step in steps}
        self._foreign: list[datetime] = []
        for at, name in events:
            self._times.get(name, self._foreign).append(at)

    def next_foreign(self, begin: datetime) -> datetime | None:
        """Return the time of the next event after *begin* that is not a step.

        Nothing may happen strictly between two steps, so a strict attempt may still end at that very instant.
        """
        place = bisect_right(self._foreign, begin)
        return self._foreign[place] if place < len(self._foreign) else None

    def in_order(self, begin: datetime, until: datetime) -> tuple[int, datetime]:
        """Return how many steps an attempt beginning at *begin* completes by *until*, and when it completes the last.

        Each step takes the first unused event of its name that is not before the previous step. Being greedy never
        costs a later step: an attempt that is further along at some instant stays at least as far along.
        """
        end = begin
        taken: dict[str, int] = {}
        for done, step in enumerate(self._steps):
            times = self._times[step]
            place = max(bisect_left(times, end), taken.get(step, 0))
            if place == len(times) or times[place] > until:
                return done, end
            taken[step] = place + 1
            end = times[place]
        return len(self._steps), end

    def any(self, begin: datetime, until: datetime) -> tuple[int, datetime]:
        """Return how many distinct steps happen from *begin* to *until*, and when the last of them first happens."""
        done, end = 0, begin
        for step, wanted in self._wanted.items():
            times = self._times[step]
            place = bisect_left(times, begin)
            taken = [at for at in times[place : place + wanted] if at <= until]
            done += len(taken)
            end = max(end, *taken) if taken else end
        return done, end


class Entrant(NamedTuple):
    """One user who entered: how many steps they did, the event they entered with, and the time to their last step."""

    visitor: Visitor
    steps: int
    first: Row
    seconds: float


def entrants(history: History, question: Funnel) -> list[Entrant]:
    """Return every user who did step 0 (with ``any``: one of the steps)."""
    found: list[Entrant] = []
    for visitor, rows in by_visitor(history.within(question)).items():
        events = [(row.at, row.name) for row in rows]
        attempt = best_attempt(events, question.steps, question.window, question.order)
        if attempt is not None:
            first = rows[attempt.first]
            found.append(Entrant(visitor, attempt.steps, first, (attempt.end - first.at).total_seconds()))
    return found


def _first(entrant: Entrant) -> Row:
    return entrant.first


def funnel(history: History, question: Funnel) -> list[Group[list[FunnelStep]]]:
    """Users per step."""
    key = by_field(history, question.breakdown, _first)
    return grouped(entrants(history, question), key, question.breakdown_limit, lambda found: _steps(found, question))


def _steps(found: list[Entrant], question: Funnel) -> list[FunnelStep]:
    answer: list[FunnelStep] = []
    for index, step in enumerate(question.steps):
        reached = [entrant for entrant in found if entrant.steps > index]
        last = index == len(question.steps) - 1
        answer.append(
            FunnelStep(
                event=step,
                count=len(reached),
                conversion=len(reached) / len(found) if found else 0.0,
                median_seconds=median(entrant.seconds for entrant in reached) if last and reached else None,
                cookieless=cookieless(entrant.visitor for entrant in reached),
            )
        )
    return answer
