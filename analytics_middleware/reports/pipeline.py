"""The collectors' health, as an answer for alerts."""

from datetime import datetime

import msgspec

from analytics_middleware.analytics import Analytics
from analytics_middleware.outbox.base import STORE
from analytics_middleware.outbox.sqlite import SqliteOutbox


class CollectorHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The health of one collector, or of the store."""

    name: str
    pending: int
    lag: float
    """Seconds since the oldest waiting event; 0 if none waits."""
    dead: int
    """Events refused for good in the period asked about."""
    open: int
    """1 while its circuit breaker is open, which means that it is down and only tried now and then."""


class PipelineHealth(msgspec.Struct, frozen=True, kw_only=True):
    """The health of all: sums, and the longest lag."""

    pending: int
    lag: float
    dead: int
    open: int
    collectors: list[CollectorHealth]


def pipeline_health(analytics: Analytics, start: datetime, end: datetime) -> PipelineHealth:
    """Return the collectors' present health, with the events refused for good between *start* and *end*."""
    stats = analytics.outbox.stats().consumers
    dead: dict[str, int] = {}
    if isinstance(analytics.outbox, SqliteOutbox):
        with analytics.outbox.database.read() as connection:
            rows = connection.execute(
                "SELECT consumer, count(*) FROM dead WHERE at >= ? AND at < ? GROUP BY consumer",
                (start.timestamp(), end.timestamp()),
            ).fetchall()
        dead = dict(rows)
    configured = {collector.name for collector in analytics.collectors} | {STORE}
    known = [
        CollectorHealth(
            name=name,
            pending=each.pending,
            lag=0.0 if each.oldest_pending is None else max(0.0, end.timestamp() - each.oldest_pending),
            dead=dead.get(name, 0),
            open=int(each.breaker == "open"),
        )
        for name, each in stats.items()
        if name in configured
    ]
    return PipelineHealth(
        pending=sum(each.pending for each in known),
        lag=max((each.lag for each in known), default=0.0),
        dead=sum(each.dead for each in known),
        open=sum(each.open for each in known),
        collectors=known,
    )
