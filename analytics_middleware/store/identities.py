"""Who is who, traits and erasures: the catalogue's state plus the changes made by records not sealed yet.

Sealing and questions use the same code to process records, so they always agree.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from sqlite3 import Connection
from typing import NamedTuple

from analytics_middleware.event import Identify
from analytics_middleware.properties import Scalar
from analytics_middleware.store._arrays import ALWAYS
from analytics_middleware.store.columns import from_json, to_json
from analytics_middleware.store.identity import identity, is_cookieless
from analytics_middleware.store.instants import micros

Moment = tuple[int, str]
"""A timestamp in microseconds and an event id."""
Later = Callable[[str, int], Mapping[str, Moment]]
"""Returns, for a user and a time, when sealed events after it first show each anonymous id with that user."""

_KEPT = 64
"""How many times of identifying one id as one user are remembered, in case some are erased."""


class Tie(NamedTuple):
    """A link between two ids: when they were first seen together, and when identifies linked them."""

    first: Moment
    identified: tuple[Moment, ...] = ()


class Identities:
    """Ties, traits and erasures. Methods read the catalogue through the connection they are given."""

    def __init__(self, connection: Connection) -> None:
        self._ties: dict[str, dict[str, Tie]] = {}
        self._original: dict[str, str | None] = {}
        self._loaded_users: set[str] = set()
        self._seen: dict[str, list[tuple[str, Moment]]] = {}  # from events added here, by user
        self._dirty: set[str] = set()
        self.traits: dict[tuple[str, str], tuple[Moment, Scalar] | None] = {}
        """Traits that were changed or looked up; None for erased ones."""
        self._dirty_traits: set[tuple[str, str]] = set()
        self.erased_users: dict[str, int] = dict(connection.execute("SELECT user_id, until FROM store_erased_user"))
        self.erased_anons: dict[str, set[str]] = {}
        for anon_id, user_id in connection.execute("SELECT anon_id, user_id FROM store_erased_anon"):
            self.erased_anons.setdefault(anon_id, set()).add(user_id)
        self.erasures = False
        """Whether a record added here erased something, or revealed that an anonymous id was an erased user's."""

    @property
    def changed(self) -> dict[str, str | None]:
        """The anonymous ids whose owner differs from the catalogue's, with that owner."""
        owners = {anon_id: self.owner(anon_id) for anon_id in self._dirty}
        return {anon_id: owner for anon_id, owner in owners.items() if owner != self._original[anon_id]}

    @property
    def changed_traits(self) -> dict[tuple[str, str], str | None]:
        """The traits, by user and key, that differ from the catalogue's, as JSON; None for erased ones."""
        items = {item: self.traits[item] for item in self._dirty_traits}
        return {item: None if value is None else to_json(value[1]) for item, value in items.items()}

    def owner(self, anon_id: str) -> str | None:
        """Return the owner of *anon_id*, whose ties must be loaded."""
        return _owner(self._ties[anon_id])

    def prefetch(self, connection: Connection, anon_ids: Iterable[str]) -> None:
        """Load the ties of *anon_ids* with one query."""
        missing = [anon_id for anon_id in anon_ids if anon_id not in self._ties]
        if not missing:
            return
        self._ties |= {anon_id: {} for anon_id in missing}
        for anon_id, user_id, at, event_id, identified in connection.execute(
            "SELECT anon_id, user_id, at, event_id, identified FROM store_tie "
            "WHERE anon_id IN (SELECT value FROM json_each(?))",
            (json.dumps(missing),),
        ):
            moments = tuple((moment[0], moment[1]) for moment in json.loads(identified))
            self._ties[anon_id][user_id] = Tie((at, event_id), moments)
        self._original |= {anon_id: _owner(self._ties[anon_id]) for anon_id in missing}

    def anon_ids(self, connection: Connection, user_id: str) -> list[str]:
        """Return the anonymous ids that belong to a user."""
        self._load_user(connection, user_id)
        return sorted(anon_id for anon_id, ties in self._ties.items() if _owner(ties) == user_id)

    def all_ties(self, connection: Connection) -> dict[str, dict[str, Tie]]:
        """Return the ties of all anonymous ids, by user."""
        rows = connection.execute("SELECT DISTINCT anon_id FROM store_tie").fetchall()
        self.prefetch(connection, [anon_id for (anon_id,) in rows])
        return self._ties

    def all_traits(self, connection: Connection) -> dict[tuple[str, str], tuple[Moment, Scalar]]:
        """Return all traits by user and key, with the moment at which each was set; None is a removed trait."""
        found: dict[tuple[str, str], tuple[Moment, Scalar] | None] = {
            (user_id, key): ((at, event_id), from_json(value))
            for user_id, key, at, event_id, value in connection.execute(
                "SELECT user_id, key, at, event_id, value FROM store_trait"
            )
        }
        found |= self.traits
        return {item: value for item, value in found.items() if value is not None}

    def gone_until(self, user_id: str | None, anon_id: str | None) -> int:
        """Return the time up to which events with these ids are erased."""
        if user_id is not None:
            return self.erased_users.get(user_id, ALWAYS)
        users = self.erased_anons.get(anon_id or "", ())
        return max((self.erased_users.get(user, ALWAYS) for user in users), default=ALWAYS)

    def add_event(
        self, connection: Connection, user_id: str | None, anon_id: str | None, at: int, event_id: str
    ) -> bool:
        """Process an event's ids; return False if the event is erased."""
        if self._erased(connection, user_id, anon_id, at):
            return False
        if user_id is not None and anon_id is not None and not is_cookieless(anon_id):
            self._tie(connection, user_id, anon_id, (at, event_id), identified=False)
            self._seen.setdefault(user_id, []).append((anon_id, (at, event_id)))
        return True

    def add_identify(self, connection: Connection, record: Identify) -> bool:
        """Process *record*; return False if it is erased or has no user."""
        user_id, anon_id, at = identity(record.user_id), identity(record.anon_id), micros(record.timestamp)
        if user_id is None or self._erased(connection, user_id, anon_id, at):
            return False
        moment = (at, record.event_id)
        if anon_id is not None and not is_cookieless(anon_id):
            self._tie(connection, user_id, anon_id, moment, identified=True)
        for key, value in record.traits.items():
            known = self._trait(connection, user_id, key)
            if known is None or known[0] < moment:
                self.traits[user_id, key] = (moment, value)
                self._dirty_traits.add((user_id, key))
        return True

    def erase(self, connection: Connection, user_id: str, until: int, later: Later) -> None:
        """Forget everything about a user up to *until*."""
        until = max(until, self.erased_users.get(user_id, until))
        self.erased_users[user_id] = until
        self.erasures = True
        self._load_user(connection, user_id)
        gone = {
            anon_id: ties[user_id]
            for anon_id, ties in self._ties.items()
            if user_id in ties and ties[user_id].first[0] <= until
        }
        remaining = dict(later(user_id, until)) if gone else {}
        for anon_id, moment in self._seen.get(user_id, ()):
            if moment[0] > until:
                remaining[anon_id] = min(remaining.get(anon_id, moment), moment)
        for anon_id, tie in gone.items():
            self.erased_anons.setdefault(anon_id, set()).add(user_id)
            identified = tuple(moment for moment in tie.identified if moment[0] > until)
            moments = [*identified, *([remaining[anon_id]] if anon_id in remaining else [])]
            if moments:
                self._ties[anon_id][user_id] = Tie(min(moments), identified)
            else:
                del self._ties[anon_id][user_id]
            self._dirty.add(anon_id)
        self._erase_traits(connection, user_id, until)

    def flush(self, connection: Connection, version: int) -> None:
        """Write the changes into the catalogue as its version *version*."""
        for anon_id in self._dirty:
            connection.execute("DELETE FROM store_tie WHERE anon_id = ?", (anon_id,))
            connection.executemany(
                "INSERT INTO store_tie (anon_id, user_id, at, event_id, identified) VALUES (?, ?, ?, ?, ?)",
                [(anon_id, user, *tie.first, json.dumps(tie.identified)) for user, tie in self._ties[anon_id].items()],
            )
        connection.executemany(
            "INSERT OR REPLACE INTO store_changed (anon_id, version) VALUES (?, ?)",
            [(anon_id, version) for anon_id in self.changed],
        )
        for user_id, key in self._dirty_traits:
            connection.execute("DELETE FROM store_trait WHERE user_id = ? AND key = ?", (user_id, key))
            item = self.traits[user_id, key]
            if item is not None:
                connection.execute(
                    "INSERT INTO store_trait (user_id, key, at, event_id, value) VALUES (?, ?, ?, ?, ?)",
                    (user_id, key, *item[0], to_json(item[1])),
                )
        if self.erasures:
            connection.executemany(
                "INSERT INTO store_erased_user (user_id, until) VALUES (?, ?) "
                "ON CONFLICT (user_id) DO UPDATE SET until = max(until, excluded.until)",
                self.erased_users.items(),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO store_erased_anon (anon_id, user_id) VALUES (?, ?)",
                [(anon_id, user_id) for anon_id, users in self.erased_anons.items() for user_id in users],
            )
            connection.execute("UPDATE store_state SET value = ? WHERE key = 'erased'", (version,))

    def _erased(self, connection: Connection, user_id: str | None, anon_id: str | None, at: int) -> bool:
        """Return whether to refuse a record; first note an anonymous id that it ties to an erased user."""
        if user_id is None or at > self.erased_users.get(user_id, ALWAYS):
            return at <= self.gone_until(user_id, anon_id)
        if anon_id is not None and not is_cookieless(anon_id):
            users = self.erased_anons.setdefault(anon_id, set())
            if user_id not in users:
                users.add(user_id)
                self.erasures = True
        return True

    def _tie(self, connection: Connection, user_id: str, anon_id: str, moment: Moment, *, identified: bool) -> None:
        self.prefetch(connection, [anon_id])
        ties = self._ties[anon_id]
        known = ties.get(user_id)
        if known is None:
            ties[user_id] = Tie(moment, (moment,) if identified else ())
        else:
            moments = tuple(sorted({*known.identified, moment})) if identified else known.identified
            if len(moments) > _KEPT:
                moments = (*moments[: _KEPT // 2], *moments[-_KEPT // 2 :])
            ties[user_id] = Tie(min(known.first, moment), moments)
        if ties[user_id] != known:
            self._dirty.add(anon_id)

    def _load_user(self, connection: Connection, user_id: str) -> None:
        if user_id not in self._loaded_users:
            self._loaded_users.add(user_id)
            rows = connection.execute("SELECT anon_id FROM store_tie WHERE user_id = ?", (user_id,)).fetchall()
            self.prefetch(connection, [anon_id for (anon_id,) in rows])

    def _trait(self, connection: Connection, user_id: str, key: str) -> tuple[Moment, Scalar] | None:
        if (user_id, key) not in self.traits:
            row = connection.execute(
                "SELECT at, event_id, value FROM store_trait WHERE user_id = ? AND key = ?", (user_id, key)
            ).fetchone()
            self.traits[user_id, key] = None if row is None else ((row[0], row[1]), from_json(row[2]))
        return self.traits[user_id, key]

    def _erase_traits(self, connection: Connection, user_id: str, until: int) -> None:
        keys = [key for (user, key) in self.traits if user == user_id]
        stored = connection.execute("SELECT key FROM store_trait WHERE user_id = ?", (user_id,)).fetchall()
        for key in {*keys, *(key for (key,) in stored)}:
            item = self._trait(connection, user_id, key)
            if item is not None and item[0][0] <= until:
                self.traits[user_id, key] = None
                self._dirty_traits.add((user_id, key))


def _owner(ties: Mapping[str, Tie]) -> str | None:
    return min(((tie.first, user_id) for user_id, tie in ties.items()), default=(None, None))[1]
