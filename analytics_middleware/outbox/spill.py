"""While the outbox can't be written: a full or read-only disk costs no request and, for a while, no event."""

import sqlite3
from collections import deque
from collections.abc import Iterable, Mapping

from analytics_middleware.counters import Counters, logger
from analytics_middleware.errors import AnalyticsError
from analytics_middleware.outbox.base import Draft, Outbox

FAILURES = (sqlite3.Error, OSError, AnalyticsError)
"""What writing may raise when it is not the data's fault."""


class Spill:
    """Writes to *outbox*; what can't be written waits in memory, at most *limit* records, for the next try.

    *consumers* are registered before the first record; the value says whether one reads what is private.
    """

    def __init__(self, outbox: Outbox, consumers: Mapping[str, bool], counters: Counters, limit: int) -> None:
        self._outbox = outbox
        self._consumers = consumers
        self._counters = counters
        self._limit = limit
        self._waiting: deque[Draft] = deque()
        self._registered = False
        self._failing = False

    @property
    def waiting(self) -> int:
        """Events that are not in the log yet."""
        return sum(draft.kind == "event" for draft in self._waiting)

    def write(self, drafts: Iterable[Draft]) -> int | None:
        """Write what waits, then *drafts*; return the log's last sequence number, None when it could not be written."""
        self._waiting.extend(drafts)
        counts = self._counters.take()
        if not self._waiting and not counts and self._registered:
            return None
        try:
            if not self._registered:
                # Before the first event, so that a new consumer's place is in front of it.
                for consumer, reads_private in self._consumers.items():
                    self._outbox.register(consumer, reads_private=reads_private)
                self._registered = True
            last = self._outbox.append(self._waiting, counts)
        except FAILURES as error:
            self._counters.give_back(counts)
            self._failed(error)
            return None
        self._waiting.clear()
        if self._failing:
            self._failing = False
            logger.warning("analytics: the data directory can be written again; what waited in memory is safe")
        return last

    def _failed(self, error: Exception) -> None:
        if not self._failing:
            self._failing = True
            logger.error(
                "analytics: the data directory can't be written (%s: %s); up to %d events wait in memory",
                type(error).__name__,
                error,
                self._limit,
            )
        while len(self._waiting) > self._limit:
            if self._waiting.popleft().kind == "event":
                self._counters.drop("overflow_memory")
