"""The users behind numbers, and one user's timeline, from arrays; `_users` says the same in plain Python."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from analytics_middleware.properties import Scalar
from analytics_middleware.store._arrays import ALWAYS, NEVER, Int64s, NDArray, Rows, np, pa
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._np_funnel import entrants
from analytics_middleware.store._np_people import People, distinct
from analytics_middleware.store._np_retention import LifecyclePeople, MatrixPeople, StickinessPeople, returned
from analytics_middleware.store._np_rows import Selected
from analytics_middleware.store._np_select import Spans, passing, within
from analytics_middleware.store._tables import Table
from analytics_middleware.store.columns import ANON, COOKIELESS, USER, actor_kind, from_json
from analytics_middleware.store.identity import identity
from analytics_middleware.store.instants import from_micros, micros
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

TraitsOf = Callable[[Sequence[str]], Mapping[str, Mapping[str, Scalar]]]
"""Looks up the traits of users."""

_TIMELINE = (
    "event_id",
    "timestamp",
    "name",
    "type",
    "path",
    "matched_pattern",
    "referrer",
    "status_code",
    "properties",
    "currency",
    "revenue_minor",
)
_ABOUT = ("country", "source", "device")


def users(frame: Frame, question: Users, traits_of: TraitsOf) -> list[UserRow]:
    """The users behind one number, latest first; at one instant users before anonymous visitors, then by id and day."""
    people = _behind(frame, question)
    who: Int64s = people.who.astype(np.int64)
    days: list[int] = people.day.tolist()
    ids, kinds = frame.actors.ids(who), _kinds(frame, who)
    begin = frame.first(with_bots=question.of.bots)[who]
    first: list[int] = begin.tolist()
    last: list[int] = np.maximum(begin, _last_seen(frame, bots=question.of.bots)[who]).tolist()
    order = sorted(range(len(ids)), key=lambda index: (-last[index], kinds[index], ids[index], days[index]))
    order = order[: question.limit]
    traits = traits_of([ids[index] for index in order if kinds[index] == USER])
    starts = _day_starts(question) if any(days[index] >= 0 for index in order) else []
    return [
        _row(
            kinds[index],
            ids[index],
            first[index],
            last[index],
            traits,
            starts[days[index]] if days[index] >= 0 else None,
        )
        for index in order
    ]


def _kinds(frame: Frame, who: Int64s) -> list[int]:
    """Return the kind of each visitor."""
    kinds: list[int] = frame.kinds[who].tolist()
    return kinds


def _day_starts(question: Users) -> list[datetime]:
    assert isinstance(question.of, ActiveUsers)
    return [span.start for span in Spans.of(question.of, "day").all]


def _behind(frame: Frame, question: Users) -> People:
    of, cell = question.of, question.cell
    match of:
        case ActiveUsers():
            return distinct(frame, within(frame, of, of.event), of)
        case Funnel():
            found = [each.who[each.steps > question.number] for each in entrants(frame, of)]
            return _people(np.concatenate(found) if found else np.zeros(0, np.int32))
        case Retention():
            return _people(returned(frame, of)[question.number])
        case RetentionMatrix():
            matrix = MatrixPeople(frame, of)
            return _people(matrix.cell(question.place_in(matrix.cohorts), question.number_within(matrix.width)))
        case Lifecycle():
            lifecycle = LifecyclePeople(frame, of)
            assert isinstance(cell, str)
            return _people(lifecycle.people(question.place_in(lifecycle.periods), cell))
        case Stickiness():
            stickiness = StickinessPeople(frame, of)
            return _people(stickiness.exactly(question.place_in(stickiness.periods), question.number))


def _people(who: NDArray[Any]) -> People:
    return People(who, np.full(len(who), -1), 0)


def _last_seen(frame: Frame, *, bots: bool) -> Int64s:
    last = np.full(frame.count, ALWAYS, np.int64)
    for table in frame.tables:
        rows = np.arange(len(table))
        mask = frame.visible(table, with_bots=bots)
        if mask is not None:
            rows = np.flatnonzero(mask)
        who = table.who[rows]
        final = np.append(who[1:] != who[:-1], np.True_) & (who >= 0) if len(who) else np.zeros(0, np.bool_)
        last[who[final]] = table.time[rows[final]]
    return last


def _row(
    kind: int,
    text: str,
    first: int,
    last: int,
    traits: Mapping[str, Mapping[str, Scalar]],
    day: datetime | None,
) -> UserRow:
    known = kind == USER
    return UserRow(
        user_id=text if known else None,
        anon_id=None if known else text,
        first_seen=from_micros(first),
        last_seen=from_micros(max(first, last)),
        traits=dict(traits.get(text, {})) if known else {},
        day=day,
    )


def timeline(frame: Frame, question: UserTimeline, traits_of: TraitsOf) -> Timeline:
    """One user's events, newest first."""
    who = _visitor(frame, identity(question.user_id), identity(question.anon_id))
    first = NEVER if who is None else int(frame.first(with_bots=question.bots)[who])
    if who is None or frame.kinds[who] == COOKIELESS or first == NEVER:
        return Timeline(user=None, events=[])
    [text] = frame.actors.ids(np.array([who]))
    last, events = first, list[TimelineEvent]()
    for table in frame.tables:
        mine = Selected(table, table.rows_of(np.array([who])))
        visible = frame.visible(table, with_bots=question.bots)
        if visible is not None:
            mine = mine.only(mine.take(visible))
        if len(mine):
            last = max(last, int(mine.take(table.time).max()))
            events += _events(frame, mine, question)
    row = _row(int(frame.kinds[who]), text, first, last, traits_of([text]), None)
    return Timeline(user=row, events=events)


