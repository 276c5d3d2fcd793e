"""Erasure: nothing about a user up to a given time may be visible, nor about the visitors tied to them by then.

Whether a row is hidden is looked up, not stored with it: an event belongs to its user, or to an anonymous visitor whose
id was seen with an erased user before the erasure (the row of that tie is kept forever). So rows and erasures may
arrive in any order, and a record that is sent again stays hidden. A mutation deletes the rows themselves, started by
the erasure or by a late record that reveals the tie.
"""

from collections.abc import Collection, Iterable

from analytics_middleware.store.clickhouse.connection import Connection
from analytics_middleware.store.clickhouse.schema import ANON_HASH, ERASED, USER_HASH, Layout
from analytics_middleware.store.identity import COOKIELESS_PREFIX


class Erased:
    """The times up to which some users and anonymous visitors are erased."""

    def __init__(self, users: dict[str, int], anons: dict[str, int]) -> None:
        self._users = users
        self._anons = anons
        self.revealed: set[str] = set()
        """The anonymous visitors that are erased according to the ties passed to `note`."""

    def note(self, ties: Iterable[tuple[str, str, int]]) -> bool:
        """Note *ties* (anonymous id, user id, time): an anonymous visitor tied to an erased user is erased too.

        Returns whether this erased anything new.
        """
        news = False
        for anon_id, user_id, at in ties:
            until = self._users.get(user_id)
            if anon_id and until is not None and at <= until:
                self.revealed.add(anon_id)
                known = self._anons.get(anon_id)
                if known is None or until > known:
                    self._anons[anon_id] = until
                    news = True
        return news

    def until(self, user_id: str, anon_id: str) -> int | None:
        """Return the time up to which events with these ids are erased, None if they are not."""
        return self._users.get(user_id) if user_id else self._anons.get(anon_id)

    def hides(self, user_id: str, anon_id: str, at: int) -> bool:
        """Whether an event *at* a time is hidden."""
        until = self.until(user_id, anon_id)
        return until is not None and at <= until

    def since(self, user_id: str, anon_id: str, at: int) -> int:
        """Return the time of the last erasure before *at*, 0 without one: aggregates start anew from there."""
        until = self.until(user_id, anon_id)
        return 0 if until is None or at <= until else until


def erased_among(connection: Connection, layout: Layout, *, users: Collection[str], anons: Collection[str]) -> Erased:
    """Return which of *users* and *anons* are erased."""
    erased = layout.table("erased")
    [(count,)] = connection.query(f"SELECT count() FROM {erased}")
    if not count:
        return Erased({}, {})
    untils = connection.query_for(
        f"SELECT user_id, max(until) FROM {erased} WHERE user_id IN {{users:Array(String)}} GROUP BY user_id",
        "users",
        sorted(users),
    )
    hidden = connection.query_for(
        f"SELECT t.anon_id, max(e.until) FROM {layout.table('ties')} AS t "
        f"{layout.spread}INNER JOIN {erased} AS e ON t.user_id = e.user_id "
        "WHERE t.anon_id IN {anons:Array(String)} AND t.moment.1 <= e.until GROUP BY t.anon_id",
        "anons",
        sorted(anons),
    )
    return Erased(dict(untils), dict(hidden))


def erase(connection: Connection, layout: Layout, user_id: str, until: int) -> None:
    """Forget everything about *user_id* up to *until*: hidden from questions at once, deleted from disk soon."""
    before = erased_among(connection, layout, users=[user_id], anons=[]).until(user_id, "")
    until = until if before is None else max(until, before)
    connection.insert(layout.table("erased"), {"user_id": [user_id], "until": [until]}, ERASED.columns)
    found = connection.query(
        f"SELECT DISTINCT anon_id FROM {layout.table('ties')} "
        "WHERE user_id = {user:String} AND moment.1 <= {until:Int64}",
        {"user": user_id, "until": until},
    )
    anons = sorted(anon_id for (anon_id,) in found)
    hidden = erased_among(connection, layout, users=[], anons=anons)
    _delete_up_to(connection, layout, user_id, USER_HASH, until)
    for anon in anons:
        _delete_up_to(connection, layout, anon, ANON_HASH, hidden.until("", anon) or until)
    _insert_ties_after(connection, layout, user_id, until)


