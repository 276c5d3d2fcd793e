"""The users behind numbers, one user's timeline, traits."""

from collections.abc import Collection
from typing import Any

import msgspec

from analytics_middleware.properties import Scalar
from analytics_middleware.store.clickhouse.connection import parts
from analytics_middleware.store.clickhouse.counting import days_of
from analytics_middleware.store.clickhouse.funnel import entrants
from analytics_middleware.store.clickhouse.returning import (
    LifecyclePeople,
    MatrixPeople,
    RetentionPeople,
    StickinessPeople,
)
from analytics_middleware.store.clickhouse.rows import name_of
from analytics_middleware.store.clickhouse.schema import ANON_HASH, COOKIELESS, USER, USER_HASH
from analytics_middleware.store.clickhouse.scope import AT, Scope
from analytics_middleware.store.identity import is_cookieless
from analytics_middleware.store.instants import from_micros
from analytics_middleware.store.questions import (
    ActiveUsers,
    Funnel,
    Latest,
    Lifecycle,
    Retention,
    RetentionMatrix,
    Stickiness,
    Traits,
    Users,
    UserTimeline,
)
from analytics_middleware.store.results import LatestEvent, Timeline, TimelineEvent, UserRow

_EVENT = (
    f"e.event_id, {AT} AS at, e.name, e.type, e.path, e.matched_pattern, e.referrer, e.status_code, e.properties, "
    "e.currency, e.revenue_minor"
)
_NO_DAY = "CAST(NULL, 'Nullable(Int64)') AS day"


def users(scope: Scope, question: Users) -> list[UserRow]:
    """The users behind one number, latest first; at one instant users before anonymous visitors, then by id and day."""
    people = _behind(scope, question)
    bots = question.of.bots
    seen = scope.events(
        f"{scope.visitor} AS visitor, any({scope.kind}) AS visitor_kind, any({scope.name}) AS id, min({AT}) AS begin, "
        f"max({AT}) AS last",
        bots=bots,
        also=[scope.somebody, f"{scope.visitor} {scope.layout.spread}IN (SELECT visitor FROM ({people}))"],
    )
    limit = "" if question.limit is None else f" LIMIT {scope.bind('UInt32', question.limit)}"
    join = f"{scope.layout.spread}ANY LEFT JOIN"
    found = scope.ask(
        f"SELECT s.visitor_kind, s.id, w.day, if(s.visitor_kind = {COOKIELESS}, s.begin, f.first), s.last "
        f"FROM ({people}) AS w {join} ({seen} GROUP BY visitor) AS s ON w.visitor = s.visitor "
        f"{join} ({scope.first_seen(bots=bots)}) AS f ON w.visitor = f.visitor "
        f"ORDER BY s.last DESC, s.visitor_kind, s.id, w.day{limit}"
    )
    traits = traits_of(scope, {name for kind, name, *_ in found if kind == USER})
    return [_row(kind, name, first, last, traits, day) for kind, name, day, first, last in found]


def _row(
    kind: int, name: str, first: int, last: int, traits: dict[str, dict[str, Scalar]], day: int | None = None
) -> UserRow:
    return UserRow(
        user_id=name if kind == USER else None,
        anon_id=None if kind == USER else name,
        first_seen=from_micros(first),
        last_seen=from_micros(last),
        traits=traits.get(name, {}) if kind == USER else {},
        day=None if day is None else from_micros(day),
    )


def _behind(scope: Scope, question: Users) -> str:
    """Return the SELECT of each ``visitor``, and the ``day`` of cookieless ones in numbers that count each day."""
    of, cell = question.of, question.cell
    match of:
        case ActiveUsers():
            day = f"if(e.kind = {COOKIELESS}, toNullable({scope.floor(days_of(of))}), NULL) AS day"
            rows = scope.within(f"{scope.visitor} AS visitor, {day}", of, of.event, [scope.somebody])
            return f"SELECT DISTINCT visitor, day FROM ({rows})"
        case Funnel():
            return f"SELECT visitor, {_NO_DAY} FROM ({entrants(scope, of)}) WHERE steps > {question.number:d}"
        case Retention():
            found = RetentionPeople(scope, of).cell(question.number)
        case RetentionMatrix():
            matrix = MatrixPeople(scope, of)
            found = matrix.cell(question.place_in(matrix.cohorts), question.number_within(matrix.width))
        case Lifecycle():
            lifecycle = LifecyclePeople(scope, of)
            assert cell is not None
            assert not isinstance(cell, int)
            found = lifecycle.cell(question.place_in(lifecycle.periods), cell)
        case Stickiness():
            stickiness = StickinessPeople(scope, of)
            found = stickiness.cell(question.place_in(stickiness.periods), question.number)
    return f"SELECT visitor, {_NO_DAY} FROM ({found})"


