"""Tombstones: who is erased. Their records are refused, even if they arrive again.

An erasure has a time. Later events count: somebody who signs up again with the same id is a new user.
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
"""Prefix of a kind: followed by a user id, it lists the anonymous ids erased with that user."""
_NEVER = float("-inf")


class Subject(NamedTuple):
    """The ids of a record."""

    user_id: str | None
    anon_id: str | None
    """Only a persistent id: cookieless ones can't be tied to anybody."""


class Revealed(NamedTuple):
    """An anonymous id that a refused record shows to be an erased user's."""

    user_id: str
    anon_id: str
    until: float
    """The time up to which the user, and so the anonymous id, is erased."""


class _Ids(msgspec.Struct):
    user_id: str | None = None
    anon_id: str | None = None


_decode = msgspec.json.Decoder(_Ids).decode


def subject(payload: bytes) -> Subject:
    """Return the ids of the record encoded in *payload*; none if it can't be read."""
    try:
        ids = _decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return Subject(None, None)
    user_id = ids.user_id if is_identity(ids.user_id) else None
    anon_id = ids.anon_id if is_identity(ids.anon_id) and not is_cookieless(ids.anon_id) else None
    return Subject(user_id, anon_id)


class Tombstones:
    """The times up to which users and anonymous ids are erased."""

    def __init__(self, rows: Iterable[tuple[str, str, float]] = ()) -> None:
        self._until = {(kind, name): until for kind, name, until in rows}
        self._latest = max(self._until.values(), default=_NEVER)

    def set(self, kind: str, name: str, until: float) -> None:
        """Erase the records of *name* up to *until*."""
        self._until[kind, name] = max(until, self._until.get((kind, name), _NEVER))
        self._latest = max(self._latest, until)

    def set_anon(self, user_id: str, anon_id: str, until: float) -> None:
        """Erase the records of *anon_id* up to *until*, and remember the user they were erased with."""
        self.set(ANON, anon_id, until)
        self.set(_WITH + user_id, anon_id, until)

    def anons_of(self, user_id: str) -> frozenset[str]:
        """Return the anonymous ids that were erased with *user_id*."""
        return frozenset(name for kind, name in self._until if kind == _WITH + user_id)

    def until(self, kind: str, name: str) -> float | None:
        """Return the time up to which the records of *name* are erased, None if they are not."""
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
        """Return the *drafts* that may be written, how many events may not, and which ids those reveal.

        The revealed ids are added to these tombstones. The drafts to write include a record of each, because the store
        doesn't get the refused records but must know the ids.
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
        """Return *settlement* without erased entries: they are neither retried nor kept as dead letters."""
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
    # An erase record rather than an identify: collectors must not be told about erased users.
    at = datetime.fromtimestamp(revealed.until, UTC)
    return draft_of(Erase(user_id=revealed.user_id, anon_id=revealed.anon_id, timestamp=at))


_NONE = Tombstones()


def read_tombstones(connection: Connection, since: float) -> Tombstones:
    """Return the tombstones, or none if all are older than *since*, the time of the earliest record in question."""
    (latest,) = connection.execute("SELECT max(until) FROM tombstone").fetchone()
    if latest is None or since > latest:
        # The usual case: new records are later than the last erasure.
        return _NONE
    return Tombstones(connection.execute("SELECT kind, id, until FROM tombstone"))


def write_tombstone(connection: Connection, kind: str, name: str, until: float) -> None:
    """Refuse the records of *name* up to *until* from now on."""
    connection.execute(
        "INSERT INTO tombstone (kind, id, until) VALUES (?, ?, ?) "
        "ON CONFLICT (kind, id) DO UPDATE SET until = max(until, excluded.until)",
        (kind, name, until),
    )


def write_anon_tombstone(connection: Connection, user_id: str, anon_id: str, until: float) -> None:
    """Refuse the records of *anon_id* up to *until*, and remember the user they were erased with."""
    write_tombstone(connection, ANON, anon_id, until)
    write_tombstone(connection, _WITH + user_id, anon_id, until)


def anons_of(connection: Connection, user_id: str) -> set[str]:
    """Return the anonymous ids erased with *user_id* before; a later erasure covers them too."""
    return {name for (name,) in connection.execute("SELECT id FROM tombstone WHERE kind = ?", (_WITH + user_id,))}
