"""Retention, lifecycle and stickiness over arrays; `_retention` says the same in plain Python."""

from datetime import datetime, timedelta
from typing import Any, NamedTuple

from analytics_middleware.store._arrays import NEVER, Int32s, Int64s, Mask, NDArray, changes, np
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._np_select import Spans, named, select
from analytics_middleware.store.calendar import Bucket, buckets, day_start, extended, local_day, preceding
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
from analytics_middleware.store.timeout import check_time


class Presence(NamedTuple):
    """Who was present in which span: one row per visitor and span, sorted by both within each table."""

    who: Int32s
    span: NDArray[Any]


def presence(frame: Frame, question: Question, event: str | None, spans: Spans) -> Presence:
    """Return who has an event, called *event* if given, that passes the filters, in each of *spans*."""
    who: list[Int32s] = []
    found: list[NDArray[Any]] = []
    for selected in select(frame, question, event or "", (int(spans.starts[0]), spans.end)):
        check_time()
        visitors, places = selected.who, spans.find(selected)
        first = np.flatnonzero(changes(visitors, places))
        visitors, places = visitors[first], places[first]
        counts = (places >= 0) & (visitors >= 0)
        if frame.has_cookieless:
            counts &= ~frame.cookieless(visitors)
        who.append(visitors[counts])
        found.append(places[counts])
    if not who:
        return Presence(np.zeros(0, np.int32), np.zeros(0, np.int32))
    return Presence(np.concatenate(who), np.concatenate(found))


def first_ever(frame: Frame, question: Question, event: str | None) -> Int64s:
    """Return the time of each visitor's first *event* (None: any) ever; filters don't change who is new."""
    if not event:
        return frame.first(with_bots=question.bots)
    first = np.full(frame.count, NEVER, np.int64)
    for table in frame.tables:
        check_time()
        mask = named(frame, table, event)
        assert mask is not None
        visible = frame.visible(table, with_bots=question.bots)
        if visible is not None:
            mask &= visible
        rows = np.flatnonzero(mask)
        who = table.who[rows]
        rows = rows[changes(who) & (who >= 0)]
        first[table.who[rows]] = table.time[rows]
    return first


def cohorts(frame: Frame, question: Question, event: str | None, spans: Spans, there: Presence | None = None) -> Int32s:
    """Return the span of each visitor's first ever *event* if an event in it passes the filters, else -1.

    *there* is the presence for at least *spans*, if already known.
    """
    first = first_ever(frame, question, event)
    there = presence(frame, question, event, spans) if there is None else there
    began = spans.of_times(first)
    mine = began[there.who] == there.span
    cohort = np.full(frame.count, -1, np.int32)
    cohort[there.who[mine]] = there.span[mine]
    return cohort


def _day(start: datetime, offset: int, tz: str) -> Bucket:
    day = local_day(start, tz) + timedelta(days=offset)
    return Bucket(day_start(day, tz), day_start(day + timedelta(days=1), tz))


def returned(frame: Frame, question: Retention) -> dict[int, Int32s]:
    """Return for each offset the day's newcomers who have an event that many days later."""
    cohort = cohorts(frame, question, None, Spans([_day(question.start, 0, question.tz)]))
    found: dict[int, Int32s] = {}
    for offset in question.offsets:
        day = _day(question.start, offset, question.tz)
        if day.end <= day.start:  # skipped by the zone
            found[offset] = np.zeros(0, np.int32)
            continue
        there = presence(frame, question, None, Spans([day]))
        found[offset] = there.who[cohort[there.who] == 0]
    return found


def retention(frame: Frame, question: Retention, now: datetime) -> list[RetentionRow]:
    """How many newcomers of one day came back."""
    people = returned(frame, question)
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

    def __init__(self, frame: Frame, question: RetentionMatrix) -> None:
        self.cohorts = buckets(question.start, question.end, question.period, question.tz).all
        self.width = question.periods or len(self.cohorts)
        spans = extended(self.cohorts, self.width, question.period, question.tz)
        self.periods = spans
        there = presence(frame, question, question.return_event, Spans(spans))
        same = there if question.event == question.return_event else None
        self.members = cohorts(frame, question, question.event, Spans(self.cohorts), same)
        cohort = self.members[there.who]
        kept = (cohort >= 0) & (there.span >= cohort) & (there.span - cohort < self.width)
        self.who = there.who[kept]
        self.cells = cohort[kept].astype(np.int64) * self.width + (there.span - cohort)[kept]

    def cell(self, cohort: int, k: int) -> Int32s:
        """Return the members of *cohort* who have a return event in the *k*-th following period."""
        found: Int32s = self.who[self.cells == cohort * self.width + k]
        return found


