"""The catalogue of segments, in the data directory's SQLite database. All changes are single transactions."""

from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from analytics_middleware.outbox.base import STORE
from analytics_middleware.outbox.counting import last_seq


class Segment(NamedTuple):
    """An immutable file of events: recent ones in order of arrival, or one month's after compaction."""

    file: str
    month: str | None
    """For example ``2025-03``; None for recent events."""
    tier: int
    """How many times recent events were merged into larger files."""
    rows: int
    bytes: int
    min_time: int
    max_time: int


class State(NamedTuple):
    """The contents of the catalogue at one point."""

    version: int
    """Increases with every change."""
    actors: str | None
    """The file of all ids in compacted segments."""
    horizon: int
    """Events before this time have exceeded their retention."""
    erased: int
    """The version of the last erasure, 0 when no file contains erased events any more."""
    segments: tuple[Segment, ...]

    @property
    def recent(self) -> tuple[Segment, ...]:
        """The segments that are not compacted, in order of arrival."""
        return tuple(segment for segment in self.segments if segment.month is None)

    @property
    def months(self) -> tuple[Segment, ...]:
        """The compacted segments, in order of time."""
        compacted = (segment for segment in self.segments if segment.month is not None)
        return tuple(sorted(compacted, key=lambda segment: segment.month or ""))


class Conflict(Exception):  # noqa: N818 - not an error: another process was quicker, try again
    """The catalogue changed since the caller read it."""


def read_version(connection: Connection) -> int:
    """Return the catalogue's version."""
    (version,) = connection.execute("SELECT value FROM store_state WHERE key = 'version'").fetchone()
    return int(version)


def read_state(connection: Connection) -> State:
    """Return the current contents of the catalogue."""
    state = dict(connection.execute("SELECT key, value FROM store_state").fetchall())
    segments = connection.execute(
        "SELECT file, month, tier, rows, bytes, min_time, max_time FROM store_segment ORDER BY id"
    ).fetchall()
    return State(
        version=state["version"],
        actors=state["actors"],
        horizon=state["horizon"],
        erased=state["erased"],
        segments=tuple(Segment(*row) for row in segments),
    )


def read_cursor(connection: Connection) -> int:
    """Return the last sealed sequence number of the log; for a store not registered yet, the log's last one."""
    row = connection.execute("SELECT cursor FROM consumer WHERE name = ?", (STORE,)).fetchone()
    return last_seq(connection) if row is None else int(row[0])


def advance(connection: Connection, expected: int) -> int:
    """Increment the catalogue's version and return it; raise `Conflict` unless it is *expected* now."""
    version = read_version(connection)
    if version != expected:
        raise Conflict(f"catalogue version {version}, not {expected}")
    set_state(connection, "version", version + 1)
    return version + 1


def set_state(connection: Connection, key: str, value: str | int) -> None:
    """Set one value of the catalogue's state."""
    connection.execute("UPDATE store_state SET value = ? WHERE key = ?", (value, key))


def add_segments(connection: Connection, segments: Iterable[Segment]) -> None:
    """Add *segments*, whose files are complete."""
    connection.executemany(
        "INSERT INTO store_segment (file, month, tier, rows, bytes, min_time, max_time) VALUES (?, ?, ?, ?, ?, ?, ?)",
        segments,
    )


def discard(connection: Connection, files: Iterable[str], now: float) -> None:
    """Remove *files* from the catalogue. They stay on disk for processes that are still reading them."""
    for file in files:
        connection.execute("DELETE FROM store_segment WHERE file = ?", (file,))
        connection.execute("INSERT OR IGNORE INTO store_garbage (file, since) VALUES (?, ?)", (file, now))


def read_garbage(connection: Connection, before: float) -> list[str]:
    """Return the files discarded at or before *before*."""
    rows = connection.execute("SELECT file FROM store_garbage WHERE since <= ?", (before,)).fetchall()
    return [file for (file,) in rows]


def known_files(connection: Connection) -> set[str]:
    """Return every file in the catalogue, including discarded ones."""
    found = {file for (file,) in connection.execute("SELECT file FROM store_segment")}
    found |= {file for (file,) in connection.execute("SELECT file FROM store_garbage")}
    actors = read_state(connection).actors
    return found | ({actors} if actors else set())


def changed_owners(connection: Connection) -> dict[str, str | None]:
    """Return the owners of all anonymous ids whose owner changed since the compacted segments were written."""
    owners: dict[str, tuple[tuple[int, str, str], str]] = {}
    found: dict[str, str | None] = {}
    for anon_id, user_id, at, event_id in connection.execute(
        "SELECT c.anon_id, t.user_id, t.at, t.event_id FROM store_changed c LEFT JOIN store_tie t USING (anon_id)"
    ):
        if user_id is None:
            found[anon_id] = None
            continue
        claim = ((at, event_id, user_id), user_id)
        owners[anon_id] = min(owners.get(anon_id, claim), claim)
    return found | {anon_id: user_id for anon_id, (_, user_id) in owners.items()}


def segment_directory(data_dir: Path) -> Path:
    """Return the directory of the files in *data_dir*."""
    return data_dir / "segments"
