"""A user's rights: exporting or erasing everything that the outbox holds about one user.

Entries that a collector may be sending at this moment keep their place but lose their content. Consumers count them as
erased when they reach them, so the accounting stays exact whatever the outcome of that attempt.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from sqlite3 import Connection
from typing import Final, NamedTuple

import msgspec

from analytics_middleware.outbox.base import Draft, Erased
from analytics_middleware.outbox.counting import count
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.tombstones import (
    ERASED,
    USER,
    Revealed,
    Subject,
    anons_of,
    subject,
    write_anon_tombstone,
    write_tombstone,
)

_CHUNK = 1000
_TRUNCATE_TRIES = 5

# Erase records stay, because they tell consumers what to erase.
_WHERE: Final = {
    "log": (
        "seq",
        """
        SELECT seq, '', seq, record_id, timestamp, payload, private FROM log WHERE seq > ? AND kind != 'erase'
        ORDER BY seq LIMIT ?
        """,
    ),
    "dead": (
        "id",
        """
        SELECT id, consumer, seq, record_id, timestamp, payload, NULL FROM dead WHERE id > ? AND kind != 'erase'
        ORDER BY id LIMIT ?
        """,
    ),
    # Searched after dead letters, because those may be moved to it meanwhile.
    "retry": (
        "rowid",
        """
        SELECT rowid, consumer, seq, record_id, timestamp, payload, private FROM retry
        WHERE rowid > ? AND kind != 'erase' ORDER BY rowid LIMIT ?
        """,
    ),
}
_TIED: Final = (
    "SELECT anon_id FROM store_tie WHERE user_id = ?",
    "SELECT anon_id FROM store_erased_anon WHERE user_id = ?",
)


_Moment = tuple[int, str]
"""A timestamp in microseconds and an event id."""


class Kept(NamedTuple):
    """A record about a user in the outbox."""

    where: str
    """``log``, ``retry``, ``dead`` or ``session``."""
    consumer: str
    """The collector that it waits for or that refused it; empty for the log, which all share."""
    payload: bytes
    private: bytes | None = None
    """Data for only those collectors that may read it, such as the address."""


class _Row(NamedTuple):
    key: int
    consumer: str
    seq: int
    record_id: str
    timestamp: float
    payload: bytes
    private: bytes | None


def export_user(database: Database, user_id: str) -> Generator[Kept]:
    """Yield all records of *user_id*, and the anonymous records of their anonymous ids."""
    anons = _owned_ids(database, user_id)
    for table in _WHERE:
        for row in _rows(database.read, table, lambda _: None):
            if _is_of(subject(row.payload), user_id, anons):
                yield Kept(table, row.consumer, row.payload, row.private)
    with database.read() as connection:
        sessions = [
            connection.execute("SELECT session_id, first, last FROM session WHERE visitor = ?", (owner,)).fetchone()
            for owner in _owners(user_id, anons)
        ]
    for session in filter(None, sessions):
        yield Kept("session", "", msgspec.json.encode(dict(zip(("session_id", "first", "last"), session, strict=True))))


def erase_user(database: Database, user_id: str, record: Draft, progress: Callable[[int], object]) -> Erased:
    """Forget *user_id* up to the time of *record*, which tells the log's consumers to do the same.

    *progress* is called with the number of rows searched since the last call.
    """
    until = record.timestamp
    with database.write() as connection:
        # Before the search, so that no new record of the user arrives behind it.
        write_tombstone(connection, USER, user_id, until)
        connection.execute(
            "INSERT INTO log (kind, record_id, timestamp, payload) VALUES (?, ?, ?, ?)",
            (record.kind, record.record_id, until, record.payload),
        )
    anons = _anonymous_ids(database, user_id, until, progress)
    if (told := subject(record.payload).anon_id) is not None:
        anons.add(told)
    with database.write() as connection:
        for anon_id in anons:
            write_anon_tombstone(connection, user_id, anon_id, until)
        connection.executemany("DELETE FROM session WHERE visitor = ?", [(owner,) for owner in _owners(user_id, anons)])
    taken = {table: _erase_from(database, table, user_id, anons, until, progress) for table in _WHERE}
    clean = any(database.truncate() for _ in range(_TRUNCATE_TRIES))
    return Erased(**taken, anonymous_ids=tuple(sorted(anons)), clean=clean)


def erase_revealed(connection: Connection, revealed: Iterable[Revealed]) -> None:
    """Erase what an erased user's newly revealed anonymous ids did, in the revealing record's transaction."""
    for user_id, anon_id, until in revealed:
        write_anon_tombstone(connection, user_id, anon_id, until)
        connection.execute("DELETE FROM session WHERE visitor = ? AND last <= ?", (anon_id, until))
        for table in _WHERE:
            rows = _rows(lambda: nullcontext(connection), table, lambda _: None)
            _blank(connection, table, _found(rows, user_id, {anon_id}, until))


def rows_to_search(database: Database) -> int:
    """Return how many rows `erase_user` will search, for a progress bar."""
    with database.read() as connection:
        counts = [
            int(connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0])  # noqa: S608 - our own names
            for table in _WHERE
        ]
    return 2 * sum(counts)


def _erase_from(
    database: Database, table: str, user_id: str, anons: set[str], until: float, progress: Callable[[int], object]
) -> int:
    found = _found(_rows(database.read, table, progress), user_id, anons, until)
    for start in range(0, len(found), _CHUNK):
        with database.write() as connection:
            _blank(connection, table, found[start : start + _CHUNK])
    return len(found)


def _found(rows: Iterable[_Row], user_id: str, anons: set[str], until: float) -> list[_Row]:
    return [row for row in rows if row.timestamp <= until and _is_of(subject(row.payload), user_id, anons)]


def _blank(connection: Connection, table: str, rows: Iterable[_Row]) -> None:
    """Remove the content of *rows*, which keep their place; dead letters are deleted."""
    if table == "dead":
        for row in rows:
            discard_dead_letter(connection, row.key, ERASED)
        return
    column, _ = _WHERE[table]
    due = ", due = 0" if table == "retry" else ""
    connection.executemany(
        f"UPDATE {table} SET payload = x'', private = NULL{due} WHERE {column} = ? AND seq = ?",  # noqa: S608
        [(row.key, row.seq) for row in rows],
    )


def discard_dead_letter(connection: Connection, letter: int, reason: str) -> int:
    """Delete the dead letter with the id *letter* and count it as dropped for *reason*; return whether it was there."""
    row = connection.execute("SELECT consumer, kind FROM dead WHERE id = ?", (letter,)).fetchone()
    if row is None:
        return 0
    connection.execute("DELETE FROM dead WHERE id = ?", (letter,))
    consumer, kind = row
    # A retired collector has no counters any more.
    if kind == "event" and connection.execute("SELECT 1 FROM consumer WHERE name = ?", (consumer,)).fetchone():
        count(connection, {f"{consumer}/dead": -1, f"{consumer}/dropped.{reason}": 1})
    return 1


def _anonymous_ids(database: Database, user_id: str, until: float, progress: Callable[[int], object]) -> set[str]:
    """Return the persistent anonymous ids that were seen with *user_id* up to *until*, or were erased with them."""
    found: set[str] = set()
    for table in _WHERE:
        for row in _rows(database.read, table, progress):
            of = subject(row.payload)
            if row.timestamp <= until and of.user_id == user_id and of.anon_id is not None:
                found.add(of.anon_id)
    with database.read() as connection:
        # An earlier erasure deleted the records that showed these.
        found |= anons_of(connection, user_id)
        # The embedded store also knows ids from records that have left the log or never were in it.
        for query in _TIED:
            found.update(anon_id for (anon_id,) in connection.execute(query, (user_id,)))
    return found


def _owned_ids(database: Database, user_id: str) -> set[str]:
    """Return the persistent anonymous ids whose owner is *user_id*, the first user each was seen with.

    In doubt an erasure includes more ids, and an export leaves out those that may be another user's.
    """
    first: dict[str, tuple[_Moment, str]] = {}

    def note(anon_id: str, owner: str, moment: _Moment) -> None:
        first[anon_id] = min(first.get(anon_id, (moment, owner)), (moment, owner))

    for table in _WHERE:
        for row in _rows(database.read, table, lambda _: None):
            of = subject(row.payload)
            if of.user_id is not None and of.anon_id is not None:
                note(of.anon_id, of.user_id, (round(row.timestamp * 1_000_000), row.record_id))
    with database.read() as connection:
        for anon_id, owner, at, event_id in connection.execute(
            "SELECT anon_id, user_id, at, event_id FROM store_tie "
            "WHERE anon_id IN (SELECT anon_id FROM store_tie WHERE user_id = ?) "
            "OR anon_id IN (SELECT value FROM json_each(?))",
            (user_id, msgspec.json.encode([anon for anon, (_, owner) in first.items() if owner == user_id]).decode()),
        ):
            note(anon_id, owner, (at, event_id))
    return {anon_id for anon_id, (_, owner) in first.items() if owner == user_id}


def _owners(user_id: str, anons: set[str]) -> list[str]:
    """Return the keys of sessions of a user and of the user's anonymous ids."""
    return [f"user {user_id}", *sorted(anons)]


def _is_of(of: Subject, user_id: str, anons: set[str]) -> bool:
    if of.user_id is not None:
        return of.user_id == user_id
    return of.anon_id is not None and of.anon_id in anons


def _rows(
    reading: Callable[[], AbstractContextManager[Connection]], table: str, progress: Callable[[int], object]
) -> Generator[_Row]:
    """Yield the rows of *table*, read in chunks because a long read would block checkpoints."""
    _, query = _WHERE[table]
    key = -1
    while True:
        with reading() as connection:
            rows = connection.execute(query, (key, _CHUNK)).fetchall()
        if not rows:
            return
        progress(len(rows))
        yield from (_Row(*row) for row in rows)
        key = rows[-1][0]
