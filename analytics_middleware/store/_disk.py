"""Columns on disk: one process computes the columns of large months, later ones map them into memory.

They are copies: a column that is missing, outdated or damaged is computed again from the segments. All belong to one
generation of compacted segments and are deleted with it. Processes that map the same file share its memory.
"""

import os
import shutil
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import IO, Any, Final, NamedTuple

import msgspec

from analytics_middleware.counters import logger
from analytics_middleware.ids import uuid7
from analytics_middleware.store._arrays import NDArray, np

_MAX_VALUES: Final = 100_000
"""A field with more distinct values is not kept on disk."""

_PART: Final = ".part"

_to_json = msgspec.json.Encoder().encode


class Stored(NamedTuple):
    """A column; for a column of codes, also the values in the order of their codes, which start at 1."""

    column: NDArray[Any]
    values: Sequence[Any] | None


class DiskColumns:
    """The columns of one generation in *directory*, at most *limit* bytes in all; None keeps nothing."""

    def __init__(self, directory: Path | None, limit: int = 0) -> None:
        self._directory = directory
        self._limit = limit
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: SimpleQueue[tuple[str, Stored]] = SimpleQueue()

    def get(self, name: str) -> Stored | None:
        """Return the column called *name*, or None if it is missing or incomplete."""
        if self._directory is None:
            return None
        path = self._directory / _file_name(name)
        try:
            column: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False).view(np.ndarray)
            return Stored(column, msgspec.json.decode(path.with_suffix(".json").read_bytes()))
        except (OSError, ValueError, EOFError):
            # msgspec's errors are ValueErrors too.
            return None

    def put(self, name: str, stored: Stored) -> None:
        """Write a column in a background thread."""
        if self._directory is None or len(stored.values or ()) > _MAX_VALUES:
            return
        self._waiting.put((name, stored))
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_all, args=(self._directory,), name="analytics-columns", daemon=True
                )
                self._thread.start()

    def close(self) -> None:
        """Finish the column being written and drop the rest."""
        self._directory = None
        self.wait()

    def wait(self) -> None:
        """Wait until the columns put so far are written."""
        with self._lock:
            thread = self._thread
        if thread is not None:
            thread.join()

    def _write_all(self, directory: Path) -> None:
        while True:
            try:
                name, stored = self._waiting.get_nowait()
            except Empty:
                with self._lock:
                    if self._waiting.empty():
                        self._thread = None
                        return
                continue
            if self._directory is None:
                continue
            try:
                self._write(directory, name, stored)
            except OSError as error:
                # A full disk, or the generation was deleted meanwhile: no harm, this is only a copy.
                logger.info("analytics: a column was not kept on disk: %s", error)

    def _write(self, directory: Path, name: str, stored: Stored) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sum(path.stat().st_size for path in directory.iterdir()) + stored.column.nbytes > self._limit:
            return
        path = directory / _file_name(name)
        # The values first: a column that exists must have its values.
        with _whole(path.with_suffix(".json")) as file:
            file.write(_to_json(stored.values))
        with _whole(path) as file:
            np.save(file, stored.column, allow_pickle=False)


def generation_directory(segments: Path, actors: str | None) -> Path:
    """Return the directory for columns of the segments compacted together with the file *actors*."""
    return segments.parent / "columns" / Path(actors or "none").stem


def remove_others(directory: Path, before: float) -> None:
    """Delete the columns of all generations except *directory*, and unfinished files in it from *before* that time."""
    if directory.parent.exists():
        for other in directory.parent.iterdir():
            if other != directory:
                shutil.rmtree(other, ignore_errors=True)
    for path in directory.glob(f"*{_PART}"):
        if path.stat().st_mtime < before:
            path.unlink(missing_ok=True)


def _file_name(name: str) -> str:
    # Hashed: strangers choose the names of properties.
    return f"{blake2b(name.encode('utf-8', 'surrogatepass'), digest_size=12).hexdigest()}.npy"


@contextmanager
def _whole(path: Path) -> Generator[IO[bytes]]:
    """Write a file completely or not at all, even if the process or machine crashes."""
    temporary = path.with_name(f"{uuid7()}{_PART}")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
