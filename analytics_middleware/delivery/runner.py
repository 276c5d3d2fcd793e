"""The thread that serves one collector."""

import logging
import sqlite3
import threading
import time
from typing import Protocol

logger = logging.getLogger("analytics_middleware.delivery")

_POLL = 0.2
"""Seconds between looks at a log that other processes write too."""
_AFTER_ERROR = 1.0


class Feed(Protocol):
    """Something that is served from the log, step by step."""

    @property
    def name(self) -> str:
        """Its name as a consumer."""
        ...

    @property
    def answers_from_log(self) -> bool:
        """Whether questions see an event that is in the log already, before this has taken it from there."""
        ...

    def step(self, *, hurry: bool = False) -> float | None:
        """Do what is to be done now; return the seconds until there may be more, None if only a new entry can tell."""
        ...

    def close(self) -> None:
        """End, in the same thread."""
        ...


class Runner:
    """Runs a `Feed` in a daemon thread until told to stop."""

    def __init__(self, consumer: Feed, *, poll: bool) -> None:
        self.consumer = consumer
        self._poll = _POLL if poll else None
        self._wake = threading.Event()
        self._stopping = False
        self._abandoned = False
        self._hurry_until = 0.0
        self._thread = threading.Thread(target=self._run, name=f"analytics-{consumer.name}", daemon=True)

    def start(self) -> None:
        """Start the thread. Raises `RuntimeError` where none can be started any more."""
        self._thread.start()

    def wake(self) -> None:
        """Say that there is something new in the log."""
        self._wake.set()

    def hurry(self, seconds: float) -> None:
        """For some *seconds* send batches that are not full yet at once."""
        self._hurry_until = time.monotonic() + seconds
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end after the batch it is sending."""
        self._stopping = True
        self._wake.set()

    def abandon(self) -> None:
        """In a forked child: have the parent's thread do nothing here, if it goes on at all (a greenlet does)."""
        self._abandoned = True

    def join(self, timeout: float) -> bool:
        """Wait for the thread's end for at most *timeout* seconds; return whether it ended."""
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        failing = False
        while not self._stopping:
            self._wake.clear()
            if self._abandoned:
                return
            try:
                pause = self.consumer.step(hurry=time.monotonic() < self._hurry_until)
            except Exception as error:  # noqa: BLE001 - whatever it is, delivery goes on
                # The log itself failed (disk full, say). It is the only thing all collectors need: try again.
                self._log(logging.DEBUG if failing else logging.WARNING, "delivery to %s failed", error)
                failing = True
                pause = _AFTER_ERROR
            else:
                failing = False
            if pause is None:
                pause = self._poll
            elif self._poll is not None:
                pause = min(pause, self._poll) if pause > 0 else 0.0
            if pause != 0.0 and not self._stopping:
                self._wake.wait(pause)
        try:
            self.consumer.close()
        except Exception as error:  # noqa: BLE001 - the last thing that this thread does
            self._log(logging.DEBUG if failing else logging.WARNING, "closing %s failed", error)

    def _log(self, level: int, what: str, error: Exception) -> None:
        # The disk's troubles are told in a line; only what may be a bug needs its traceback.
        traceback = None if isinstance(error, (OSError, sqlite3.Error)) else error
        text = f"analytics: {what}: %s: %s"
        logger.log(level, text, self.consumer.name, type(error).__name__, error, exc_info=traceback)
