"""Snapshots: the catalogue and the tail of the log at one consistent point, as a frame of arrays.

Each process keeps what it has read: compacted segments, recent ones, the tail. Only new data is read again.
"""

import threading
from collections.abc import Callable
from sqlite3 import Connection
from typing import Any, NamedTuple

from analytics_middleware.event import Event, Record
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.records import decode_record
from analytics_middleware.store._arrays import ALWAYS, Int32s, Int64s, NDArray, np
from analytics_middleware.store._base import Base
from analytics_middleware.store._disk import DiskColumns, generation_directory
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._sources import Block
from analytics_middleware.store._tables import Table, overlay
from analytics_middleware.store._vocabulary import Vocabularies
from analytics_middleware.store.actors import Actors
from analytics_middleware.store.catalogue import State, changed_owners, read_cursor, read_state, read_version
from analytics_middleware.store.columns import ANON, USER, actor_kind, table_of
from analytics_middleware.store.identities import Identities
from analytics_middleware.store.segments import Segments
from analytics_middleware.store.tail import Tail

_TRIES = 10
_MAX_TABLES = 6
_MAX_BLOCKS = 8


class _Generation(NamedTuple):
    """Compacted segments and the ids they are numbered by, which belong together."""

    files: tuple[str | None, ...]
    actors: Actors
    vocabularies: Vocabularies
    base: Base


class _Sealed(NamedTuple):
    """All segments, combined."""

    recent: tuple[str, ...]
    erased: int
    changed: dict[str, str | None]
    owners: Int32s
    tables: list[Table]