def timeline(scope: Scope, question: UserTimeline) -> Timeline:
    """One user's events, newest first."""
    user_id, anon_id = name_of(question.user_id), name_of(question.anon_id)
    if anon_id and not is_cookieless(anon_id):
        owner = scope.ask(f"SELECT owner FROM ({scope.owners()}) WHERE anon_id = {scope.bind('String', anon_id)}")
        user_id = owner[0][0] if owner else ""
    elif not user_id:
        return Timeline(user=None, events=[])
    name, hashed = (user_id, USER_HASH) if user_id else (anon_id, ANON_HASH)
    bound = scope.bind("String", name)
    actors = f"SELECT {hashed.format(bound)}"
    if user_id:
        owned = f"SELECT {ANON_HASH.format('anon_id')} FROM ({scope.owners()}) WHERE owner = {bound}"
        actors = f"{actors} UNION ALL {owned}"
    theirs = f"e.actor {scope.layout.spread}IN ({actors})"
    first = scope.ask(f"SELECT min(first), count() FROM ({scope.first_seen(bots=question.bots, also=theirs)})")
    [(begin, known)] = first
    if not known:
        return Timeline(user=None, events=[])
    last = scope.ask(scope.events(f"max({AT}), count()", bots=question.bots, also=[theirs]))
    rows = scope.ask(_newest(scope, scope.within(_EVENT, question, also=[theirs]), question.limit))
    traits = traits_of(scope, [user_id] if user_id else [])
    [(latest, count)] = last
    return Timeline(
        user=_row(USER if user_id else 1, name, begin, latest if count else begin, traits),
        events=[_event(row) for row in rows],
    )


def latest(scope: Scope, question: Latest) -> list[LatestEvent]:
    """The latest events, newest first."""
    known = f"if({scope.kind} = {USER}, {scope.name}, NULL) AS known"
    columns = f"{_EVENT}, {known}, e.country, e.source, e.device"
    rows = scope.ask(_newest(scope, scope.within(columns, question, question.event), question.limit))
    return [
        LatestEvent(
            **msgspec.structs.asdict(_event(row[:-4])), user_id=row[-4], country=row[-3], source=row[-2], device=row[-1]
        )
        for row in rows
    ]


def _newest(scope: Scope, rows: str, limit: int) -> str:
    return f"{rows} ORDER BY at DESC, e.event_id DESC LIMIT {scope.bind('UInt32', limit)}"


def _event(row: tuple[Any, ...]) -> TimelineEvent:
    event_id, at, name, kind, path, pattern, referrer, status, properties, currency, minor = row
    return TimelineEvent(
        event_id=event_id,
        time=from_micros(at),
        name=name,
        type=kind,
        path=path,
        matched_pattern=pattern,
        referrer=referrer,
        status_code=status,
        properties=msgspec.json.decode(properties) if properties else {},
        currency=currency,
        revenue=None if currency is None else minor,
    )


def traits(scope: Scope, question: Traits) -> dict[str, Scalar]:
    """The traits of a user."""
    user_id = name_of(question.user_id)
    return traits_of(scope, [user_id]).get(user_id, {}) if user_id else {}


def traits_of(scope: Scope, users: Collection[str]) -> dict[str, dict[str, Scalar]]:
    """Return the traits of *users*."""
    found: dict[str, dict[str, Scalar]] = {}
    for part in parts(sorted(users)):
        for user_id, key, text in scope.ask(scope.traits_of(scope.bind("Array(String)", part))):
            value = msgspec.json.decode(text)
            if value is not None:
                found.setdefault(user_id, {})[key] = value
    return found
