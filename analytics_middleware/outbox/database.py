"""The SQLite file in the data directory: opening, locking, writing, and surviving forks.

SQLite 3.7.0 to 3.51.2 can corrupt a database in WAL mode if two connections write or checkpoint at the same instant
(https://sqlite.org/wal.html, "WAL-reset bug"). Python is linked with such versions. So automatic checkpoints are off,
and every write transaction, checkpoint, opening and closing happens under one lock shared by all processes.
"""

import math
import os
import sqlite3
import threading
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Final

from analytics_middleware import lifecycle
from analytics_middleware.counters import logger
from analytics_middleware.outbox.lock import LAST_TRY, FileLock
from analytics_middleware.outbox.schema import migrate

FILE: Final = "analytics.sqlite3"
FIXED_IN: Final = (3, 51, 3)
_BUSY_TIMEOUT = 0.5
"""Seconds that a checkpoint waits for readers, which are quick; writers wait at our own lock."""
_WAL_LIMIT = 4 * 1024 * 1024
"""Size of the write-ahead log, in bytes, that triggers a checkpoint."""
_PAGE_SIZE = 8192
"""In bytes. An event has about 500; larger pages would make writing a small group more expensive."""
_FORK_TIMEOUT = 1.0
"""Seconds that a fork waits for transactions of this process, and these for other processes, to end."""
_inherited: list[sqlite3.Connection] = []
"""Connections of a parent process. They are kept open, because closing them could checkpoint its database."""


