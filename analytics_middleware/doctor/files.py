"""The data directory, the database in it, the disk and the clock."""

import os
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from analytics_middleware.doctor import Finding
from analytics_middleware.errors import AnalyticsError, ConfigurationError
from analytics_middleware.outbox.database import FILE, FIXED_IN, Database
from analytics_middleware.outbox.file_system import file_system, refuse_network_file_system

_FIRST_WAL: Final = (3, 7, 0)
_EPHEMERAL = frozenset(["tmpfs", "ramfs", "overlay", "aufs"])
_LITTLE = 64 * 1024 * 1024
_CHECKED_UP_TO = 64 * 1024 * 1024
"""Bytes up to which a database's structure is checked: more would take long, and reading holds up checkpoints."""
_RELEASED = 1_735_689_600
"""2025-01-01, in seconds since the epoch. A clock that shows an earlier time is wrong."""
_AHEAD = 60.0


def examine_files(directory: Path, max_bytes: int) -> Generator[Finding]:
    """Look at *directory*, which may grow to *max_bytes*."""
    yield from _directory(directory)
    yield from _disk(directory, max_bytes)
    if (directory / FILE).is_file():
        yield from _database(Database(directory))
    else:
        yield Finding("ok", "database", "there is none yet; the first event creates it")
    yield from _clock(directory)


def _directory(directory: Path) -> Generator[Finding]:
    kind = file_system(directory)
    try:
        refuse_network_file_system(directory)
    except ConfigurationError as error:
        yield Finding("problem", "file system", str(error), "use a disk of this host, or one data directory per host")
    else:
        if kind in _EPHEMERAL:
            text = f"{directory} is on {kind}, which is gone with the container or the boot"
            yield Finding("warning", "file system", text, "mount a volume there")
        else:
            yield Finding("ok", "file system", f"{directory} is on {kind or 'a kind that the system does not tell'}")
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".doctor-"):
            pass
    except OSError as error:
        text = f"{place} can't be written by the user {os.geteuid()}: {error.strerror}"
        advice = "events wait in memory meanwhile, bounded; make it writable for the user of the web processes"
        yield Finding("problem", "directory", text, advice)
    else:
        yield Finding("ok", "directory", f"{directory} {'is writable' if place == directory else 'can be made'}")
    database = directory / FILE
    if database.is_file() and database.stat().st_uid != os.geteuid():
        text = f"the database belongs to the user {database.stat().st_uid}, this is {os.geteuid()}"
        yield Finding("warning", "directory", text, "run commands as the user of the web processes")


def _disk(directory: Path, max_bytes: int) -> Generator[Finding]:
    place = directory
    while not place.exists() and place != place.parent:
        place = place.parent
    free = shutil.disk_usage(place).free
    text = f"{free / 1e9:.1f} GB free"
    if free < _LITTLE:
        yield Finding("problem", "disk", text, "events wait in memory when the disk is full, bounded")
    elif free < max_bytes:
        advice = f"a collector that is down may take up to max_bytes ({max_bytes / 1e9:.1f} GB): lower it, or make room"
        yield Finding("warning", "disk", text, advice)
    else:
        yield Finding("ok", "disk", text)


def _database(database: Database) -> Generator[Finding]:
    version = sqlite3.sqlite_version_info
    try:
        with database.write(durable=False) as connection:
            pragmas = [
                connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "wal_autocheckpoint")
            ]
        broken = None
        if database.path.stat().st_size <= _CHECKED_UP_TO:
            with database.read() as connection:
                (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            broken = None if result == "ok" else result
    except (sqlite3.Error, OSError, AnalyticsError) as error:
        yield Finding("problem", "database", f"{database.path} can't be used: {error}")
        return
    finally:
        database.close()
    if broken is not None:
        advice = (
            "stop the web processes and recover it (sqlite3 OLD .recover | sqlite3 NEW): "
            "what was not delivered and the list of the store's files are in it"
        )
        yield Finding("problem", "database", f"{database.path} is damaged: {broken}", advice)
    if pragmas != ["wal", 0]:
        yield Finding("problem", "database", f"journal mode and automatic checkpoints are {pragmas}, not ['wal', 0]")
    elif _FIRST_WAL <= version < FIXED_IN:
        text = (
            f"SQLite {sqlite3.sqlite_version} has the WAL-reset bug (fixed in 3.51.3); it can't occur here: "
            "no automatic checkpoints, and one lock around every write, checkpoint, opening and closing"
        )
        yield Finding("ok", "database", text, "don't write to the file with other programs")
    else:
        yield Finding("ok", "database", f"SQLite {sqlite3.sqlite_version}; it can be read and written")


def _clock(directory: Path) -> Generator[Finding]:
    now = time.time()
    newest = _newest(directory) if (directory / FILE).is_file() else None
    if now < _RELEASED:
        yield Finding("problem", "clock", f"it shows {time.strftime('%Y-%m-%d', time.gmtime(now))}", "set it")
    elif newest is not None and newest > now + _AHEAD:
        text = (
            f"the log has an event {newest - now:.0f} s in the future: this clock, or the one that wrote it, is wrong"
        )
        yield Finding("warning", "clock", text, "keep it by NTP; delivery itself survives jumps")
    else:
        yield Finding("ok", "clock", f"it shows {time.strftime('%Y-%m-%d %H:%M:%SZ', time.gmtime(now))}")


def _newest(directory: Path) -> float | None:
    database = Database(directory)
    try:
        with database.read() as connection:
            (newest,) = connection.execute("SELECT max(timestamp) FROM log").fetchone()
    except (sqlite3.Error, OSError, AnalyticsError):
        return None
    finally:
        database.close()
    return None if newest is None else float(newest)
