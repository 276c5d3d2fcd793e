"""The history a question is asked about: all visible events in order of time, each with its visitor."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from analytics_middleware.event import Event, EventType
from analytics_middleware.properties import Scalar
from analytics_middleware.store.calendar import buckets
from analytics_middleware.store.filters import as_text, field_value
from analytics_middleware.store.identity import is_cookieless
from analytics_middleware.store.parameters import Question, RangeQuestion

Moment = tuple[datetime, str]
"""A timestamp and an event id. The id orders events of the same instant."""


class Visitor(NamedTuple):
    """Somebody: a user, a persistent anonymous id without a user, or a cookieless id.

    A user and an anonymous visitor with the same id are different visitors. *day* distinguishes the days of a
    cookieless visitor in numbers that count each day separately.
    """

    kind: str
    id: str
    day: datetime | None = None

    @property
    def cookieless(self) -> bool:
        """Whether the id is valid for one day only."""
        return self.kind == "cookieless"


class Row(NamedTuple):
    """One event as questions see it."""

    at: datetime
    event_id: str
    name: str
    visitor: Visitor | None
    bot: bool
    event: Event


class Stored(NamedTuple):
    """One event as stored: its time, the ids that identify somebody, and the event."""

    at: datetime
    event_id: str
    user_id: str | None
    anon_id: str | None
    event: Event

    @property
    def bot(self) -> bool:
        """Whether it is a bot's. Only page views without a user can be."""
        event = self.event
        return event.visit.is_bot and event.type is EventType.PAGEVIEW and self.user_id is None


Ties = dict[tuple[str, str], Moment]
"""When each (anon_id, user_id) pair was first seen together."""


def add_tie(ties: Ties, anon_id: str | None, user_id: str | None, moment: Moment) -> None:
    """Record that two ids were seen together at *moment*; a cookieless id is never tied to a user."""
    if anon_id is not None and user_id is not None and not is_cookieless(anon_id):
        key = (anon_id, user_id)
        ties[key] = min(ties.get(key, moment), moment)


def owners(ties: Ties) -> dict[str, str]:
    """Return the user that each anonymous id belongs to: the first it was seen with."""
    first: dict[str, tuple[Moment, str]] = {}
    for (anon_id, user_id), moment in ties.items():
        claim = (moment, user_id)
        first[anon_id] = min(first.get(anon_id, claim), claim)
    return {anon_id: user_id for anon_id, (_, user_id) in first.items()}


class History:
    """An immutable view of a store's contents. *first_seen* covers events that are no longer kept."""

    def __init__(
        self,
        stored: Sequence[Stored],
        ties: Ties,
        traits: Mapping[str, Mapping[str, Scalar]],
        first_seen: Mapping[tuple[str | None, str | None, bool], datetime],
    ) -> None:
        self._owners = owners(ties)
        self._traits = traits
        self._visitors: dict[tuple[str | None, str | None], Visitor | None] = {}
        self.rows = [
            Row(item.at, item.event_id, item.event.name, self.visitor(item.user_id, item.anon_id), item.bot, item.event)
            for item in stored
        ]
        self._times = [row.at for row in self.rows]
        self.answers: dict[Any, Any] = {}
        """Intermediate results that several questions share."""
        self._older = [(self.visitor(user_id, anon_id), bot, at) for (user_id, anon_id, bot), at in first_seen.items()]

    def visitor(self, user_id: str | None, anon_id: str | None) -> Visitor | None:
        """Return the visitor of an event with these ids, or None if it belongs to nobody."""
        key = (user_id, anon_id)
        if key not in self._visitors:
            self._visitors[key] = self._resolve(user_id, anon_id)
        return self._visitors[key]

    def _resolve(self, user_id: str | None, anon_id: str | None) -> Visitor | None:
        if user_id is not None:
            return Visitor("user", user_id)
        if anon_id is None:
            return None
        if is_cookieless(anon_id):
            return Visitor("cookieless", anon_id)
        owner = self._owners.get(anon_id)
        return Visitor("anon", anon_id) if owner is None else Visitor("user", owner)

    def traits(self, visitor: Visitor | None) -> Mapping[str, Scalar]:
        """Return the current traits of *visitor*; anonymous visitors have none."""
        return self._traits.get(visitor.id, {}) if visitor is not None and visitor.kind == "user" else {}

    def value(self, row: Row, field: str) -> Any:
        """Return the value of *field* of an event or its user."""
        return field_value(row.event, self.traits(row.visitor), field)

    def text(self, row: Row, field: str) -> str | None:
        """Return the value of *field* as text, None when absent."""
        return as_text(self.value(row, field))

    def people(self, bots: bool) -> Iterator[Row]:
        """Every event, bot events only if *bots*."""
        return (row for row in self.rows if bots or not row.bot)

    def passes(self, row: Row, question: Question) -> bool:
        """Return whether all filters of *question* hold for *row*."""
        return all(item.matches(self.value(row, item.field)) for item in question.where)

    def matching(self, question: Question) -> Iterator[Row]:
        """Every event, at any time, that *question* is about."""
        return (row for row in self.people(question.bots) if self.passes(row, question))

    def within(self, question: RangeQuestion, event: str = "") -> list[Row]:
        """Return the events in the range that *question* is about, called *event* unless that is empty."""
        # Bisect: rows are in order of time, and a chart asks once for each of its days.
        first, last = bisect_left(self._times, question.start), bisect_left(self._times, question.end)
        return [
            row
            for row in self.rows[first:last]
            if (question.bots or not row.bot) and (not event or row.name == event) and self.passes(row, question)
        ]

    def first_seen(self, bots: bool) -> dict[Visitor, datetime]:
        """Return the time of each visitor's first event ever, including events no longer kept."""
        seen: dict[Visitor, datetime] = {}
        older = ((visitor, at) for visitor, bot, at in self._older if bots or not bot)
        for visitor, at in (*older, *((row.visitor, row.at) for row in self.people(bots))):
            if visitor is not None:
                seen[visitor] = min(seen.get(visitor, at), at)
        return seen


def distinct(rows: Iterable[Row], question: RangeQuestion) -> set[Visitor]:
    """Return the visitors of *rows*, all in the question's range; a cookieless one counts once per local day."""
    days = buckets(question.start, question.end, "day", question.tz)
    found: set[Visitor] = set()
    for row in rows:
        visitor = row.visitor
        if visitor is not None and visitor.cookieless:
            index = days.find(row.at)
            assert index is not None
            visitor = visitor._replace(day=days.all[index].start)
        if visitor is not None:
            found.add(visitor)
    return found


def by_visitor(rows: Iterable[Row], keep: Callable[[Visitor], bool] = lambda _: True) -> dict[Visitor, list[Row]]:
    """Return each visitor's rows in the given order, without those of nobody."""
    found: dict[Visitor, list[Row]] = {}
    for row in rows:
        if row.visitor is not None and keep(row.visitor):
            found.setdefault(row.visitor, []).append(row)
    return found


def cookieless(visitors: Iterable[Visitor]) -> int:
    """Return how many of *visitors* are cookieless."""
    return sum(visitor.cookieless for visitor in visitors)
