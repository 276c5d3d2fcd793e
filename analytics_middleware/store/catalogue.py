"""The catalogue of segments, in the data directory's one SQLite database; changed in single transactions."""

from collections.abc import Iterable
from pathlib import Path
from sqlite3 import Connection
from typing import NamedTuple

from analytics_middleware.outbox.base import STORE
from analytics_middleware.outbox.counting import last_seq


class Segment(NamedTuple):
    """An immutable file of events: recent ones as they came, or those of one month, compacted."""

    file: str
    month: str | None
    """``2025-03``; None of recent events."""
    tier: int
    """How often recent events were merged into larger files."""
    rows: int
    bytes: int
    min_time: int
    max_time: int


class State(NamedTuple):
    """What the catalogue says at one point."""

    version: int
    """Grows with every change."""
    actors: str | None
    """The file of all ids in compacted segments."""
    horizon: int
    """Events before it are older than they may become."""
    erased: int
    """The version at which something was erased last, 0 when no file holds anything of it any more."""
    segments: tuple[Segment, ...]

    @property
    def recent(self) -> tuple[Segment, ...]:
        """The segments that are not compacted, in the order in which they came."""
        return tuple(segment for segment in self.segments if segment.month is None)

    @property
    def months(self) -> tuple[Segment, ...]:
        """The compacted segments, in order of time."""
        compacted = (segment for segment in self.segments if segment.month is not None)
        return tuple(sorted(compacted, key=lambda segment: segment.month or ""))


class Conflict(Exception):  # noqa: N818 - somebody else was quicker; to be tried again
    """The catalogue changed since what was to be written was worked out."""


def read_version(connection: Connection) -> int:
    """Return the catalogue's version."""
    (version,) = connection.execute("SELECT value FROM store_state WHERE key = 'version'").fetchone()
    return int(version)


def read_state(connection: Connection) -> State:
    """Return what the catalogue says now."""
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
    """Return the last sequence number of the log that is sealed; before the store is registered, the last one."""
    row = connection.execute("SELECT cursor FROM consumer WHERE name = ?", (STORE,)).fetchone()
    return last_seq(connection) if row is None else int(row[0])


def advance(connection: Connection, expected: int) -> int:
    """Make the catalogue's version one greater and return it; raise `Conflict` unless it is *expected* now."""
    version = read_version(connection)
    if version != expected:
        raise Conflict(f"catalogue version {version}, not {expected}")
    set_state(connection, "version", version + 1)
    return version + 1


def set_state(connection: Connection, key: str, value: str | int) -> None:
    """Set one value of the catalogue's state."""
    connection.execute("UPDATE store_state SET value = ? WHERE key = ?", (value, key))


def add_segments(connection: Connection, segments: Iterable[Segment]) -> None:
    """Enter *segments*, whose files are complete."""
    connection.executemany(
        "INSERT INTO store_segment (file, month, tier, rows, bytes, min_time, max_time) VALUES (?, ?, ?, ?, ?, ?, ?)",
        segments,
    )


def discard(connection: Connection, files: Iterable[str], now: float) -> None:
    """Take *files* out; they stay on disk for those who are still reading them."""
    for file in files:
        connection.execute("DELETE FROM store_segment WHERE file = ?", (file,))
        connection.execute("INSERT OR IGNORE INTO store_garbage (file, since) VALUES (?, ?)", (file, now))


def read_garbage(connection: Connection, before: float) -> list[str]:
    """Return the files that were taken out at or before *before*."""
    rows = connection.execute("SELECT file FROM store_garbage WHERE since <= ?", (before,)).fetchall()
    return [file for (file,) in rows]


def known_files(connection: Connection) -> set[str]:
    """Return every file the catalogue knows, discarded ones too."""
    found = {file for (file,) in connection.execute("SELECT file FROM store_segment")}
    found |= {file for (file,) in connection.execute("SELECT file FROM store_garbage")}
    actors = read_state(connection).actors
    return found | ({actors} if actors else set())


def changed_owners(connection: Connection) -> dict[str, str | None]:
    """Return the owners of all anonymous ids whose owner changed since compacted segments were written."""
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
    """Return where in *data_dir* the files are."""
    return data_dir / "segments"
