"""Whether what is in the log is delivered."""

from collections.abc import Collection, Generator, Mapping

from analytics_middleware.doctor import Finding
from analytics_middleware.outbox.base import ConsumerStats


def examine_delivery(consumers: Mapping[str, ConsumerStats], configured: Collection[str] | None) -> Generator[Finding]:
    """Look at the state of *consumers*, except those that are known not to be *configured* any more."""
    for name, stats in consumers.items():
        if configured is not None and name not in configured:
            continue
        if stats.breaker != "closed":
            text = f"{name} can't be delivered to, pending {stats.pending}: {stats.last_error or 'unknown'}"
            yield Finding("warning", "delivery", text, "analytics-middleware status shows its state")
        if stats.dead:
            text = f"{name} has refused for good: {stats.dead}"
            yield Finding("warning", "delivery", text, "analytics-middleware dead-letters list says why")
