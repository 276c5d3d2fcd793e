"""The thread that serves one collector."""

import logging
import sqlite3
import threading
import time
from typing import Protocol

logger = logging.getLogger("analytics_middleware.delivery")

_POLL = 0.2
"""Seconds between looks at a log that other processes also write."""
_AFTER_ERROR = 1.0


class Feed(Protocol):
    """A consumer of the log that works step by step."""

    @property
    def name(self) -> str:
        """The name of the consumer."""
        ...

    @property
    def answers_from_log(self) -> bool:
        """Whether questions include events that are in the log but not yet consumed from it."""
        ...

    def step(self, *, hurry: bool = False) -> float | None:
        """Do what is due; return the seconds until there may be more, None if only a new entry can tell."""
        ...

    def close(self) -> None:
        """Finish; called in the thread that calls `step`."""
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
        """Start the thread. Raises `RuntimeError` if no thread can be started."""
        self._thread.start()

    def wake(self) -> None:
        """Signal new entries in the log."""
        self._wake.set()

    def hurry(self, seconds: float) -> None:
        """For *seconds*, send batches at once even if they are not full."""
        self._hurry_until = time.monotonic() + seconds
        self._wake.set()

    def stop(self) -> None:
        """Ask the thread to end after the batch it is sending."""
        self._stopping = True
        self._wake.set()

    def abandon(self) -> None:
        """In a forked child: make the parent's thread stop if it continues here, as a greenlet does."""
        self._abandoned = True

    def join(self, timeout: float) -> bool:
        """Wait at most *timeout* seconds for the thread; return whether it ended."""
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
                # The log failed, for example because the disk is full. All collectors depend on it: try again.
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
        except Exception as error:  # noqa: BLE001 - the thread ends after this
            self._log(logging.DEBUG if failing else logging.WARNING, "closing %s failed", error)

    def _log(self, level: int, what: str, error: Exception) -> None:
        # Errors of the disk take one line; anything else may be a bug and gets its traceback.
        traceback = None if isinstance(error, (OSError, sqlite3.Error)) else error
        text = f"analytics: {what}: %s: %s"
        logger.log(level, text, self.consumer.name, type(error).__name__, error, exc_info=traceback)
