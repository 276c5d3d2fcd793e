"""The users behind numbers, and one user's timeline."""

from datetime import UTC, datetime

from msgspec import structs

from analytics_middleware.store._funnel import entrants
from analytics_middleware.store._history import History, Row, Visitor, distinct
from analytics_middleware.store._retention import LifecyclePeople, MatrixPeople, StickinessPeople, returned
from analytics_middleware.store.identity import identity
from analytics_middleware.store.questions import (
    ActiveUsers,
    Funnel,
    Latest,
    Lifecycle,
    Retention,
    RetentionMatrix,
    Stickiness,
    Users,
    UserTimeline,
)
from analytics_middleware.store.results import LatestEvent, Timeline, TimelineEvent, UserRow


def users(history: History, question: Users) -> list[UserRow]:
    """The users behind one number, latest first; at one instant users before anonymous visitors, then by id and day."""
    rank = {"user": 0, "anon": 1, "cookieless": 2}
    begin = datetime.min.replace(tzinfo=UTC)
    seen = _seen(history, question.of.bots)
    found = sorted(_behind(history, question), key=lambda who: (rank[who.kind], who.id, who.day or begin))
    # A stable sort: it keeps the order above among those last seen at the same instant.
    found.sort(key=lambda who: seen[who._replace(day=None)][1], reverse=True)
    return [_row(history, visitor, *seen[visitor._replace(day=None)]) for visitor in found[: question.limit]]


def _behind(history: History, question: Users) -> set[Visitor]:
    of, cell = question.of, question.cell
    match of:
        case ActiveUsers():
            return distinct(history.within(of, of.event), of)
        case Funnel():
            return {entrant.visitor for entrant in entrants(history, of) if entrant.steps > question.number}
        case Retention():
            return returned(history, of)[question.number]
        case RetentionMatrix():
            matrix = MatrixPeople(history, of)
            return matrix.cell(question.place_in(matrix.cohorts.all), question.number_within(matrix.width))
        case Lifecycle():
            lifecycle = LifecyclePeople(history, of)
            states = lifecycle.states[question.place_in(lifecycle.periods)]
            return next(people for state, people in states.items() if state == cell)
        case Stickiness():
            stickiness = StickinessPeople(history, of)
            return stickiness.exactly(question.place_in(stickiness.periods.all), question.number)


def _seen(history: History, bots: bool) -> dict[Visitor, tuple[datetime, datetime]]:
    """Return when each visitor was first seen, ever, and last seen."""
    last = {row.visitor: row.at for row in history.people(bots)}
    return {visitor: (first, last.get(visitor, first)) for visitor, first in history.first_seen(bots).items()}


def _row(history: History, visitor: Visitor, first: datetime, last: datetime) -> UserRow:
    known = visitor.kind == "user"
    return UserRow(
        user_id=visitor.id if known else None,
        anon_id=None if known else visitor.id,
        first_seen=first,
        last_seen=last,
        traits=dict(history.traits(visitor)),
        day=visitor.day,
    )


def timeline(history: History, question: UserTimeline) -> Timeline:
    """One user's events, newest first."""
    visitor = history.visitor(identity(question.user_id), identity(question.anon_id))
    seen = _seen(history, question.bots)
    if visitor is None or visitor.cookieless or visitor not in seen:
        return Timeline(user=None, events=[])
    rows = [row for row in history.within(question) if row.visitor == visitor]
    newest = rows[::-1][: question.limit]
    return Timeline(user=_row(history, visitor, *seen[visitor]), events=[_event(row) for row in newest])


def latest(history: History, question: Latest) -> list[LatestEvent]:
    """The latest events, newest first."""
    newest = history.within(question, question.event)[::-1][: question.limit]
    return [
        LatestEvent(
            **structs.asdict(_event(row)),
            user_id=None if row.visitor is None or row.visitor.kind != "user" else row.visitor.id,
            country=row.event.visit.country,
            source=row.event.visit.source,
            device=row.event.visit.device,
        )
        for row in newest
    ]


def _event(row: Row) -> TimelineEvent:
    event = row.event
    return TimelineEvent(
        event_id=row.event_id,
        time=row.at,
        name=row.name,
        type=event.type.value,
        path=event.path,
        matched_pattern=event.matched_pattern,
        referrer=event.referrer,
        status_code=event.status_code,
        properties=dict(event.properties),
        currency=None if event.revenue is None else event.revenue.currency,
        revenue=None if event.revenue is None else event.revenue.minor,
    )
