"""*Pipeline*: how many events were accepted, delivered to each collector, are waiting, or were dropped and why."""

import dataclasses
from datetime import UTC, datetime
from typing import Any

from analytics_middleware.analytics import Analytics
from analytics_middleware.outbox.base import STORE
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.tables import Table, table


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Consumer:
    """The state of delivery to a collector or to the store."""

    name: str
    accepted: int
    delivered: int
    pending: int
    dead: int
    dropped: dict[str, int]
    breaker: str
    last_error: str | None
    oldest_pending: datetime | None
    lag_seconds: float | None
    """The age of the oldest event that waits."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """The page."""

    scope: Scope
    durable: bool
    counters: dict[str, int]
    """All counters, by name."""
    dropped: dict[str, int]
    """Events that were dropped before they were in the log, by reason."""
    consumers: tuple[Consumer, ...]
    tables: dict[str, Table]


def pipeline(analytics: Analytics, scope: Scope, _asked: dict[str, Any], _rows: int) -> Pipeline:
    """Return the page."""
    stats = analytics.stats()
    known: dict[str, dict[str, Any]] = dict(stats["collectors"])
    if stats["store"] is not None:
        known[STORE] = stats["store"]
    consumers = tuple(_consumer(name, each, scope.now) for name, each in known.items())
    columns = ("Collector", "Delivered", "Pending", "Lag (s)", "Dead letters", "Dropped", "Breaker", "Last error")
    cells = [
        (e.name, e.delivered, e.pending, e.lag_seconds, e.dead, reasons(e.dropped), e.breaker, e.last_error)
        for e in consumers
    ]
    counters = {name: value for name, value in stats.items() if isinstance(value, int) and not isinstance(value, bool)}
    return Pipeline(
        scope=scope,
        durable=stats["durable"],
        counters=counters,
        dropped=stats["dropped"],
        consumers=consumers,
        tables={
            "collectors": table("collectors", "Collectors", columns, cells),
            "counters": table("counters", "Counters", ("Counter", "Count"), sorted(counters.items())),
        },
    )


def _consumer(name: str, stats: dict[str, Any], now: datetime) -> Consumer:
    oldest: float | None = stats.pop("oldest_pending")
    at = None if oldest is None else datetime.fromtimestamp(oldest, UTC)
    lag = None if at is None else max(0.0, round((now - at).total_seconds(), 1))
    return Consumer(name=name, oldest_pending=at, lag_seconds=lag, **stats)


def reasons(dropped: dict[str, int]) -> str:
    """Return as text how many events were dropped for which reasons."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items()) if count)
