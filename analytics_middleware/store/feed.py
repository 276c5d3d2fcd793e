"""A store as a consumer of the log, for stores that keep events themselves."""

import logging
import time
from collections.abc import Callable

from analytics_middleware.delivery.backoff import Backoff
from analytics_middleware.delivery.batch import error_text
from analytics_middleware.event import Event, Record
from analytics_middleware.outbox.base import STORE, Entry, LeaseLost, Outbox, Settlement
from analytics_middleware.outbox.records import decode_record
from analytics_middleware.store.base import Store

logger = logging.getLogger("analytics_middleware.store")

_BYTES = 4_000_000


class StoreFeed:
    """Applies every record of the log to a store. `step` handles one batch and says when to look again."""

    name = STORE
    answers_from_log = False

    def __init__(self, store: Store, outbox: Outbox, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._outbox = outbox
        self._clock = clock
        # Don't wait for a full batch if the log is only in memory: it may not live that long.
        self._linger = store.linger if outbox.durable else 0.0
        self._linger_until = 0.0
        self._backoff = Backoff()

    def step(self, *, hurry: bool = False) -> float | None:
        """Apply the next batch; return the seconds until there may be more, None if only a new entry can tell."""
        epoch = self._outbox.claim(self.name)
        if epoch is None:
            return 1.0
        wait = self._backoff.wait(self._clock())
        if wait > 0:
            return wait
        now = self._clock()
        lingering = self._linger_until - now
        if not hurry and 0 < lingering <= self._linger and self._outbox.behind(self.name) < self._store.max_batch:
            return lingering
        entries = self._outbox.read(self.name, self._store.max_batch, _BYTES)
        if not entries:
            return None
        if not hurry and len(entries) < self._store.max_batch:
            lingering = self._linger - (now - entries[0].timestamp)
            if 0 < lingering <= self._linger:
                self._linger_until = now + lingering
                return lingering
        records = [record for entry in entries if (record := decode_record(entry.kind, entry.payload)) is not None]
        try:
            self._store.apply(records)
        except Exception as error:  # noqa: BLE001 - the store may be a server that is down; the log keeps the entries
            self._backoff.failed(self._clock(), None)
            level = logging.WARNING if self._backoff.failures == 1 else logging.DEBUG
            logger.log(level, "analytics: the store can't take events now; they wait: %s", error)
            settlement = Settlement(error=error_text(error), breaker=self._backoff.state)
        else:
            self._backoff.succeeded()
            settlement = settlement_of(entries, records)
        try:
            self._outbox.settle(self.name, epoch, settlement)
        except LeaseLost:
            return 1.0
        return 0.0

    def close(self) -> None:
        """Release the lease so that another process can continue."""
        self._outbox.release(self.name)


def settlement_of(entries: list[Entry], records: list[Record]) -> Settlement:
    """Return the outcome of *entries* after the store took *records*, the readable ones among them."""
    events = sum(entry.kind == "event" for entry in entries)
    readable = sum(isinstance(record, Event) for record in records)
    # An erased entry keeps its place in the log but loses its content.
    erased = sum(entry.kind == "event" and not entry.payload for entry in entries)
    dropped = {"erased": erased, "undecodable": events - readable - erased}
    return Settlement(
        cursor=entries[-1].seq,
        delivered=readable,
        dropped={reason: count for reason, count in dropped.items() if count},
        breaker="closed",
    )