def _events(frame: Frame, mine: Selected, question: UserTimeline) -> list[TimelineEvent]:
    times = mine.take(mine.table.time)
    mine = mine.only((times >= micros(question.start)) & (times < micros(question.end)))
    passes = passing(frame, mine.table, question.where)
    if passes is not None:
        mine = mine.only(mine.take(passes))
    assert mine.rows is not None
    return [TimelineEvent(**_event(each)) for each in _stored(mine.table, mine.rows[::-1][: question.limit], _TIMELINE)]


def _stored(table: Table, rows: Rows, names: Sequence[str]) -> list[dict[str, Any]]:
    if not len(rows):
        return []
    stored = table.source.raw(rows, names)
    place = stored.schema.get_field_index("timestamp")
    found: list[dict[str, Any]] = stored.set_column(
        place, "timestamp", stored.column(place).cast(pa.int64())
    ).to_pylist()
    return found


def latest(frame: Frame, question: Latest) -> list[LatestEvent]:
    """The latest events, newest first."""
    found = within(frame, question, question.event)
    times = [selected.take(selected.table.time) for selected in found]
    if not found:
        return []
    every = np.concatenate(times)
    least = np.partition(every, -question.limit)[-question.limit] if len(every) > question.limit else ALWAYS
    events: list[tuple[int, str, LatestEvent]] = []
    for selected, at in zip(found, times, strict=True):
        # Ids order the events at the instant of the last one.
        newest = selected.only(at >= least)
        assert newest.rows is not None
        who = newest.who.astype(np.int64)
        users = np.flatnonzero(np.append(frame.kinds, ANON)[who] == USER)
        names = dict(zip(users.tolist(), frame.actors.ids(who[users]), strict=True))
        for index, row in enumerate(_stored(newest.table, newest.rows, (*_TIMELINE, *_ABOUT))):
            event = LatestEvent(**_event(row), **{name: row[name] for name in _ABOUT}, user_id=names.get(index))
            events.append((row["timestamp"], row["event_id"], event))
    events.sort(key=lambda each: each[:2], reverse=True)
    return [event for *_, event in events[: question.limit]]


def _visitor(frame: Frame, user_id: str | None, anon_id: str | None) -> int | None:
    if user_id is not None:
        return _known(frame, USER, user_id)
    if anon_id is None or actor_kind(None, anon_id) == COOKIELESS:
        return None
    number = _known(frame, ANON, anon_id)
    return None if number is None else int(frame.owners[number])


def _known(frame: Frame, kind: int, text: str) -> int | None:
    number = frame.actors.find(kind, text)
    return number if number is not None and number < frame.count else None


def _event(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "event_id": row["event_id"],
        "time": from_micros(row["timestamp"]),
        "name": row["name"],
        "type": row["type"],
        "path": row["path"],
        "matched_pattern": row["matched_pattern"],
        "referrer": row["referrer"],
        "status_code": row["status_code"],
        "properties": from_json(row["properties"]) if row["properties"] is not None else {},
        "currency": row["currency"],
        "revenue": row["revenue_minor"],
    }