class FrameReader:
    """Creates frames, one at a time; any number of threads may use a frame."""

    def __init__(
        self, database: Database, segments: Segments, clock: Callable[[], int], cache_bytes: int, disk_from: int
    ) -> None:
        self._database = database
        self._segments = segments
        self._clock = clock
        self._cache_bytes = cache_bytes
        self._disk_from = disk_from
        self._lock = threading.Lock()
        self._forget()

    def _forget(self) -> None:
        self._generation: _Generation | None = None
        self._sealed: _Sealed | None = None
        self._state: State | None = None
        self._changed: dict[str, str | None] = {}
        self._records: list[tuple[int, Record]] = []
        self._seq = 0
        self._tail: Tail | None = None
        self._blocks: list[Block] = []
        self._arrived: list[Event] = []
        self._frame: Frame | None = None

    def frame(self) -> Frame:
        """Return a current frame. If a file is gone, it was replaced meanwhile: read the catalogue again."""
        with self._lock:
            for _ in range(_TRIES):
                try:
                    return self._read()
                except FileNotFoundError:
                    self._forget()
            return self._read()

    def keeps_columns(self) -> bool:
        """Return whether there are so many compacted events now that their columns are kept on disk."""
        with self._database.read() as connection:
            return self._keeps_columns(read_state(connection))

    def _keeps_columns(self, state: State) -> bool:
        return sum(segment.rows for segment in state.months) >= self._disk_from

    def close(self) -> None:
        """Stop writing columns."""
        with self._lock:
            if self._generation is not None:
                self._generation.base.disk.close()

    def after_fork(self) -> None:
        """In a forked child: start again, because a thread of the parent may have held any lock."""
        self._lock = threading.Lock()
        self._forget()

    def _read(self) -> Frame:
        now = self._clock()
        with self._database.read() as connection:
            changed = self._refresh(connection)
            changed |= self._follow(connection, now)
        if self._frame is None or changed:
            self._frame = self._build()
        return self._frame

    def _refresh(self, connection: Connection) -> bool:
        """Read the catalogue if it changed; return whether it did."""
        if self._state is not None and read_version(connection) == self._state.version:
            return False
        self._state = read_state(connection)
        self._changed = changed_owners(connection)
        cursor = read_cursor(connection)
        self._records = [(seq, record) for seq, record in self._records if seq > cursor]
        self._seq = max(self._seq, cursor)
        self._tail = Tail(connection, self._segments, self._state)
        self._blocks = []
        self._arrived = []
        self._take(connection, [record for _, record in self._records], self._clock())
        return True

    def _follow(self, connection: Connection, now: int) -> bool:
        """Read new entries of the log; return whether there were any records."""
        rows = connection.execute(
            "SELECT seq, kind, payload FROM log WHERE seq > ? ORDER BY seq", (max(self._seq, read_cursor(connection)),)
        ).fetchall()
        if not rows:
            return False
        records = [(seq, record) for seq, kind, payload in rows if (record := decode_record(kind, payload)) is not None]
        self._records += records
        self._seq = rows[-1][0]
        self._take(connection, [record for _, record in records], now)
        return bool(records)

    def _take(self, connection: Connection, records: list[Record], now: int) -> None:
        assert self._tail is not None
        self._arrived += self._tail.take(connection, records, now)

    def _generation_for(self, state: State) -> _Generation:
        files = (state.actors, *(segment.file for segment in state.months))
        if self._generation is None or self._generation.files != files:
            actors, vocabularies = Actors(self._segments, state.actors), Vocabularies()
            keeps = self._keeps_columns(state)
            directory = generation_directory(self._segments.directory, state.actors) if keeps else None
            disk = DiskColumns(directory, self._cache_bytes)
            base = Base(self._segments, state, actors, vocabularies, self._cache_bytes, disk)
            self._generation = _Generation(files, actors, vocabularies, base)
            self._sealed = None
        return self._generation

    def _build(self) -> Frame:
        state, tail = self._state, self._tail
        assert state is not None
        assert tail is not None
        generation = self._generation_for(state)
        actors = generation.actors
        if self._arrived:
            if len(self._blocks) >= _MAX_BLOCKS:
                self._arrived, self._blocks = tail.surviving(), []
            self._blocks.append(Block(table_of(self._arrived), actors, generation.vocabularies))
            self._arrived = []
        sealed = self._seal(state, generation)
        changed = {**sealed.changed, **tail.identities.changed}
        owners = actors.all_owners(changed)
        gone = gone_until(actors, tail.identities, len(owners)) if state.erased or tail.identities.erasures else None
        touched = _touched(actors, tail.identities.changed, sealed.owners, owners)
        if gone is not None and tail.identities.erasures:
            erased = np.flatnonzero(gone > ALWAYS)
            touched = np.concatenate([touched, owners[erased], *_old(sealed.owners, erased)])
        blocks = [(block, np.arange(len(block))) for block in self._blocks]
        tables = overlay(sealed.tables, blocks, owners, touched, gone) if blocks or len(touched) else sealed.tables
        return Frame(
            version=state.version,
            tables=tables,
            compacted=1,
            actors=actors,
            owners=owners,
            gone_until=gone,
            horizon=state.horizon,
            vocabularies=generation.vocabularies,
            changed_traits=tail.identities.changed_traits,
        )

    def _seal(self, state: State, generation: _Generation) -> _Sealed:
        """Return all segments combined, extending the previous result if it is still valid."""
        actors, base = generation.actors, generation.base
        recent = tuple(segment.file for segment in state.recent)
        before = self._sealed
        if (
            before is None
            or before.erased != state.erased
            or before.recent != recent[: len(before.recent)]
            or len(before.tables) > _MAX_TABLES
        ):
            before = _Sealed((), state.erased, {}, actors.owners, [Table(base, base.who, base.time)])
        elif before.recent == recent and before.changed == self._changed:
            return before
        blocks = [
            Block(self._segments.read(file), actors, generation.vocabularies) for file in recent[len(before.recent) :]
        ]
        owners = actors.all_owners(self._changed)
        differing = {
            anon_id: owner
            for anon_id, owner in self._changed.items()
            if anon_id not in before.changed or before.changed[anon_id] != owner
        }
        touched = _touched(actors, differing, before.owners, owners)
        gone: Int64s | None = None
        if state.erased:
            assert self._tail is not None
            gone = gone_until(actors, self._tail.identities, len(owners))
            erased = np.flatnonzero(gone > ALWAYS)
            touched = np.concatenate([touched, owners[erased], *_old(before.owners, erased)])
        rows = [(block, np.arange(len(block))) for block in blocks]
        tables = overlay(before.tables, rows, owners, touched, gone)
        self._sealed = _Sealed(recent, state.erased, self._changed, owners, tables)
        return self._sealed


def _old(owners: Int32s, actors: NDArray[Any]) -> list[Int32s]:
    """Return the previous owners of *actors*, those that are among *owners*."""
    return [owners[actors[actors < len(owners)]]]


def _touched(actors: Actors, changed: dict[str, str | None], before: Int32s, after: Int32s) -> Int32s:
    """Return the numbers of all who lose or gain events because owners *changed*."""
    numbers = actors.numbers([ANON] * len(changed), list(changed))
    return np.concatenate([numbers, after[numbers], *_old(before, numbers)])


def gone_until(actors: Actors, identities: Identities, count: int) -> Int64s:
    """Return for each number the time up to which its events are erased."""
    gone = np.full(count, ALWAYS, np.int64)
    for user_id, until in identities.erased_users.items():
        number = actors.find(USER, user_id)
        if number is not None and number < count:
            gone[number] = until
    for anon_id in identities.erased_anons:
        number = actors.find(actor_kind(None, anon_id), anon_id)
        if number is not None and number < count:
            gone[number] = identities.gone_until(None, anon_id)
    return gone