def erase_revealed(connection: Connection, layout: Layout, erased: Erased) -> None:
    """Delete the rows of anonymous visitors revealed to be an erased user's.

    This checks for existing rows, not for new ties, because an earlier attempt may have crashed after writing the tie.
    """
    actors = f"arrayMap(id -> {ANON_HASH.format('id')}, {{ids:Array(String)}})"
    found = connection.query_for(
        "SELECT id, min(at) FROM ("
        f"SELECT anon_id AS id, toUnixTimestamp64Micro(timestamp) AS at FROM {layout.table('events')} "
        f"WHERE actor IN {actors} "
        f"UNION ALL SELECT id, at FROM {layout.table('first_seen')} WHERE actor IN {actors}"
        ") GROUP BY id",
        "ids",
        sorted(erased.revealed),
    )
    for anon_id, first in found:
        until = erased.until("", anon_id)
        if until is not None and first <= until:
            _delete_up_to(connection, layout, anon_id, ANON_HASH, until)


def _delete_up_to(connection: Connection, layout: Layout, name: str, kind: str, until: int) -> None:
    """Delete the rows up to *until* of the id *name*; *kind* is the SQL of its number."""
    [(actor,)] = connection.query(f"SELECT {kind.format('{id:String}')}", {"id": name})
    _insert_first_seen_after(connection, layout, actor, until)
    _delete(connection, layout, actor, until)


def _insert_first_seen_after(connection: Connection, layout: Layout, actor: int, until: int) -> None:
    """Insert when the id with number *actor* was first seen after *until*."""
    connection.command(
        f"INSERT INTO {layout.table('first_seen')} (kind, id, bot, since, at) "
        "SELECT kind, if(user_id != '', user_id, anon_id) AS id, bot, {until:Int64}, "
        f"min(toUnixTimestamp64Micro(timestamp)) FROM {layout.table('events')} "
        "WHERE actor = {actor:UInt64} AND toUnixTimestamp64Micro(timestamp) > {until:Int64} GROUP BY kind, id, bot",
        {"actor": actor, "until": until},
    )


def _insert_ties_after(connection: Connection, layout: Layout, user_id: str, until: int) -> None:
    """Insert when each anonymous id was first seen with the user after *until*."""
    connection.command(
        f"INSERT INTO {layout.table('ties')} (anon_id, user_id, since, moment) "
        "SELECT anon_id, {user:String}, {until:Int64}, min((at, event_id)) FROM ("
        f"SELECT anon_id, toUnixTimestamp64Micro(timestamp) AS at, event_id FROM {layout.table('events')} "
        f"WHERE actor = {USER_HASH.format('{user:String}')} AND NOT startsWith(anon_id, {{cookieless:String}}) "
        f"UNION ALL SELECT anon_id, at, event_id FROM {layout.table('identified')} WHERE user_id = {{user:String}}"
        ") WHERE anon_id != '' AND at > {until:Int64} GROUP BY anon_id",
        {"user": user_id, "until": until, "cookieless": COOKIELESS_PREFIX},
    )


def _delete(connection: Connection, layout: Layout, actor: int, until: int) -> None:
    """Delete the rows up to *until* of the id with number *actor* from disk."""
    number = f"{USER_HASH.format('user_id')} = {{actor:UInt64}}"
    for table, condition in (
        ("events", "actor = {actor:UInt64} AND toUnixTimestamp64Micro(timestamp) <= {until:Int64}"),
        ("first_seen", "actor = {actor:UInt64} AND at <= {until:Int64}"),
        ("identified", f"{number} AND at <= {{until:Int64}}"),
        ("traits", f"{number} AND latest.1 <= {{until:Int64}}"),
    ):
        connection.command(
            f"ALTER TABLE {layout.local(table)}{layout.on_cluster} DELETE WHERE {condition}",
            {"actor": actor, "until": until},
        )
