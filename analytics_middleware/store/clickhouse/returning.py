"""Retention, lifecycle and stickiness: who comes back. Left out: cookieless visitors, never recognized again.

Each question has a SELECT ``people`` with one row per visitor. This module counts its rows; `users` selects from them.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from analytics_middleware.store.calendar import Bucket, buckets, day_start, extended, local_day, preceding
from analytics_middleware.store.clickhouse.scope import Scope
from analytics_middleware.store.instants import micros
from analytics_middleware.store.parameters import Question
from analytics_middleware.store.questions import Lifecycle, LifecycleState, Retention, RetentionMatrix, Stickiness
from analytics_middleware.store.results import Cell, Cohort, LifecyclePoint, Matrix, RetentionRow, StickinessPoint

STATES: dict[LifecycleState, str] = {
    "new": "first >= begin",
    "returning": "has(spans, span - 1)",
    "resurrecting": "first < begin AND NOT has(spans, span - 1)",
    "dormant": "NOT has(spans, span + 1)",
}
"""Conditions on a visitor present in a span; dormant means not present in the next one."""


def presence(scope: Scope, question: Question, spans: Sequence[Bucket], flags: str = "") -> str:
    """Return the SELECT of visitors and the *spans* in which they have an event that passes the filters.

    *flags* are further aggregates of those events.
    """
    rows = scope.events(
        f"{scope.visitor} AS visitor, {scope.floor(spans)} AS begin{flags}",
        bots=question.bots,
        where=question.where,
        span=(micros(spans[0].start), micros(spans[-1].end)),
        also=[scope.lasting],
    )
    return f"{rows} GROUP BY visitor, begin"


def _first_ever(scope: Scope, question: Question, event: str | None) -> str:
    """Return the SELECT of the time of each visitor's first *event* ever; filters don't change who is new."""
    if not event:
        return scope.first_seen(bots=question.bots)
    columns = f"{scope.visitor} AS visitor, min(toUnixTimestamp64Micro(e.timestamp)) AS first"
    return f"{scope.events(columns, bots=question.bots, event=event, also=[scope.lasting])} GROUP BY visitor"


def _day(start: datetime, offset: int, tz: str) -> Bucket:
    day = local_day(start, tz) + timedelta(days=offset)
    return Bucket(day_start(day, tz), day_start(day + timedelta(days=1), tz))


class RetentionPeople:
    """The newcomers of one day, and the days on which they were present."""

    def __init__(self, scope: Scope, question: Retention) -> None:
        self.days = {offset: _day(question.start, offset, question.tz) for offset in question.offsets}
        first = _day(question.start, 0, question.tz)
        last = max(day.end for day in self.days.values())
        spans = buckets(first.start, max(last, first.end), "day", question.tz).all
        begin, end = (scope.bind("Int64", micros(at)) for at in first)
        self._scope = scope
        self.people = (
            f"SELECT visitor, groupArray(begin) AS days FROM ({presence(scope, question, spans)}) WHERE visitor "
            f"{scope.layout.spread}IN (SELECT visitor FROM ({scope.first_seen(bots=question.bots)}) "
            f"WHERE first >= {begin} AND first < {end}) GROUP BY visitor HAVING has(days, {begin})"
        )

    def cell(self, offset: int) -> str:
        """Return the SELECT of those who were present *offset* days later."""
        day = self.days[offset]
        begin = self._scope.bind("Int64", micros(day.start))
        return f"SELECT visitor FROM ({self.people}) WHERE {day.end > day.start:d} AND has(days, {begin})"


def retention(scope: Scope, question: Retention, now: datetime) -> list[RetentionRow]:
    """How many newcomers of one day came back."""
    people = RetentionPeople(scope, question)
    counts = dict(scope.ask(f"SELECT arrayJoin(days) AS day, count() FROM ({people.people}) GROUP BY day"))
    return [
        RetentionRow(
            offset_days=offset,
            # A day skipped by the zone is empty and begins where the next one does.
            returned=counts.get(micros(day.start), 0) if day.end > day.start else 0,
            incomplete=day.end > now,
        )
        for offset, day in people.days.items()
    ]


class MatrixPeople:
    """The users in every cohort and cell of a retention matrix."""

    def __init__(self, scope: Scope, question: RetentionMatrix) -> None:
        self.cohorts = buckets(question.start, question.end, question.period, question.tz).all
        self.width = question.periods or len(self.cohorts)
        self.periods = extended(self.cohorts, self.width, question.period, question.tz)
        self._scope = scope
        flags = "".join(
            f", max({self._named(event)}) AS {flag}"
            for event, flag in ((question.event, "came"), (question.return_event, "back"))
        )
        index = scope.index(self.periods, "begin")
        there = presence(scope, question, self.periods, flags)
        low, high = (scope.bind("Int64", micros(at)) for at in (self.cohorts[0].start, self.cohorts[-1].end))
        bounds = f"first >= {low} AND first < {high}"
        cohort = scope.index(self.periods, scope.floor(self.periods, "first"))
        self.people = (
            f"SELECT visitor, {cohort} AS cohort, spans, came_in FROM ("
            f"SELECT visitor, groupArrayIf({index}, back) AS spans, groupArrayIf({index}, came) AS came_in "
            f"FROM ({there}) GROUP BY visitor) AS r {scope.layout.spread}INNER JOIN "
            f"({_first_ever(scope, question, question.event)}) AS f ON r.visitor = f.visitor "
            f"WHERE {bounds} AND has(came_in, cohort)"
        )

    def _named(self, event: str | None) -> str:
        return f"e.name = {self._scope.bind('String', event)}" if event else "1"

    def cell(self, cohort: int, k: int) -> str:
        """Return the SELECT of the members of *cohort* who have a return event in the *k*-th following period."""
        chosen, span = (self._scope.bind("UInt32", number) for number in (cohort, cohort + k))
        return f"SELECT visitor FROM ({self.people}) WHERE cohort = {chosen} AND has(spans, {span})"


def retention_matrix(scope: Scope, question: RetentionMatrix, now: datetime) -> Matrix:
    """How many of each cohort came back in each following period."""
    people = MatrixPeople(scope, question)
    # Cell -1 counts every member once: the size of the cohort.
    counts = {
        (cohort, k): count
        for cohort, k, count in scope.ask(
            "SELECT cohort, arrayJoin(arrayPushBack(arrayMap(s -> toInt32(s) - toInt32(cohort), "
            "arrayFilter(s -> s >= cohort, spans)), toInt32(-1))) AS k, count() "
            f"FROM ({people.people}) GROUP BY cohort, k"
        )
    }
    cohorts: list[Cohort] = []
    for index, span in enumerate(people.cohorts):
        cells = [
            Cell(returned=counts.get((index, k), 0), incomplete=period.end > now) if period.start <= now else None
            for k, period in enumerate(people.periods[index : index + people.width])
        ]
        size = counts.get((index, -1), 0)
        cohorts.append(Cohort(time=span.start, size=size, cells=cells, incomplete=span.end > now))
    return Matrix.of(cohorts, people.width)


class LifecyclePeople:
    """The users present in each span: every period, and the one before the first."""

    def __init__(self, scope: Scope, question: Lifecycle) -> None:
        begin = buckets(question.start, question.end, question.period, question.tz).all[0].start
        begin = preceding(begin, question.period, question.tz)
        spans = buckets(begin, question.end, question.period, question.tz).all
        self.periods = spans[1:]
        self._scope = scope
        index = scope.index(spans, "begin")
        # One row per visitor and span, with all spans of the visitor beside it.
        self.people = (
            "SELECT r.visitor AS visitor, spans, begins, f.first AS first, span, begin FROM ("
            f"SELECT visitor, groupArray({index}) AS spans, groupArray(begin) AS begins "
            f"FROM ({presence(scope, question, spans)}) GROUP BY visitor) AS r {scope.layout.spread}INNER JOIN "
            f"({scope.first_seen(bots=question.bots)}) AS f ON r.visitor = f.visitor "
            "ARRAY JOIN spans AS span, begins AS begin"
        )

    def cell(self, index: int, state: LifecycleState) -> str:
        """Return the SELECT of the users in *state* in a period."""
        span = self._scope.bind("UInt32", index if state == "dormant" else index + 1)
        return f"SELECT visitor FROM ({self.people}) WHERE span = {span} AND ({STATES[state]})"


def lifecycle(scope: Scope, question: Lifecycle, now: datetime) -> list[LifecyclePoint]:
    """New, returning, resurrecting and dormant users per period."""
    people = LifecyclePeople(scope, question)
    states = ", ".join(f"countIf({condition})" for condition in STATES.values())
    counts = {
        span: counted for span, *counted in scope.ask(f"SELECT span, {states} FROM ({people.people}) GROUP BY span")
    }
    nobody = [0] * len(STATES)
    points: list[LifecyclePoint] = []
    for index, span in enumerate(people.periods):
        new, returning, resurrecting, _ = counts.get(index + 1, nobody)
        points.append(
            LifecyclePoint(
                time=span.start,
                new=new,
                returning=returning,
                resurrecting=resurrecting,
                dormant=counts.get(index, nobody)[3],
                incomplete=span.end > now,
            )
        )
    return points


class StickinessPeople:
    """How many days each user was active in each week or month."""

    def __init__(self, scope: Scope, question: Stickiness) -> None:
        self.periods = buckets(question.start, question.end, question.within, question.tz).all
        days = buckets(self.periods[0].start, self.periods[-1].end, "day", question.tz).all
        self.lengths = [sum(period.start <= day.start < period.end for day in days) for period in self.periods]
        self._scope = scope
        self.people = (
            f"SELECT visitor, {scope.floor(self.periods, 'begin')} AS period, count() AS days "
            f"FROM ({presence(scope, question, days)}) GROUP BY visitor, period"
        )

    def cell(self, index: int, days: int) -> str:
        """Return the SELECT of users active on exactly *days* days of a period."""
        period = self._scope.bind("Int64", micros(self.periods[index].start))
        return (
            f"SELECT visitor FROM ({self.people}) WHERE period = {period} AND days = {self._scope.bind('UInt32', days)}"
        )


def stickiness(scope: Scope, question: Stickiness, now: datetime) -> list[StickinessPoint]:
    """Users by their number of active days."""
    people = StickinessPeople(scope, question)
    counts = {
        (period, days): count
        for period, days, count in scope.ask(
            f"SELECT period, days, count() FROM ({people.people}) GROUP BY period, days"
        )
    }
    return [
        StickinessPoint(
            time=span.start,
            users=[counts.get((micros(span.start), days + 1), 0) for days in range(length)],
            incomplete=span.end > now,
        )
        for span, length in zip(people.periods, people.lengths, strict=True)
    ]
