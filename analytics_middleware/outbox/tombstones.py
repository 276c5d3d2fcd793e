"""Who is erased: their records are refused, and left out where they were, however they come back.

An erasure has a time. What happens after it counts: somebody who signs up again under the same id is new.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import NamedTuple

import msgspec

from analytics_middleware.enrich.visitor import is_cookieless, is_identity
from analytics_middleware.event import Erase
from analytics_middleware.outbox.base import Draft, Entry, Settlement
from analytics_middleware.outbox.records import draft_of

USER = "user"
ANON = "anon"
ERASED = "erased"
"""The reason under which erased events are counted."""

_WITH = "anon of "
"""Followed by a user: the kind under which is remembered which anonymous ids were erased with them."""
_NEVER = float("-inf")


class Subject(NamedTuple):
    """Whom a record is about."""

    user_id: str | None
    anon_id: str | None
    """Only when it outlives the day: others can't be tied to anybody."""


class Revealed(NamedTuple):
    """Whose a browser was, said by a record that is refused."""

    user_id: str
    anon_id: str
    until: float
    """Up to which time the user, and so what the browser did, is erased."""


class _Ids(msgspec.Struct):
    user_id: str | None = None
    anon_id: str | None = None


_decode = msgspec.json.Decoder(_Ids).decode


def subject(payload: bytes) -> Subject:
    """Return whom the record encoded in *payload* is about; nobody, when it can't be read."""
    try:
        ids = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Subject(None, None)
    user_id = ids.user_id if is_identity(ids.user_id) else None
    anon_id = ids.anon_id if is_identity(ids.anon_id) and not is_cookieless(ids.anon_id) else None
    return Subject(user_id, anon_id)


class Tombstones:
    """Up to which time whose records are erased."""

    def __init__(self, rows: Iterable[tuple[str, str, float]] = ()) -> None:
        self._until = {(kind, name): until for kind, name, until in rows}
        self._latest = max(self._until.values(), default=_NEVER)

    def set(self, kind: str, name: str, until: float) -> None:
        """Erase what is of *name* up to *until*."""
        self._until[kind, name] = max(until, self._until.get((kind, name), _NEVER))
        self._latest = max(self._latest, until)

    def set_anon(self, user_id: str, anon_id: str, until: float) -> None:
        """Erase what *anon_id* did up to *until*, and remember with which user."""
        self.set(ANON, anon_id, until)
        self.set(_WITH + user_id, anon_id, until)

    def anons_of(self, user_id: str) -> frozenset[str]:
        """Return the anonymous ids that were erased with *user_id*."""
        return frozenset(name for kind, name in self._until if kind == _WITH + user_id)

    def until(self, kind: str, name: str) -> float | None:
        """Return up to which time what is of *name* is erased, None if it is not."""
        return self._until.get((kind, name))

    def covers(self, record: Draft | Entry) -> bool:
        """Whether *record* is erased."""
        if record.timestamp > self._latest or record.kind == "erase":
            return False
        of = subject(record.payload)
        key = (ANON, of.anon_id) if of.user_id is None else (USER, of.user_id)
        return record.timestamp <= self._until.get((key[0], key[1] or ""), _NEVER)

    def refuses(self, user_id: str | None, anon_id: str | None, at: float) -> bool:
        """Whether an event with these ids, at *at* seconds since the epoch, is erased."""
        if at > self._latest:
            return False
        key = (USER, user_id) if is_identity(user_id) else (ANON, anon_id)
        return at <= self._until.get((key[0], key[1] or ""), _NEVER)

    def admitted(self, drafts: Sequence[Draft]) -> tuple[Sequence[Draft], int, Sequence[Revealed]]:
        """Return those of *drafts* that may be written, how many events may not, and what these reveal.

        What they reveal is erased here from then on, and a record of it is among what may be written: the store, which
        does not get what is refused, must know it too.
        """
        if not self._until or not any(self.covers(draft) for draft in drafts):
            return drafts, 0, ()
        revealed = self._revealed(drafts)
        refused = [draft for draft in drafts if self.covers(draft)]
        gone = {draft.record_id for draft in refused}
        kept = [draft for draft in drafts if draft.record_id not in gone]
        kept += [_record(each) for each in revealed]
        return kept, sum(draft.kind == "event" for draft in refused), revealed

    def _revealed(self, drafts: Sequence[Draft]) -> list[Revealed]:
        found: list[Revealed] = []
        for draft in drafts:
            of = subject(draft.payload)
            if of.user_id is None or of.anon_id is None or not self.covers(draft):
                continue
            until = self._until[USER, of.user_id]
            if self._until.get((_WITH + of.user_id, of.anon_id), _NEVER) < until:
                self.set_anon(of.user_id, of.anon_id, until)
                found.append(Revealed(of.user_id, of.anon_id, until))
        return found

    def settled(self, settlement: Settlement) -> Settlement:
        """Return *settlement* without what is erased: it is neither tried again nor kept as a dead letter."""
        again = [retry.entry for retry in settlement.retries if self.covers(retry.entry)]
        dead = [letter.entry for letter in settlement.dead if self.covers(letter.entry)]
        if not again and not dead:
            return settlement
        gone = {entry.seq for entry in (*again, *dead)}
        events = sum(entry.kind == "event" for entry in (*again, *dead))
        return settlement._replace(
            settled=[*settlement.settled, *again],
            retries=[retry for retry in settlement.retries if retry.entry.seq not in gone],
            dead=[letter for letter in settlement.dead if letter.entry.seq not in gone],
            dropped={**settlement.dropped, ERASED: settlement.dropped.get(ERASED, 0) + events},
        )


def _record(revealed: Revealed) -> Draft:
    # An erasure, for collectors are not to hear of somebody erased.
    at = datetime.fromtimestamp(revealed.until, UTC)
    return draft_of(Erase(user_id=revealed.user_id, anon_id=revealed.anon_id, timestamp=at))


_NONE = Tombstones()


def read_tombstones(connection: Connection, since: float) -> Tombstones:
    """Return the tombstones if any reaches as far as *since*, the earliest record in question."""
    (latest,) = connection.execute("SELECT max(until) FROM tombstone").fetchone()
    if latest is None or since > latest:
        # As a rule: what comes now happened after the last erasure.
        return _NONE
    return Tombstones(connection.execute("SELECT kind, id, until FROM tombstone"))


def write_tombstone(connection: Connection, kind: str, name: str, until: float) -> None:
    """Have what is of *name* up to *until* refused from now on."""
    connection.execute(
        "INSERT INTO tombstone (kind, id, until) VALUES (?, ?, ?) "
        "ON CONFLICT (kind, id) DO UPDATE SET until = max(until, excluded.until)",
        (kind, name, until),
    )


def write_anon_tombstone(connection: Connection, user_id: str, anon_id: str, until: float) -> None:
    """Have what *anon_id* did up to *until* refused, and remember with which user it was erased."""
    write_tombstone(connection, ANON, anon_id, until)
    write_tombstone(connection, _WITH + user_id, anon_id, until)


def anons_of(connection: Connection, user_id: str) -> set[str]:
    """Return the anonymous ids that were erased with *user_id*: a later erasure is about them as well."""
    return {name for (name,) in connection.execute("SELECT id FROM tombstone WHERE kind = ?", (_WITH + user_id,))}
