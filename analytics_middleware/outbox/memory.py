"""The outbox without a data directory: limited in size, private to this process, lost when it ends."""

import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from analytics_middleware.outbox.base import (
    ConsumerStats,
    DeadLetter,
    Draft,
    Entry,
    Erased,
    LeaseLost,
    OutboxStats,
    Retry,
    Settlement,
)
from analytics_middleware.outbox.tombstones import ERASED, USER, Tombstones, subject

_EPOCH = 1
_DEAD_KEPT = 1000


@dataclass
class _Consumer:
    cursor: int
    baseline: int
    """Events accepted before this consumer was known."""
    delivered: int = 0
    dead_count: int = 0
    dropped: dict[str, int] = field(default_factory=dict[str, int])
    retries: dict[int, Retry] = field(default_factory=dict[int, Retry])
    dead: deque[DeadLetter] = field(default_factory=lambda: deque[DeadLetter](maxlen=_DEAD_KEPT))
    breaker: str = "closed"
    last_error: str | None = None
    in_flight: int = 0
    """Last sequence number of the batch being delivered; 0 for none."""
    overtaken: int = 0
    """Events of that batch that overflow has removed; their outcome is still open."""

    def forfeit(self) -> None:
        """The batch in flight was not settled: count what overflow removed of it as lost."""
        self.drop("overflow", self.overtaken)
        self.in_flight = self.overtaken = 0

    def drop(self, reason: str, count: int) -> None:
        if count:
            self.dropped[reason] = self.dropped.get(reason, 0) + count


