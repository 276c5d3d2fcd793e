"""The lock file by which at most one process of a host writes to the database at a time."""

import fcntl
import math
import os
import time
from pathlib import Path
from typing import Final

LAST_TRY: Final = 0.01
"""Seconds that a process which must end still waits: more than processes normally need for a transaction."""
_FILE: Final = "analytics.lock"
_TIMEOUT: Final = 5.0
_POLL: Final = 0.001


class FileLock:
    """A lock on a file in *directory*, for one thread of the process at a time. The file is opened on first use."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._fd: int | None = None
        self.give_up_at = math.inf
        """When to stop waiting at the latest, in `time.monotonic` seconds; it may be set while a thread waits."""

    def acquire(self) -> None:
        """Wait for the lock and take it. Raises `OSError` if it can't be had."""
        fd = self._open()
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # Read the limit again each time, because it may be set while waiting.
                if (now := time.monotonic()) > min(began + _TIMEOUT, max(self.give_up_at, began + LAST_TRY)):
                    waited = f"{now - began:.1g} s"
                    raise TimeoutError(f"another process has held the database's lock for {waited}") from None
                time.sleep(_POLL)
            else:
                return

    def release(self) -> None:
        """Give the lock back. Never raises, since a transaction that is committed must not look failed."""
        if self._fd is not None:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
            except OSError:
                # Closing the file unlocks it, too.
                self.close()

    def close(self) -> None:
        """Close the file. In a forked child this leaves the parent its lock, which a copy would keep after its end."""
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)

    def _open(self) -> int:
        if self._fd is not None and not os.fstat(self._fd).st_nlink and self._directory.exists():
            # Somebody removed it; other processes lock the new file.
            self.close()
        if self._fd is None:
            self._fd = os.open(self._directory / _FILE, os.O_RDWR | os.O_CREAT, 0o600)
        return self._fd
