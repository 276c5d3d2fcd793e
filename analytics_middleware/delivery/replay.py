"""Sending history to a collector, no faster than it accepts it."""

import math
import time
from collections.abc import Callable, Iterator

from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.delivery.consumer import Consumer
from analytics_middleware.delivery.withhold import withholding
from analytics_middleware.errors import DeliveryError
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.replaying import Span, expected, hand_over, missing_spans, waiting
from analytics_middleware.outbox.sqlite import SqliteOutbox

History = Callable[[Span], Iterator[Draft]]
"""Returns the events of a span of time, in order."""

_CHUNK = 500
_WAITING = 1000
"""Most past events that wait for delivery at a time, to leave room for current ones."""
_LOOK_EVERY = 0.2
_TICK_EVERY = 1.0
_MICROSECOND = 1e-6


class Replay:
    """Sends the events of *history* to *collector*, *rate* events a second, by the same rules as current events.

    This process delivers them, unless another one already delivers for the collector.
    """

    def __init__(
        self,
        collector: Collector,
        outbox: SqliteOutbox,
        history: History,
        *,
        rate: float | None = None,
        debug: bool = False,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._name = collector.name
        self._outbox = outbox
        self._history = history
        self._clock = clock
        self._sleep = sleep
        rule = withholding(collector, debug=debug)
        self._consumer = Consumer(collector, outbox, withhold=rule, clock=clock)
        # A burst makes a worthwhile batch, but is at most one second's events.
        self._burst = max(1, min(option(collector, "max_batch"), math.floor(rate))) if rate else 1
        self._pause = self._burst / rate if rate else _MICROSECOND
        self._next_due = 0.0
        self._ticked_at = 0.0

    def run(self, whole: Span) -> Iterator[int]:
        """Send the history of *whole*; yield the number of events delivered, repeatedly.

        Raises `DeliveryError` if the destination is down: waiting events are delivered when it is up again, and calling
        this again continues with the rest. Raises `ReplayedMeanwhile` if another process does the same.
        """
        given = 0
        try:
            for added in self._handed_over(whole):
                given += added
                while (left := self._deliver()) > _WAITING:
                    yield given - left
                yield given - left
            while left := self._deliver():
                yield given - left
        finally:
            self._consumer.close()

    def _handed_over(self, whole: Span) -> Iterator[int]:
        database = self._outbox.database
        known = expected(database, self._name)
        for span in missing_spans(database, self._name, whole):
            events = (draft for draft in self._history(span) if draft.record_id not in known)
            for chunk, part in _chunks(events, span):
                yield hand_over(database, self._name, chunk, self._dues(len(chunk)), part)

    def _dues(self, count: int) -> list[float]:
        """Return when to send each of the next *count* events, in the order of the events."""
        first = max(self._next_due, self._clock())
        bursts, rest = divmod(count, self._burst)
        self._next_due = first + (bursts + bool(rest)) * self._pause
        return [
            first + index // self._burst * self._pause + index % self._burst * _MICROSECOND for index in range(count)
        ]

    def _deliver(self) -> int:
        """Send a batch, or wait a moment if none is due; return how many events are still waiting."""
        now = self._clock()
        if now - self._ticked_at >= _TICK_EVERY:
            self._ticked_at = now
            self._outbox.tick([self._name])
        pause = self._consumer.step(hurry=True)
        left, breaker, error = waiting(self._outbox.database, self._name)
        if left and breaker == "open":
            raise DeliveryError(f"{self._name} can't be delivered to: {error}")
        if left and pause != 0.0:
            self._sleep(_LOOK_EVERY if pause is None else min(pause, _LOOK_EVERY))
        return left


def _chunks(events: Iterator[Draft], span: Span) -> Iterator[tuple[list[Draft], Span]]:
    """Yield *events* in chunks, each with the span that it covers completely. Events of one instant stay together."""
    chunk: list[Draft] = []
    start = last = span.start
    for draft in events:
        at = round(draft.timestamp * 1_000_000)
        if len(chunk) >= _CHUNK and at > last:
            yield chunk, Span(start, last + 1)
            chunk, start = [], last + 1
        chunk.append(draft)
        last = at
    yield chunk, Span(start, span.stop)