class MemoryOutbox:
    """Keeps at most *limit* entries for the consumer that lags most; drops and counts the oldest."""

    durable = False

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._clear()

    def _clear(self) -> None:
        self._lock = threading.Lock()
        self._entries: deque[Entry] = deque()
        self._last = 0
        self._counts: dict[str, int] = {}
        self._consumers: dict[str, _Consumer] = {}
        self._tombstones = Tombstones()

    def append(self, drafts: Sequence[Draft], counts: Mapping[str, int], group: str | None = None) -> int:
        """See `Outbox.append`."""
        with self._lock:
            for name, count in counts.items():
                self._counts[name] = self._counts.get(name, 0) + count
            drafts, erased, revealed = self._tombstones.admitted(drafts)
            if revealed:
                self._erase_covered()
            if erased:
                self._counts[f"dropped.{ERASED}"] = self._counts.get(f"dropped.{ERASED}", 0) + erased
            for draft in drafts:
                self._last += 1
                self._entries.append(Entry(self._last, *draft))
                if draft.kind == "event":
                    self._counts["accepted"] = self._counts.get("accepted", 0) + 1
            while len(self._entries) > self._limit:
                self._drop_oldest()
            self._prune()
            return self._last

    def _drop_oldest(self) -> None:
        entry = self._entries.popleft()
        for consumer in self._consumers.values():
            if consumer.cursor < entry.seq <= consumer.in_flight:
                consumer.overtaken += int(entry.kind == "event")
            elif consumer.cursor < entry.seq:
                consumer.cursor = entry.seq
                consumer.drop("overflow", int(entry.kind == "event"))

    def _prune(self) -> None:
        passed = min((consumer.cursor for consumer in self._consumers.values()), default=self._last)
        while self._entries and self._entries[0].seq <= passed:
            self._entries.popleft()

    def tick(self, consumers: Iterable[str]) -> None:
        """Nothing to do."""

    def register(self, consumer: str, *, reads_private: bool = False) -> None:
        """See `Outbox.register`."""
        with self._lock:
            if consumer not in self._consumers:
                self._consumers[consumer] = _Consumer(self._last, self._counts.get("accepted", 0))

    def claim(self, consumer: str) -> int | None:
        """Always succeeds: there is only one process. May be called before `Spill` registers the consumer."""
        self.register(consumer)
        return _EPOCH

    def release(self, consumer: str) -> None:
        """Nothing to do: there is no other process."""

    def read(self, consumer: str, limit: int, max_bytes: int) -> list[Entry]:
        """See `Outbox.read`."""
        with self._lock:
            state = self._consumers[consumer]
            state.forfeit()
            if not self._entries:
                return []
            # Sequence numbers have no gaps, so the cursor gives the position.
            first = max(0, state.cursor + 1 - self._entries[0].seq)
            batch: list[Entry] = []
            size = 0
            for entry in islice(self._entries, first, first + limit):
                size += len(entry.payload)
                if batch and size > max_bytes:
                    break
                batch.append(entry)
            state.in_flight = batch[-1].seq if batch else 0
            return batch

    def behind(self, consumer: str) -> int:
        """See `Outbox.behind`."""
        with self._lock:
            return self._last - self._consumers[consumer].cursor

    def due(self, consumer: str, now: float, limit: int) -> list[Entry]:
        """See `Outbox.due`."""
        with self._lock:
            retries = self._consumers[consumer].retries.values()
            ready = sorted((retry.due, retry.entry.seq) for retry in retries if retry.due <= now)
            return [self._consumers[consumer].retries[seq].entry for _, seq in ready[:limit]]

    def next_due(self, consumer: str) -> float | None:
        """See `Outbox.next_due`."""
        with self._lock:
            return min((retry.due for retry in self._consumers[consumer].retries.values()), default=None)

    def settle(self, consumer: str, epoch: int, settlement: Settlement) -> None:
        """See `Outbox.settle`."""
        if epoch != _EPOCH:
            raise LeaseLost
        with self._lock:
            settlement = self._tombstones.settled(settlement)
            state = self._consumers[consumer]
            if settlement.cursor is None:
                state.forfeit()
            else:
                # Overflow may already have moved the cursor past this batch; never move it back.
                state.cursor = max(state.cursor, settlement.cursor)
                state.in_flight = state.overtaken = 0
            for entry in settlement.settled:
                state.retries.pop(entry.seq, None)
            state.delivered += settlement.delivered
            for reason, count in settlement.dropped.items():
                state.drop(reason, count)
            for retry in settlement.retries:
                state.retries[retry.entry.seq] = retry
            while len(state.retries) > self._limit:
                lost = state.retries.pop(next(iter(state.retries)))
                state.drop("overflow", int(lost.entry.kind == "event"))
            for letter in settlement.dead:
                state.dead.append(letter)
                state.dead_count += letter.entry.kind == "event"
            state.last_error = settlement.error or state.last_error
            state.breaker = settlement.breaker or state.breaker
            self._prune()

    def passed(self, consumer: str, seq: int) -> bool:
        """See `Outbox.passed`."""
        with self._lock:
            state = self._consumers.get(consumer)
            return state is not None and state.cursor >= seq and all(waiting > seq for waiting in state.retries)

    def stats(self) -> OutboxStats:
        """See `Outbox.stats`."""
        with self._lock:
            return OutboxStats(
                dict(self._counts), {name: self._consumer_stats(state) for name, state in self._consumers.items()}
            )

    def _consumer_stats(self, state: _Consumer) -> ConsumerStats:
        waiting = [entry for entry in self._entries if entry.seq > state.cursor and entry.kind == "event"]
        waiting += [retry.entry for retry in state.retries.values() if retry.entry.kind == "event"]
        return ConsumerStats(
            accepted=self._counts.get("accepted", 0) - state.baseline,
            delivered=state.delivered,
            pending=len(waiting) + state.overtaken,
            dead=state.dead_count,
            dropped=dict(state.dropped),
            breaker=state.breaker,
            last_error=state.last_error,
            oldest_pending=min((entry.timestamp for entry in waiting), default=None),
        )

    def erase(self, user_id: str, record: Draft, progress: Callable[[int], object] = lambda _: None) -> Erased:
        """See `Outbox.erase`."""
        with self._lock:
            self._tombstones.set(USER, user_id, record.timestamp)
            held = [retry.entry for each in self._consumers.values() for retry in each.retries.values()]
            held += [letter.entry for each in self._consumers.values() for letter in each.dead]
            subjects = [subject(entry.payload) for entry in (*self._entries, *held)]
            # An earlier erasure deleted the records that showed these.
            anons = {*self._tombstones.anons_of(user_id)}
            subjects.append(subject(record.payload))
            anons |= {of.anon_id for of in subjects if of.user_id == user_id and of.anon_id is not None}
            for anon_id in anons:
                self._tombstones.set_anon(user_id, anon_id, record.timestamp)
            log, retried, dead = self._erase_covered()
            self._last += 1
            self._entries.append(Entry(self._last, *record))
            return Erased(log, retried, dead, tuple(sorted(anons)), clean=True)

    def _erase_covered(self) -> tuple[int, int, int]:
        """Remove erased entries from log, retries and dead letters; return the number of each."""
        log = self._erase_log()
        retried = sum(self._erase_retries(state) for state in self._consumers.values())
        return log, retried, sum(self._erase_dead(state) for state in self._consumers.values())

    def _erase_log(self) -> int:
        erased = [self._tombstones.covers(entry) for entry in self._entries]
        self._entries = deque(
            entry._replace(payload=b"", private=None) if gone else entry
            for entry, gone in zip(self._entries, erased, strict=True)
        )
        return sum(erased)

    def _erase_retries(self, state: _Consumer) -> int:
        gone = [retry for retry in state.retries.values() if self._tombstones.covers(retry.entry)]
        for retry in gone:
            state.retries[retry.entry.seq] = Retry(retry.entry._replace(payload=b"", private=None), 0.0, retry.reason)
        return len(gone)

    def _erase_dead(self, state: _Consumer) -> int:
        gone = [letter for letter in state.dead if self._tombstones.covers(letter.entry)]
        for letter in gone:
            state.dead.remove(letter)
        events = sum(letter.entry.kind == "event" for letter in gone)
        state.dead_count -= events
        state.drop(ERASED, events)
        return len(gone)

    def after_fork(self) -> None:
        """The child starts with an empty log; the parent delivers its own entries."""
        names = list(self._consumers)
        self._clear()
        for name in names:
            self.register(name)

    def close(self) -> None:
        """Nothing to release."""
