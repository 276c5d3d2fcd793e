"""Events that a process could not write into the database before it had to end: it leaves a file of them.

A file of its own needs no lock, which somebody else may hold. The first process that can write to the database takes
the events in.
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
"""While nobody can write to the database, every process that ends leaves one with up to `queue_size` events."""


class _Leftovers(msgspec.Struct):
    group: str
    """Says, should the file be found twice, whether it is in the log already."""
    drafts: list[Draft]
    counts: dict[str, int]


_decode = msgspec.msgpack.Decoder(_Leftovers).decode
_UNFIT = (PermissionError, ValueError, OverflowError, msgspec.MsgspecError, sqlite3.IntegrityError)
"""What is raised when the fault is the file's, so that it would be the same the next time."""


def leave(directory: Path, drafts: Sequence[Draft], counts: Mapping[str, int]) -> Path:
    """Write *drafts* and *counts* to a new file in *directory* and return its path. Raises `OSError` if that fails."""
    if len(left_in(directory)) >= _MOST_FILES:
        raise OSError(f"{_MOST_FILES} files of events that nobody could write wait in {directory}")
    group = uuid7()
    path = directory / _NAME.format(group)
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            # Nobody reads it before it is complete; a process that is killed meanwhile gives the lock up.
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
    """Return the files that processes have left in *directory*, in the order in which they did."""
    return sorted(directory.glob(_NAME.format("*")))


def take_in(directory: Path, append: Callable[[str, Sequence[Draft], Mapping[str, int]], object]) -> None:
    """Give *append* what processes have left in *directory*, each as a group, and remove it.

    To be called by one process at a time, which has *append* write a group that was written already no second time.
    A file that is damaged, or somebody else's, is renamed and logged. Raises what *append* raises, and `OSError`.
    """
    if not os.access(directory, os.W_OK):
        # What can't be removed would be taken in again and again.
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
            logger.info("analytics: what an ended process left in %s is in the log (%d)", path, len(left.drafts))


def _read(path: Path) -> _Leftovers | None:
    """Return what is in the file; None while it is being written."""
    if not path.is_file():
        raise ValueError("not a regular file")
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        data = file.read()
    # An empty one has just been made.
    return _decode(data) if data else None
