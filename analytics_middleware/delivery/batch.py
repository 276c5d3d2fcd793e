"""One batch to one collector: which entries were delivered, must be retried, or were refused."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.enrich.needs import reveal
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event, Record
from analytics_middleware.outbox.base import DeadLetter, Entry, Kind
from analytics_middleware.outbox.records import decode_record


@dataclass
class Outcome:
    """What happened to the entries of a batch. Each is in exactly one of the lists."""

    delivered: list[Entry] = field(default_factory=list[Entry])
    dropped: list[tuple[Entry, str]] = field(default_factory=list[tuple[Entry, str]])
    dead: list[DeadLetter] = field(default_factory=list[DeadLetter])
    again: list[tuple[Entry, str]] = field(default_factory=list[tuple[Entry, str]])
    """To be retried individually, which uses up an attempt."""
    held: list[Entry] = field(default_factory=list[Entry])
    """Not delivered, apparently because the destination is down."""
    offered: int = 0
    """How many were given to the collector; only these say something about the destination."""
    error: Exception | None = None
    retry_after: float | None = None
    pause: bool = False
    """Whether the destination asked for a pause although it accepted some entries."""

    def add(self, other: "Outcome") -> None:
        """Add the outcome of more entries."""
        self.delivered += other.delivered
        self.dropped += other.dropped
        self.dead += other.dead
        self.again += other.again
        self.held += other.held
        self.offered += other.offered
        self.error = other.error or self.error
        self.pause = self.pause or other.pause
        if other.retry_after is not None:
            self.retry_after = max(other.retry_after, self.retry_after or 0.0)

    @property
    def down(self) -> bool:
        """Whether none of the offered entries got through."""
        return 0 < self.offered == len(self.held)

    @property
    def unanswered(self) -> bool:
        """Whether some entries got no answer and none were confirmed."""
        return not self.delivered and any(reason == "ambiguous" for _, reason in self.dropped)


class BatchSender:
    """Sends entries to a collector and interprets the outcome."""

    def __init__(self, collector: Collector) -> None:
        self._collector = collector
        self._dedupes = option(collector, "dedupes")
        self._take: dict[Kind, Callable[[Any], object]] = {"event": collector.collect}
        if (identify := getattr(collector, "identify", None)) is not None:
            self._take["identify"] = lambda record: identify(record.user_id, record.traits)
        if (take_identify := getattr(collector, "take_identify", None)) is not None:
            self._take["identify"] = take_identify
        if (take_erase := getattr(collector, "take_erase", None)) is not None:
            self._take["erase"] = take_erase
        self._declines = getattr(collector, "declines", None)
        self._needs = option(collector, "needs")

    def send(self, entries: Sequence[Entry], *, isolate: bool = False) -> Outcome:
        """Send *entries*; with *isolate*, find the ones that make the whole batch fail."""
        outcome = Outcome()
        items = [(entry, item) for entry in entries if (item := self._decode(entry, outcome)) is not None]
        if items:
            outcome.offered = len(items)
            outcome.add(self._isolate(items) if isolate else self._send(items))
        return outcome

    def _decode(self, entry: Entry, outcome: Outcome) -> Record | None:
        if entry.kind not in self._take:
            # A kind of record that this collector doesn't take, never an event: nothing to count.
            outcome.delivered.append(entry)
            return None
        reason: str | None = None
        try:
            record = decode_record(entry.kind, entry.payload)
            if isinstance(record, Event):
                reveal(record, entry.private, self._needs)
                reason = None if self._declines is None else self._declines(record)
        except (msgspec.DecodeError, ValueError, KeyError):
            record = None
        if record is None:
            # For example written by a newer version during a rolling deploy.
            reason = "undecodable"
        if reason is None:
            return record
        outcome.dropped.append((entry, reason))
        return None

    def _send(self, items: "Items") -> Outcome:
        outcome = Outcome()
        taken: Items = []
        raised: list[tuple[Entry, str]] = []
        for entry, item in items:
            try:
                self._take[entry.kind](item)
                taken.append((entry, item))
            except DeliveryError as error:
                outcome.add(self._refused([(entry, item)], error))
            except Exception as error:  # noqa: BLE001 - the collector's code; it says which entry it can't take
                raised.append((entry, error_text(error)))
                outcome.error = error
        if raised and len(raised) == len(items):
            # It took no entry at all, so blame the destination, not the entries.
            outcome.held += [entry for entry, _ in raised]
            return outcome
        outcome.again += raised
        try:
            self._collector.flush()
        except DeliveryError as error:
            outcome.add(self._refused(taken, error))
        except Exception as error:  # noqa: BLE001 - the collector's code
            outcome.add(Outcome(held=[entry for entry, _ in taken], error=error))
        else:
            outcome.delivered += [entry for entry, _ in taken]
        return outcome

    def _refused(self, items: "Items", error: DeliveryError) -> Outcome:
        entries = [entry for entry, _ in items]
        outcome = Outcome(error=error, retry_after=error.retry_after)
        if error.partial:
            outcome.pause = error.pause
            for entry in entries:
                if (reason := error.rejected.get(entry.record_id)) is not None:
                    outcome.dead.append(DeadLetter(entry, reason))
                elif entry.record_id in error.uncertain and not self._dedupes:
                    outcome.dropped.append((entry, "ambiguous"))
                elif entry.record_id in error.retry or entry.record_id in error.uncertain:
                    outcome.again.append((entry, str(error)))
                else:
                    outcome.delivered.append(entry)
        elif error.permanent or error.too_large:
            if len(items) == 1:
                outcome.dead.append(DeadLetter(entries[0], str(error)))
            else:
                outcome = self._halves(items)
        elif error.ambiguous and not self._dedupes:
            outcome.dropped += [(entry, "ambiguous") for entry in entries]
        else:
            outcome.held += entries
        return outcome

    def _halves(self, items: "Items") -> Outcome:
        middle = len(items) // 2
        outcome = self._send(items[:middle])
        if outcome.held:
            # The destination went down after the first half: don't send the second.
            outcome.held += [entry for entry, _ in items[middle:]]
        else:
            outcome.add(self._send(items[middle:]))
        return outcome

    def _isolate(self, items: "Items") -> Outcome:
        """Send *items* in halves, repeatedly, until the failing ones are found, unless everything fails."""
        if len(items) == 1:
            return self._send(items)
        middle = len(items) // 2
        halves = [(items[:middle], self._send(items[:middle])), (items[middle:], self._send(items[middle:]))]
        outcome = Outcome()
        if all(len(result.held) == len(half) for half, result in halves):
            for _, result in halves:
                outcome.add(result)
            return outcome
        for half, result in halves:
            if result.held and len(half) > 1:
                held = {entry.seq for entry in result.held}
                failed, result.held = [item for item in half if item[0].seq in held], []
                outcome.add(result)
                outcome.add(self._isolate(failed))
            else:
                outcome.add(result)
        return outcome


Items = list[tuple[Entry, Record]]


def error_text(error: Exception | None) -> str:
    """Return *error* as a text of at most 300 characters for `Settlement`."""
    return "unknown" if error is None else f"{type(error).__name__}: {error}"[:300]
