"""The records that a memory store keeps, and what it remembers of those it dropped."""

from bisect import insort
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, TypeVar

from msgspec import structs

from analytics_middleware.event import Erase, Event, Identify
from analytics_middleware.properties import Scalar
from analytics_middleware.store._history import History, Moment, Stored, Ties, add_tie, owners
from analytics_middleware.store.base import FirstSeen
from analytics_middleware.store.identity import identity, is_cookieless
from analytics_middleware.store.people import people

FUTURE = timedelta(hours=1)
"""How far ahead of the clock an event may be."""

K = TypeVar("K")
V = TypeVar("V")
TraitMoments = dict[tuple[str, str], tuple[Moment, Scalar]]
"""The latest value of each (user_id, key), and when it was set; the value None removes the key."""


class Tied(NamedTuple):
    """One identify as stored."""

    at: datetime
    event_id: str
    user_id: str
    anon_id: str | None
    traits: dict[str, Scalar]


class Records:
    """Events and identifies, at most *limit* of each: the oldest are dropped, and dropped events are counted.

    For dropped ones it remembers, within the same limit, when each id was first seen, which ids were seen together,
    and traits. Of an erased user only the id remains, so that late records can be refused. Not thread-safe.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._events: list[Stored] = []
        self._identifies: list[Tied] = []
        self._ids: set[str] = set()
        self._first_seen: dict[tuple[str | None, str | None, bool], datetime] = {}
        self._ties: Ties = {}
        self._traits: TraitMoments = {}
        self._erased_users: dict[str, datetime] = {}
        self._erased_anons: dict[str, set[str]] = {}  # the erased users that each anonymous id was seen with
        self.dropped = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._events)

    def add_event(self, event: Event, now: datetime) -> None:
        """Keep *event*, unless it is known, too far in the future, or erased."""
        at = _utc(event.timestamp)
        user_id, anon_id = identity(event.user_id), identity(event.anon_id)
        if event.event_id in self._ids:
            return
        if at > now + FUTURE or self._is_erased(user_id, anon_id, at):
            self.refused += 1
            return
        # A copy: the caller may change the event later. The store doesn't need the request and the address.
        kept = structs.replace(event, request=None, client_ip=None, properties=dict(event.properties))
        self._ids.add(event.event_id)
        insort(self._events, Stored(at, event.event_id, user_id, anon_id, kept))
        if len(self._events) > self._limit:
            self._drop_event(self._events.pop(0))

    def add_identify(self, identify: Identify, now: datetime) -> None:
        """Keep *identify*, unless it is known, too far in the future, erased, or without a user."""
        at = _utc(identify.timestamp)
        user_id, anon_id = identity(identify.user_id), identity(identify.anon_id)
        if identify.event_id in self._ids:
            return
        if user_id is None or at > now + FUTURE or self._is_erased(user_id, anon_id, at):
            self.refused += 1
            return
        self._ids.add(identify.event_id)
        insort(self._identifies, Tied(at, identify.event_id, user_id, anon_id, dict(identify.traits)))
        if len(self._identifies) > self._limit:
            self._drop_identify(self._identifies.pop(0))

    def erase(self, erase: Erase) -> None:
        """Forget everything about a user up to the time of *erase*; refuse it from now on."""
        user_id, until = identity(erase.user_id), _utc(erase.timestamp)
        if user_id is None:
            return
        self._erased_users[user_id] = until = max(until, self._erased_users.get(user_id, until))
        for (anon_id, tied_user), (at, _) in self._all_ties().items():
            if tied_user == user_id and at <= until:
                self._erased_anons.setdefault(anon_id, set()).add(user_id)
        # The erasure itself may name an anonymous id that no event did.
        self._is_erased(user_id, identity(erase.anon_id), _utc(erase.timestamp))
        self._forget()

    def events(
        self,
        start: datetime | None,
        end: datetime | None,
        user_id: str | None,
        after: tuple[datetime, str] | None,
    ) -> Iterator[Event]:
        """Return the events in a range, of one user, after a moment; events added later don't change the result."""
        owner_of = owners(self._all_ties())
        stored = [
            item
            for item in self._events
            if (start is None or item.at >= _utc(start))
            and (end is None or item.at < _utc(end))
            and (after is None or (item.at, item.event_id) > (_utc(after[0]), after[1]))
            and user_id in (None, item.user_id or owner_of.get(item.anon_id or ""))
        ]
        return (item.event.replace(timestamp=item.at, user_id=item.user_id, anon_id=item.anon_id) for item in stored)

    def people(self) -> Iterator[Identify | Erase]:
        """Return all erasures, then traits and ties between ids, as records for `apply`."""
        ties = [(anon_id, user_id, moment) for (anon_id, user_id), moment in self._all_ties().items()]
        ties += [
            (item.anon_id, item.user_id, (item.at, item.event_id))
            for item in self._identifies
            if item.anon_id is not None and not is_cookieless(item.anon_id)
        ]
        return people(self._erased_users, self._erased_anons, ties, self._all_traits())

    def first_seen(self) -> list[FirstSeen]:
        """Return when ids with dropped events were first seen."""
        found: dict[tuple[str | None, str | None], FirstSeen] = {}
        for (user_id, anon_id, bot), at in self._first_seen.items():
            known = found.get((user_id, anon_id), FirstSeen(user_id, anon_id, at, None))
            human = known.human_at if bot else at
            found[user_id, anon_id] = known._replace(at=min(known.at, at), human_at=human)
        return list(found.values())

    def add_first_seen(self, seen: FirstSeen) -> None:
        """Record when somebody was first seen, unless that is erased."""
        for at, bot in ((seen.human_at, False), (seen.at if seen.at != seen.human_at else None, True)):
            if at is None or self._gone(seen.user_id, seen.anon_id, at):
                continue
            key = (seen.user_id, seen.anon_id, bot)
            self._first_seen[key] = min(self._first_seen.get(key, at), at)
        _bound(self._first_seen, self._limit)

    def history(self) -> History:
        """Return an immutable view for questions."""
        moments = self._all_traits()
        traits: dict[str, dict[str, Scalar]] = {}
        for (user_id, key), (_, value) in sorted(moments.items(), key=lambda item: item[0]):
            if value is not None:
                traits.setdefault(user_id, {})[key] = value
        return History(self._events, self._all_ties(), traits, self._first_seen)

    def _all(self) -> Iterator[Stored | Tied]:
        yield from self._events
        yield from self._identifies

    def _all_ties(self) -> Ties:
        ties = dict(self._ties)
        for record in self._all():
            add_tie(ties, record.anon_id, record.user_id, (record.at, record.event_id))
        return ties

    def _all_traits(self) -> TraitMoments:
        moments = dict(self._traits)
        for identify in self._identifies:
            _set_traits(moments, identify)
        return moments

    def _is_erased(self, user_id: str | None, anon_id: str | None, at: datetime) -> bool:
        """Return whether to refuse a record; first note an anonymous id that it ties to an erased user."""
        if user_id is None or not self._gone(user_id, None, at):
            return self._gone(user_id, anon_id, at)
        if anon_id is not None and not is_cookieless(anon_id):
            users = self._erased_anons.setdefault(anon_id, set())
            if user_id not in users:
                users.add(user_id)
                self._forget()
        return True

    def _gone(self, user_id: str | None, anon_id: str | None, at: datetime) -> bool:
        users = {user_id} if user_id is not None else self._erased_anons.get(anon_id or "", set())
        return any(at <= self._erased_users[user] for user in users if user in self._erased_users)

    def _forget(self) -> None:
        """Drop everything that is erased."""
        for item in self._all():
            if self._gone(item.user_id, item.anon_id, item.at):
                self._ids.discard(item.event_id)
        self._events = [item for item in self._events if not self._gone(item.user_id, item.anon_id, item.at)]
        self._identifies = [item for item in self._identifies if not self._gone(item.user_id, None, item.at)]
        self._ties = {key: moment for key, moment in self._ties.items() if not self._gone(key[1], None, moment[0])}
        self._traits = {key: item for key, item in self._traits.items() if not self._gone(key[0], None, item[0][0])}
        self._first_seen = {key: at for key, at in self._first_seen.items() if not self._gone(key[0], key[1], at)}

    def _drop_event(self, item: Stored) -> None:
        self.dropped += 1
        self._ids.discard(item.event_id)
        add_tie(self._ties, item.anon_id, item.user_id, (item.at, item.event_id))
        if item.user_id is None and (item.anon_id is None or is_cookieless(item.anon_id)):
            return
        key = (item.user_id, item.anon_id if item.user_id is None else None, item.bot)
        self._first_seen[key] = min(self._first_seen.get(key, item.at), item.at)
        _bound(self._first_seen, self._limit)
        _bound(self._ties, self._limit)

    def _drop_identify(self, item: Tied) -> None:
        self._ids.discard(item.event_id)
        add_tie(self._ties, item.anon_id, item.user_id, (item.at, item.event_id))
        _set_traits(self._traits, item)
        _bound(self._ties, self._limit)
        _bound(self._traits, self._limit)


def _set_traits(moments: TraitMoments, identify: Tied) -> None:
    moment = (identify.at, identify.event_id)
    for key, value in identify.traits.items():
        known = moments.get((identify.user_id, key))
        if known is None or known[0] < moment:
            moments[identify.user_id, key] = (moment, value)


def _bound(mapping: dict[K, V], limit: int) -> None:
    while len(mapping) > limit:
        del mapping[next(iter(mapping))]


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
