"""Keeps events in memory while the outbox can't be written, so that a full disk fails no request."""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from analytics_middleware.counters import Counters, logger
from analytics_middleware.errors import AnalyticsError
from analytics_middleware.ids import uuid7
from analytics_middleware.outbox.base import Draft, Outbox

_PAUSE = 0.5
"""Seconds between attempts while the outbox can't be written."""

FAILURES = (sqlite3.Error, OSError, AnalyticsError)
"""Exceptions that writing may raise for reasons other than the data."""


class Spill:
    """Writes to *outbox*; what can't be written waits in memory, at most *limit* records, for the next attempt.

    *consumers* are registered before the first record; the value says whether one reads private data.
    """

    def __init__(
        self,
        outbox: Outbox,
        consumers: Mapping[str, bool],
        counters: Counters,
        limit: int,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._outbox = outbox
        self._consumers = consumers
        self._counters = counters
        self._limit = limit
        self._waiting: deque[Draft] = deque()
        self.writing: str | None = None
        """The group's id while waiting records are being written."""
        self._registered = False
        self._failing = False
        self._monotonic = monotonic
        self._try_at = 0.0

    @property
    def failing(self) -> bool:
        """Whether the last attempt to write to the outbox failed."""
        return self._failing

    @property
    def waiting(self) -> int:
        """The number of events not in the log yet."""
        return sum(draft.kind == "event" for draft in self._waiting)

    def leftover(self) -> list[Draft]:
        """Return all records not in the log yet."""
        return list(self._waiting)

    def write(self, drafts: Iterable[Draft], *, now: bool = False) -> int | None:
        """Write waiting records, then *drafts*; return the log's last sequence number, None if nothing was written.

        After a failure the next attempt is made after a pause, or at once with *now*.
        """
        self._waiting.extend(drafts)
        if self._failing and not now and self._monotonic() < self._try_at:
            self._trim()
            return None
        counts = self._counters.take()
        if not self._waiting and not counts and self._registered:
            return None
        try:
            self.register()
            self.writing = uuid7()
            last = self._outbox.append(self._waiting, counts, self.writing)
        except FAILURES as error:
            self.writing = None
            self._counters.give_back(counts)
            self._failed(error)
            return None
        self._waiting.clear()
        self.writing = None
        if self._failing:
            self._failing = False
            logger.warning("analytics: the data directory can be written again; what waited in memory is safe")
        return last

    def register(self) -> None:
        """Register the consumers, before the first record, so that a new one starts in front of it."""
        if not self._registered:
            for consumer, reads_private in self._consumers.items():
                self._outbox.register(consumer, reads_private=reads_private)
            self._registered = True

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            logger.error(
                "analytics: the data directory can't be written (%s: %s); up to %d events wait in memory",
                type(error).__name__,
                error,
                self._limit,
            )
        # Without a pause every further group would try to write all waiting records, which slows down requests.
        self._try_at = self._monotonic() + _PAUSE
        self._trim()

    def _trim(self) -> None:
        while len(self._waiting) > self._limit:
            if self._waiting.popleft().kind == "event":
                self._counters.drop("overflow_memory")
