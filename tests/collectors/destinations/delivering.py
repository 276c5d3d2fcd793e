"""Real delivery without threads or waiting: a `Consumer` over an outbox, on a clock that the test moves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from analytics_middleware.delivery.consumer import Consumer
from analytics_middleware.event import Event, Identify
from analytics_middleware.outbox.base import ConsumerStats, Draft
from analytics_middleware.outbox.memory import MemoryOutbox
from analytics_middleware.outbox.sqlite import SqliteOutbox

OUTBOXES = ("memory", "sqlite")


class Delivery:
    """Feeds *collector* through delivery and checks the accounting after each step."""

    def __init__(self, collector: Any, outbox: str = "memory", directory: Path | None = None) -> None:
        self.now = 0.0
        self.collector = collector
        self._outbox: Any
        if outbox == "memory":
            self._outbox = MemoryOutbox(1000)
        else:
            assert directory is not None
            self._outbox = SqliteOutbox(directory, clock=lambda: self.now)
        self._outbox.register(collector.name)
        self._consumer = Consumer(collector, self._outbox, clock=lambda: self.now)

    def put(self, *items: Event | Identify) -> None:
        drafts: list[Draft] = []
        for item in items:
            self.now = max(self.now, item.timestamp.timestamp())
            if isinstance(item, Event):
                payload = item.encode()
                drafts.append(Draft("event", item.event_id, item.timestamp.timestamp(), payload))
            else:
                import msgspec

                drafts.append(Draft("identify", item.event_id, item.timestamp.timestamp(), msgspec.json.encode(item)))
        self._outbox.append(drafts, {})

    @property
    def stats(self) -> ConsumerStats:
        stats: ConsumerStats = self._outbox.stats().consumers[self.collector.name]
        assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.dead + stats.pending, stats
        return stats

    def step(self) -> None:
        """Do one batch, and let the time pass until the next may be sent."""
        pause = self._consumer.step(hurry=True)
        assert self.stats is not None
        self.now += pause or 0.0

    def finish(self, steps: int = 60) -> ConsumerStats:
        """Step until nothing is pending."""
        for _ in range(steps):
            if not (stats := self.stats).pending:
                return stats
            self.step()
        raise AssertionError(f"still pending after {steps} steps: {self.stats}")

    @property
    def dead(self) -> Sequence[str]:
        """The reasons of dead letters (memory only)."""
        return [letter.reason for letter in self._outbox._consumers[self.collector.name].dead]

    def close(self) -> None:
        self._consumer.close()
        self._outbox.close()