class Database:
    """One SQLite file, shared by all threads and processes of a host. Opened on first use."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / FILE
        self._log_path = directory / f"{FILE}-wal"
        self._forget()
        lifecycle.guard_forks(self)

    def _forget(self) -> None:
        self._forking: dict[int, list[threading.RLock]] = {}
        self._wal_limit = _WAL_LIMIT
        self._write_mutex = threading.RLock()
        self._read_mutex = threading.RLock()
        self._writer: sqlite3.Connection | None = None
        self._quick: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._lock = FileLock(self.directory)
        self._in_write = False
        self._identity: tuple[int, int] | None = None
        self._log_inode = 0

    @contextmanager
    def write(self, *, durable: bool = True) -> Generator[sqlite3.Connection]:
        """A write transaction, committed at the end, rolled back if the block raises.

        If not *durable*, it doesn't wait for the disk, and a power cut may undo it.
        Raises `sqlite3.Error` or `OSError` if the database can't be locked or written.
        """
        with self._alone():
            connection = self._durable_writer() if durable else self._quick_writer()
            with self.locked():
                size = self._check_log()
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    if connection.in_transaction:
                        # It fails if the disk does, and SQLite has rolled back by then.
                        with suppress(sqlite3.Error):
                            connection.execute("ROLLBACK")
                    raise
                self._checkpoint_if_long(connection, size)

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        """A read transaction: the whole block sees the same state. Keep it short, because it blocks checkpoints."""
        with self._read_mutex:
            if self._reader is None:
                self._reader = self._open("FULL")
            connection = self._reader
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    connection.execute("COMMIT")

    def _durable_writer(self) -> sqlite3.Connection:
        if self._writer is None:
            self._writer = self._open("FULL")
        return self._writer

    def _quick_writer(self) -> sqlite3.Connection:
        if self._quick is None:
            self._quick = self._open("NORMAL")
        return self._quick

    def truncate(self) -> bool:
        """Write the write-ahead log back and empty it, so that no deleted data remains; return whether that worked."""
        with self._alone():
            writer = self._durable_writer()
            with self.locked():
                self._check_log()
                busy, _, _ = writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy

    def misplaced(self) -> bool:
        """Whether the open file is not the one in the directory, because somebody removed or replaced it."""
        identity = self._identity
        if identity is None:
            return False
        try:
            return _identity(self.path) != identity
        except FileNotFoundError:
            return True

    def recover_log(self) -> None:
        """If somebody removed the write-ahead log, put back what it holds and begin a new one.

        Until then nothing can be written. Raises `sqlite3.Error` or `OSError`.
        """
        if self._log_size() is not None:
            return
        # In the same order as a reader that opens its connection, to avoid a deadlock.
        with self._held(self._read_mutex), self._alone(), self.locked():
            busy = 0
            if not self._log_path.exists():
                # All processes still use the removed one, because a new one is begun under the lock.
                busy, _, _ = self._connections()[0].execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            if not busy:
                self._disconnect()
                logger.error("analytics: %s was removed while in use", self._log_path)

    def _log_size(self) -> int | None:
        """Return the size of the write-ahead log, or None if it is not the one that the connections use."""
        try:
            status = os.stat(self._log_path)  # noqa: PTH116 - on the writer's path, half the cost
        except FileNotFoundError:
            status = None
        if status is not None and status.st_ino == self._log_inode:
            return status.st_size
        # With the whole database gone, what is in it is counted as lost.
        return 0 if not self._connections() or self.misplaced() else None

    def _check_log(self) -> int:
        size = self._log_size()
        if size is None:
            raise FileNotFoundError(f"{self._log_path} was removed or replaced while in use")
        return size

    def before_fork(self) -> None:
        """Close the connections and keep all threads out of SQLite until the fork is over.

        A child that inherits a connection can't open the file safely: it inherits SQLite's notes of this process's
        locks but not the locks, so another process would delete the write-ahead log that the child writes to.
        """
        limit = self._lock.give_up_at
        self._lock.give_up_at = min(limit, time.monotonic() + _FORK_TIMEOUT)
        # In the same order as a reader that opens its connection, to avoid a deadlock.
        mutexes = (self._read_mutex, self._write_mutex)
        held = [mutex for mutex in mutexes if mutex.acquire(timeout=2 * _FORK_TIMEOUT)]
        self._forking[threading.get_ident()] = held
        # A connection may be closed already: Python closes those of a database that nobody uses any more.
        with suppress(sqlite3.Error):
            if len(held) == 2 and not any(each.in_transaction for each in self._connections()):
                try:
                    self._close_connections()
                except OSError:
                    # The process that holds the lock uses the database, so none of these is its last connection, and
                    # closing them checkpoints nothing.
                    self._disconnect()
        self._lock.give_up_at = limit

    def after_fork_in_parent(self) -> None:
        """Let the threads continue; connections are opened again when needed."""
        for mutex in reversed(self._forking.pop(threading.get_ident(), [])):
            mutex.release()

    def after_fork(self) -> None:
        """In a forked child: don't use or close the parent's connections, if any are left."""
        _inherited.extend(self._connections())
        self._lock.close()
        self._forget()

    def give_up_at(self, deadline: float) -> None:
        """Let no thread, even if already waiting, wait for others beyond *deadline*, in `time.monotonic` seconds.

        Infinity lifts the limit.
        """
        self._lock.give_up_at = deadline

    def close(self) -> None:
        """Close the connections; closing the last one writes the write-ahead log back.

        Raises `sqlite3.Error` or `OSError` if the lock can't be had; then nothing is closed.
        """
        # In the same order as a reader that opens its connection, to avoid a deadlock.
        with self._held(self._read_mutex), self._alone():
            self._close_connections()
            self._lock.close()
            self._forget()

    def _connections(self) -> list[sqlite3.Connection]:
        return [each for each in (self._reader, self._quick, self._writer) if each is not None]

    def _close_connections(self) -> None:
        if self._connections():
            with self.locked():
                self._disconnect()

    def _disconnect(self) -> None:
        connections = self._connections()
        self._reader = self._quick = self._writer = self._identity = None
        for connection in connections:
            connection.close()

    def _open(self, synchronous: str) -> sqlite3.Connection:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Creates the file with mode 0600, which SQLite copies to its side files. Never open an existing file: closing
        # any descriptor of it drops all POSIX locks of this process. Without the locks of its open connections, the
        # last of the other processes would delete the write-ahead log they use.
        with suppress(FileExistsError):
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        with self.locked():
            self._check_log()
            connection = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=_BUSY_TIMEOUT
            )
            try:
                for pragma in (
                    f"page_size={_PAGE_SIZE}",
                    "journal_mode=WAL",
                    f"synchronous={synchronous}",
                    "wal_autocheckpoint=0",
                    # Overwrite deleted data: addresses and erased users must not remain in free pages.
                    "secure_delete=ON",
                    "foreign_keys=ON",
                    "temp_store=MEMORY",
                ):
                    connection.execute(f"PRAGMA {pragma}")
                migrate(connection)
                identity = _identity(self.path)
                if self._identity not in (None, identity):
                    raise FileNotFoundError(f"{self.path} was replaced while in use")
                self._identity = identity
                self._log_inode = self._log_path.stat().st_ino
            except BaseException:
                connection.close()
                raise
        return connection

    def _alone(self) -> AbstractContextManager[None]:
        return self._held(self._write_mutex)

    @contextmanager
    def _held(self, mutex: threading.RLock) -> Generator[None]:
        deadline = self._lock.give_up_at
        if not mutex.acquire(timeout=-1 if deadline == math.inf else max(LAST_TRY, deadline - time.monotonic())):
            raise TimeoutError("another thread is using the database")
        try:
            yield
        finally:
            mutex.release()

    @contextmanager
    def locked(self) -> Generator[None]:
        """Keep all other threads and processes from writing. Raises `OSError` if the lock can't be had."""
        with self._alone():
            if self._in_write:
                yield
                return
            lock = self._lock
            lock.acquire()
            self._in_write = True
            try:
                yield
            finally:
                self._in_write = False
                lock.release()

    def _checkpoint_if_long(self, connection: sqlite3.Connection, size: int) -> None:
        if size <= self._wal_limit:
            return
        try:
            # A PASSIVE checkpoint lets later writes reuse the WAL file, which halves the cost. Truncate only once the
            # file is twice the limit.
            mode = "PASSIVE" if size < 2 * _WAL_LIMIT else "TRUNCATE"
            busy, frames, written = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            if busy or written < frames:
                # A reader blocked it: wait until the file has grown by the limit again.
                self._wal_limit = size + _WAL_LIMIT
            else:
                self._wal_limit = size if mode == "PASSIVE" else _WAL_LIMIT
        except sqlite3.Error:
            # For example a full disk. The transaction itself is committed, so it must not look failed.
            return


def _identity(path: Path) -> tuple[int, int]:
    """Return what distinguishes a file from others with the same name."""
    status = path.stat()
    return status.st_dev, status.st_ino


def bytes_in_use(connection: sqlite3.Connection) -> int:
    """Return how many bytes of the database are in use."""
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    (size,) = connection.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * size)
