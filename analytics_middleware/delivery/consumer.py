"""A collector as a consumer of the log: decides what to send next and records the outcome."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import accumulate

from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.delivery.backoff import LONGEST, Backoff
from analytics_middleware.delivery.batch import BatchSender, Outcome, error_text
from analytics_middleware.errors import DeliveryError
from analytics_middleware.outbox.base import DeadLetter, Entry, LeaseLost, Outbox, Retry, Settlement

logger = logging.getLogger("analytics_middleware.delivery")

MAX_ATTEMPTS = 20
"""Attempts for a single event before it becomes a dead letter; about three hours."""
_ISOLATE_AFTER = 3
_LEASE_POLL = 1.0


class Consumer:
    """Serves one collector. `step` sends one batch and says when the next is due; only one thread may call it."""

    answers_from_log = False

    def __init__(
        self,
        collector: Collector,
        outbox: Outbox,
        *,
        withhold: Callable[[Entry], str | None] = lambda _entry: None,
        clock: Callable[[], float] = time.time,
        backoff: Backoff | None = None,
    ) -> None:
        self.name = collector.name
        self._collector = collector
        self._outbox = outbox
        self._withhold = withhold
        self._clock = clock
        self._backoff = backoff or Backoff()
        self._max_batch: int = option(collector, "max_batch")
        self._max_bytes: int = option(collector, "max_bytes")
        self._max_age: float | None = option(collector, "max_age")
        # Don't wait for a full batch if the log is only in memory: it may not live that long.
        self._linger: float = option(collector, "linger") if outbox.durable else 0.0
        self._sender = BatchSender(collector)
        self._started = False
        self._retries_next = False
        self._linger_until = 0.0
        self._unsure = False
        self._up_since_retry = True
        self._unwritten: tuple[int, Settlement] | None = None

    @property
    def down(self) -> bool:
        """Whether the last attempt to deliver failed."""
        return self._backoff.failures > 0

    def step(self, *, hurry: bool = False) -> float | None:
        """Send the next batch; return the seconds until there may be more, None if only a new entry can tell.

        *hurry* sends a batch at once even if it is not full.
        """
        epoch = self._outbox.claim(self.name)
        if epoch is None:
            return _LEASE_POLL
        now = self._clock()
        if self._unwritten is not None:
            # The log doesn't have the outcome of the last batch yet, so reading on would send it again.
            try:
                self._settle(*self._unwritten)
            except LeaseLost:
                return _LEASE_POLL
        wait = self._backoff.wait(now)
        if wait > 0:
            return wait
        try:
            # The last batch got no answer, so send one event as a probe: what follows might be lost too.
            limit = 1 if self._unsure else self._max_batch
            lingering = self._linger_until - now
            if not hurry and 0 < lingering <= self._linger and self._outbox.behind(self.name) < limit:
                # Don't query the log for every group of events that arrives.
                return lingering
            self._retries_next = not self._retries_next
            if self._retries_next and (entries := self._due(now, limit)):
                return self._retry(entries, epoch, now)
            entries = self._outbox.read(self.name, limit, self._max_bytes)
            if not entries:
                return self._until_next_retry(now)
            alone = len(entries) == 1 and self._isolating and not self._unsure
            if alone:
                # A single failing event looks like a destination that is down and would be retried forever: add the
                # next one. They are sent separately and don't exceed the collector's limits.
                entries = self._outbox.read(self.name, 2, sys.maxsize)
            if not hurry and len(entries) < limit:
                lingering = self._linger - (now - entries[0].timestamp)
                if 0 < lingering <= self._linger:
                    self._linger_until = now + lingering
                    return lingering
            return self._first_attempt(entries, epoch, now, set_aside=alone and len(entries) > 1)
        except LeaseLost:
            logger.info("analytics: another process delivers for %s now", self.name)
            return _LEASE_POLL

    def close(self) -> None:
        """Give up the lease and close the collector."""
        try:
            if self._unwritten is not None:
                self._settle(*self._unwritten)
            self._outbox.release(self.name)
        except LeaseLost:
            logger.info("analytics: another process delivers for %s now", self.name)
        finally:
            if self._started:
                self._collector.close()

    def _settle(self, epoch: int, settlement: Settlement) -> None:
        self._unwritten = (epoch, settlement)
        try:
            self._outbox.settle(self.name, epoch, settlement)
        except LeaseLost:
            self._unwritten = None
            raise
        self._unwritten = None

    @property
    def _isolating(self) -> bool:
        return self._backoff.failures >= _ISOLATE_AFTER

    def _until_next_retry(self, now: float) -> float | None:
        due = self._outbox.next_due(self.name)
        return None if due is None else max(0.0, due - now) if due - now <= LONGEST else 0.0

    def _due(self, now: float, limit: int) -> list[Entry]:
        entries = self._outbox.due(self.name, now, limit)
        if not entries and (due := self._outbox.next_due(self.name)) is not None and due - now > LONGEST:
            # No wait is that long: the clock was set back, so the retry is due.
            entries = self._outbox.due(self.name, due, limit)
        sizes = accumulate(len(entry.payload) for entry in entries)
        return entries[: max(1, sum(size <= self._max_bytes for size in sizes))]

    def _first_attempt(self, entries: Sequence[Entry], epoch: int, now: float, *, set_aside: bool) -> float:
        outcome = self._send(entries, now, isolate=self._isolating)
        if outcome.down:
            self._failed(outcome, epoch, now)
            if set_aside:
                # So few may be at fault themselves: try the following ones next.
                self._settle(epoch, self._waiting(outcome, now, cursor=entries[-1].seq))
            return max(0.0, self._backoff.until - now)
        if outcome.offered:
            self._unsure = outcome.unanswered
            self._up_since_retry = not self._unsure
            if not self._unsure:
                self._backoff.succeeded()
        again = outcome.again + [(entry, error_text(outcome.error)) for entry in outcome.held]
        self._settle(epoch, self._settlement(outcome, again, now, cursor=entries[-1].seq))
        if outcome.held or outcome.pause or (outcome.offered and self._unsure):
            self._backoff.failed(now, outcome.retry_after)
        return 0.0

    def _retry(self, entries: Sequence[Entry], epoch: int, now: float) -> float:
        outcome = self._send(entries, now, isolate=True)
        if outcome.down and not self._up_since_retry:
            # Nothing got through since the last retry, so the destination is down: don't count an attempt.
            self._failed(outcome, epoch, now)
            self._settle(epoch, self._waiting(outcome, now))
            return max(0.0, self._backoff.until - now)
        if outcome.offered:
            self._unsure = outcome.unanswered
            self._up_since_retry = not outcome.down and not self._unsure
            if self._up_since_retry:
                self._backoff.succeeded()
        again = outcome.again + [(entry, error_text(outcome.error)) for entry in outcome.held]
        self._settle(epoch, self._settlement(outcome, again, now, settled=entries))
        if outcome.pause or (outcome.offered and self._unsure):
            self._backoff.failed(now, outcome.retry_after)
        return 0.0

    def _send(self, entries: Sequence[Entry], now: float, *, isolate: bool) -> Outcome:
        outcome = Outcome()
        wanted: list[Entry] = []
        for entry in entries:
            reason = self._unwanted(entry, now)
            if reason is None:
                wanted.append(entry)
            else:
                outcome.dropped.append((entry, reason))
        if not wanted:
            return outcome
        try:
            if not self._started:
                self._collector.start()
                self._started = True
        except Exception as error:  # noqa: BLE001 - the collector's code
            outcome.add(Outcome(held=wanted, error=error, offered=len(wanted)))
        else:
            outcome.add(self._sender.send(wanted, isolate=isolate))
        return outcome

    def _unwanted(self, entry: Entry, now: float) -> str | None:
        if not entry.payload:
            return "erased"
        if self._max_age is not None and entry.kind == "event" and now - entry.timestamp > self._max_age:
            return "stale"
        return self._withhold(entry)

    def _failed(self, outcome: Outcome, epoch: int, now: float) -> None:
        # It answered, if only with an error, so the next batch need not be a probe.
        self._unsure = False
        self._backoff.failed(now, outcome.retry_after)
        message = error_text(outcome.error)
        level = logging.WARNING if self._backoff.failures == 1 else logging.DEBUG
        # A destination's errors take one line; any other exception may be a bug of the collector: log its traceback.
        bug = None if isinstance(outcome.error, (DeliveryError, OSError)) else outcome.error
        logger.log(level, "analytics: %s can't be delivered to, events wait: %s", self.name, message, exc_info=bug)
        self._settle(epoch, Settlement(error=message, breaker=self._backoff.state))

    def _waiting(self, outcome: Outcome, now: float, *, cursor: int | None = None) -> Settlement:
        """Return the settlement by which what the destination did not take waits, without using up an attempt."""
        waiting = [Retry(entry, self._backoff.until, error_text(outcome.error)) for entry in outcome.held]
        return self._settlement(outcome, (), now, cursor=cursor)._replace(retries=waiting)

    def _settlement(
        self,
        outcome: Outcome,
        again: Sequence[tuple[Entry, str]],
        now: float,
        *,
        cursor: int | None = None,
        settled: Sequence[Entry] = (),
    ) -> Settlement:
        retries: list[Retry] = []
        dead = list(outcome.dead)
        for entry, reason in again:
            attempts = entry.attempts + 1
            if attempts >= MAX_ATTEMPTS:
                dead.append(DeadLetter(entry, f"given up after {attempts} attempts: {reason}"))
            else:
                due = now + self._backoff.delay(attempts, outcome.retry_after)
                retries.append(Retry(entry._replace(attempts=attempts), due, reason))
        return Settlement(
            cursor=cursor,
            settled=settled,
            delivered=sum(entry.kind == "event" for entry in outcome.delivered),
            dropped=Counter(reason for entry, reason in outcome.dropped if entry.kind == "event"),
            retries=retries,
            dead=dead,
            error=None if outcome.error is None else error_text(outcome.error),
            breaker=self._backoff.state,
        )