def retention_matrix(frame: Frame, question: RetentionMatrix, now: datetime) -> Matrix:
    """How many of each cohort came back in each following period."""
    people = MatrixPeople(frame, question)
    count, width = len(people.cohorts), people.width
    sizes = np.bincount(people.members[people.members >= 0], minlength=count).tolist()
    counts = np.bincount(people.cells, minlength=count * width).reshape(count, width).tolist()
    found: list[Cohort] = []
    for index, span in enumerate(people.cohorts):
        cells = [
            Cell(returned=counts[index][k], incomplete=period.end > now) if period.start <= now else None
            for k, period in enumerate(people.periods[index : index + width])
        ]
        found.append(Cohort(time=span.start, size=sizes[index], cells=cells, incomplete=span.end > now))
    return Matrix.of(found, width)


class LifecyclePeople:
    """The users in each state of each period."""

    def __init__(self, frame: Frame, question: Lifecycle) -> None:
        begin = buckets(question.start, question.end, question.period, question.tz).all[0].start
        begin = preceding(begin, question.period, question.tz)
        spans = buckets(begin, question.end, question.period, question.tz).all
        self.periods = spans[1:]
        there = presence(frame, question, None, Spans(spans))
        first = first_ever(frame, question, None)
        starts = np.array([Spans([span]).starts[0] for span in spans])
        self._who, self._span = there
        before = np.zeros(len(self._who), np.bool_)
        before[1:] = (self._who[1:] == self._who[:-1]) & (self._span[1:] == self._span[:-1] + 1)
        after = np.zeros(len(self._who), np.bool_)
        after[:-1] = before[1:]
        new = first[self._who] >= starts[self._span]
        self._states: dict[LifecycleState, tuple[Mask, int]] = {
            "new": (new, 0),
            "returning": (before, 0),
            "resurrecting": (~before & ~new, 0),
            # Present in the period before but not in this one.
            "dormant": (~after, 1),
        }

    def people(self, index: int, state: LifecycleState) -> Int32s:
        """Return who is in *state* in a period."""
        mask, later = self._states[state]
        found: Int32s = self._who[mask & (self._span + later == index + 1)]
        return found

    def counts(self, state: LifecycleState) -> list[int]:
        """Return for each period how many are in *state*."""
        mask, later = self._states[state]
        counts = np.bincount(self._span[mask] + later, minlength=len(self.periods) + 1)
        found: list[int] = counts[1 : len(self.periods) + 1].tolist()
        return found


def lifecycle(frame: Frame, question: Lifecycle, now: datetime) -> list[LifecyclePoint]:
    """New, returning, resurrecting and dormant users per period."""
    people = LifecyclePeople(frame, question)
    counts = {state: people.counts(state) for state in STATES}
    return [
        LifecyclePoint(time=span.start, incomplete=span.end > now, **{state: counts[state][i] for state in STATES})
        for i, span in enumerate(people.periods)
    ]


class StickinessPeople:
    """How many days each user was active in each week or month."""

    def __init__(self, frame: Frame, question: Stickiness) -> None:
        self.periods = buckets(question.start, question.end, question.within, question.tz).all
        days = Spans(buckets(self.periods[0].start, self.periods[-1].end, "day", question.tz).all)
        period_of = Spans(self.periods).of_times(days.starts)
        self.lengths: list[int] = np.bincount(period_of, minlength=len(self.periods)).tolist()
        there = presence(frame, question, None, days)
        periods = period_of[there.span]
        starts = np.flatnonzero(changes(there.who, periods))
        self.who = there.who[starts]
        self.period = periods[starts]
        self.days = np.diff(np.append(starts, len(there.who)))

    def exactly(self, index: int, days: int) -> Int32s:
        """Return who was active on exactly *days* days of a period."""
        found: Int32s = self.who[(self.period == index) & (self.days == days)]
        return found


def stickiness(frame: Frame, question: Stickiness, now: datetime) -> list[StickinessPoint]:
    """Users by their number of active days."""
    people = StickinessPeople(frame, question)
    return [
        StickinessPoint(
            time=span.start,
            users=np.bincount(people.days[people.period == index], minlength=people.lengths[index] + 1)[1:].tolist(),
            incomplete=span.end > now,
        )
        for index, span in enumerate(people.periods)
    ]
