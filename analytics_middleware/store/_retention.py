"""Retention, lifecycle and stickiness: who comes back. Left out: cookieless visitors, never recognized again."""

from collections import Counter
from datetime import datetime, timedelta

from analytics_middleware.store._history import History, Row, Visitor
from analytics_middleware.store.calendar import Bucket, Buckets, buckets, day_start, extended, local_day, preceding
from analytics_middleware.store.parameters import Question
from analytics_middleware.store.questions import (
    STATES,
    Lifecycle,
    LifecycleState,
    Retention,
    RetentionMatrix,
    Stickiness,
)
from analytics_middleware.store.results import Cell, Cohort, LifecyclePoint, Matrix, RetentionRow, StickinessPoint

People = set[Visitor]


def _appearances(history: History, question: Question, event: str | None = None) -> list[Row]:
    """Return the events of lasting visitors, called *event* if given, that pass the filters."""
    return [
        row
        for row in history.matching(question)
        if row.visitor is not None and not row.visitor.cookieless and (not event or row.name == event)
    ]


def _first_ever(history: History, question: Question, event: str | None) -> dict[Visitor, datetime]:
    """Return the time of each visitor's first *event* (None: any) ever; filters don't change who is new."""
    if not event:
        return history.first_seen(question.bots)
    first: dict[Visitor, datetime] = {}
    for row in history.people(question.bots):
        if row.visitor is not None and row.name == event:
            first.setdefault(row.visitor, row.at)
    return first


def _present(rows: list[Row], spans: Buckets) -> list[People]:
    """Return the visitors of *rows* in each of *spans*."""
    found: list[People] = [set() for _ in spans.all]
    for row in rows:
        index = spans.find(row.at)
        if index is not None and row.visitor is not None:
            found[index].add(row.visitor)
    return found


def _cohorts(history: History, question: Question, event: str | None, spans: Buckets) -> list[People]:
    """Return for each of *spans* the visitors whose first ever *event* lies in it, if one in it passes the filters."""
    first = _first_ever(history, question, event)
    present = _present(_appearances(history, question, event), spans)
    return [
        {visitor for visitor in people if span.start <= first[visitor] < span.end}
        for people, span in zip(present, spans.all, strict=True)
    ]


def _day(start: datetime, offset: int, tz: str) -> Bucket:
    day = local_day(start, tz) + timedelta(days=offset)
    return Bucket(day_start(day, tz), day_start(day + timedelta(days=1), tz))


def returned(history: History, question: Retention) -> dict[int, People]:
    """Return for each offset the day's newcomers who have an event that many days later."""
    [cohort] = _cohorts(history, question, None, Buckets([_day(question.start, 0, question.tz)]))
    rows = _appearances(history, question)
    return {
        offset: cohort & _present(rows, Buckets([_day(question.start, offset, question.tz)]))[0]
        for offset in question.offsets
    }


def retention(history: History, question: Retention, now: datetime) -> list[RetentionRow]:
    """How many newcomers of one day came back."""
    people = returned(history, question)
    return [
        RetentionRow(
            offset_days=offset,
            returned=len(people[offset]),
            incomplete=_day(question.start, offset, question.tz).end > now,
        )
        for offset in question.offsets
    ]


class MatrixPeople:
    """The users in every cohort and cell of a retention matrix."""

    def __init__(self, history: History, question: RetentionMatrix) -> None:
        self.cohorts = buckets(question.start, question.end, question.period, question.tz)
        self.width = question.periods or len(self.cohorts)
        self.members = _cohorts(history, question, question.event, self.cohorts)
        spans = extended(self.cohorts.all, self.width, question.period, question.tz)
        self.periods = Buckets(spans)
        self._present = _present(_appearances(history, question, question.return_event), self.periods)

    def cell(self, cohort: int, k: int) -> People:
        """Return the members of *cohort* who have a return event in the *k*-th following period."""
        return self.members[cohort] & self._present[cohort + k]


def retention_matrix(history: History, question: RetentionMatrix, now: datetime) -> Matrix:
    """How many of each cohort came back in each following period."""
    people = MatrixPeople(history, question)
    cohorts: list[Cohort] = []
    for index, span in enumerate(people.cohorts.all):
        periods = people.periods.all[index : index + people.width]
        cells = [
            Cell(returned=len(people.cell(index, k)), incomplete=period.end > now) if period.start <= now else None
            for k, period in enumerate(periods)
        ]
        size = len(people.members[index])
        cohorts.append(Cohort(time=span.start, size=size, cells=cells, incomplete=span.end > now))
    return Matrix.of(cohorts, people.width)


class LifecyclePeople:
    """The users in each state of each period."""

    def __init__(self, history: History, question: Lifecycle) -> None:
        first = preceding(
            buckets(question.start, question.end, question.period, question.tz).all[0].start,
            question.period,
            question.tz,
        )
        spans = buckets(first, question.end, question.period, question.tz)
        began = _first_ever(history, question, None)
        present = _present(_appearances(history, question), spans)
        self.periods = spans.all[1:]
        self.states: list[dict[LifecycleState, People]] = []
        for span, before, active in zip(self.periods, present, present[1:], strict=False):
            new = {visitor for visitor in active if began[visitor] >= span.start}
            self.states.append(
                {
                    "new": new,
                    "returning": active & before,
                    "resurrecting": active - before - new,
                    "dormant": before - active,
                }
            )


def lifecycle(history: History, question: Lifecycle, now: datetime) -> list[LifecyclePoint]:
    """New, returning, resurrecting and dormant users per period."""
    people = LifecyclePeople(history, question)
    return [
        LifecyclePoint(time=span.start, incomplete=span.end > now, **{state: len(states[state]) for state in STATES})
        for span, states in zip(people.periods, people.states, strict=True)
    ]


class StickinessPeople:
    """How many days each user was active in each week or month."""

    def __init__(self, history: History, question: Stickiness) -> None:
        self.periods = buckets(question.start, question.end, question.within, question.tz)
        first, last = self.periods.all[0], self.periods.all[-1]
        days = buckets(first.start, last.end, "day", question.tz)
        self.days: list[Counter[Visitor]] = [Counter() for _ in self.periods.all]
        self.lengths = [0 for _ in self.periods.all]
        for day, present in zip(days.all, _present(_appearances(history, question), days), strict=True):
            index = self.periods.find(day.start)
            assert index is not None
            self.days[index].update(present)
            self.lengths[index] += 1

    def exactly(self, index: int, days: int) -> People:
        """Return who was active on exactly *days* days of a period."""
        return {visitor for visitor, count in self.days[index].items() if count == days}


def stickiness(history: History, question: Stickiness, now: datetime) -> list[StickinessPoint]:
    """Users by their number of active days."""
    people = StickinessPeople(history, question)
    return [
        StickinessPoint(
            time=span.start,
            users=[len(people.exactly(index, days + 1)) for days in range(people.lengths[index])],
            incomplete=span.end > now,
        )
        for index, span in enumerate(people.periods.all)
    ]
