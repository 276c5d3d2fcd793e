"""Files of events that a process could not write into the database: before it had to end, or while a worker is frozen.

Writing a new file needs no lock, which another process may be holding. The first process that can write to the database
adds the events to the log.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from analytics_middleware.counters import logger
from analytics_middleware.ids import uuid7
from analytics_middleware.outbox.base import Draft

_NAME: Final = "leftovers-{}.msgpack"
_MOST_FILES: Final = 100
"""Limits the files, since every process that ends without writing leaves one with up to `queue_size` events."""


class _Leftovers(msgspec.Struct):
    group: str
    """Identifies the file's events in the log, so that reading the file twice adds them once."""
    drafts: list[Draft]
    counts: dict[str, int]


_decode = msgspec.msgpack.Decoder(_Leftovers).decode
_UNFIT = (PermissionError, ValueError, OverflowError, msgspec.MsgspecError, sqlite3.IntegrityError)
"""Exceptions caused by the file itself, which would occur again."""


def leave(directory: Path, drafts: Sequence[Draft], counts: Mapping[str, int], group: str | None = None) -> Path:
    """Write *drafts* and *counts* to a new file in *directory*; return its path. Raises `OSError` if that fails.

    *group* is the id of a group that another process may write as well.
    """
    if len(left_in(directory)) >= _MOST_FILES:
        raise OSError(f"{_MOST_FILES} files of events that nobody could write wait in {directory}")
    group = group or uuid7()
    path = directory / _NAME.format(group)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            # The lock keeps others from reading an incomplete file. A process that is killed meanwhile loses it.
            fcntl.flock(file, fcntl.LOCK_EX)
            file.write(msgspec.msgpack.encode(_Leftovers(group, list(drafts), dict(counts))))
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
    listing = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(listing)
    finally:
        os.close(listing)
    return path


def left_in(directory: Path) -> list[Path]:
    """Return the files that processes have left in *directory*, oldest first."""
    return sorted(directory.glob(_NAME.format("*")))


def take_in(directory: Path, append: Callable[[str, Sequence[Draft], Mapping[str, int]], object]) -> None:
    """Pass the contents of each file in *directory* to *append*, as a group, and delete the file.

    Call it in one process at a time; *append* must ignore a group that was written before. A damaged or unreadable
    file is renamed and logged. Raises `OSError`, and what *append* raises.
    """
    if not os.access(directory, os.W_OK):
        # A file that can't be deleted would be read again and again.
        return
    for path in left_in(directory):
        try:
            left = _read(path)
            if left is None:
                continue
            append(left.group, left.drafts, left.counts)
        except _UNFIT as error:
            aside = path.rename(f"{path}.damaged")
            why = f"{type(error).__name__}: {error}"
            logger.error("analytics: a file of events can't be taken into the log and is now %s (%s)", aside, why)
        else:
            path.unlink()
            logger.info("analytics: took the %d records that a process left in %s into the log", len(left.drafts), path)


def _read(path: Path) -> _Leftovers | None:
    """Return the contents of the file, None while it is being written."""
    if not path.is_file():
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        data = file.read()
    # Empty: just created.
    return _decode(data) if data else None
