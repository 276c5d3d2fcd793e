"""Leases: which process of a host delivers for a consumer.

A lease ends by the host's monotonic clock, which all processes share and nobody can set; the boot id identifies leases
from before a restart. The epoch increases with each new holder, so a holder that was paused too long is detected.
"""

import os
import sqlite3
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from analytics_middleware.outbox.base import LeaseLost

TTL = 6.0
"""Seconds that a lease lasts unless renewed, and thus the longest delay before another process takes over."""
RENEW = 2.0
"""Seconds after which a lease is renewed."""


class Leases:
    """The leases held by this process."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._holder = f"{os.getpid()}-{uuid4().hex[:8]}"
        self._held: dict[str, tuple[int, float]] = {}

    def fresh(self, consumer: str) -> int | None:
        """Return the epoch of a recently renewed lease without asking the database."""
        held = self._held.get(consumer)
        return held[0] if held is not None and self._monotonic() < held[1] - TTL + RENEW else None

    def elsewhere(self, connection: sqlite3.Connection, consumer: str) -> bool:
        """Whether another process holds the lease; only reads."""
        row = connection.execute(
            "SELECT holder, boot, lease_until FROM consumer WHERE name = ?", (consumer,)
        ).fetchone()
        return row is not None and row[0] != self._holder and self.live(*row)

    def live(self, holder: str, boot: str, until: float) -> bool:
        """Whether a lease is still valid."""
        now = self._monotonic()
        # If it ends later than a new lease would, it is not from this boot's clock.
        return bool(holder) and boot == _boot_id() and now < until <= now + TTL

    def claim(self, connection: sqlite3.Connection, consumer: str) -> int | None:
        """Take or renew the lease in a write transaction; return its epoch, or None while another holds it."""
        now = self._monotonic()
        row = connection.execute(
            "SELECT epoch, holder, boot, lease_until FROM consumer WHERE name = ?", (consumer,)
        ).fetchone()
        if row is None:
            return None
        epoch, holder, boot, until = row
        if holder != self._holder:
            if self.live(holder, boot, until):
                self._held.pop(consumer, None)
                return None
            epoch += 1
        connection.execute(
            "UPDATE consumer SET epoch = ?, holder = ?, boot = ?, lease_until = ? WHERE name = ?",
            (epoch, self._holder, _boot_id(), now + TTL, consumer),
        )
        self._held[consumer] = (epoch, now + TTL)
        return int(epoch)

    def renew(self, connection: sqlite3.Connection) -> None:
        """Renew all leases held, in a write transaction: a slow destination must not cost the lease."""
        until = self._monotonic() + TTL
        for consumer, (epoch, _) in list(self._held.items()):
            renewed = connection.execute(
                "UPDATE consumer SET lease_until = ? WHERE name = ? AND epoch = ? AND holder = ?",
                (until, consumer, epoch, self._holder),
            ).rowcount
            if renewed:
                self._held[consumer] = (epoch, until)
            else:
                self._held.pop(consumer, None)

    def due(self) -> bool:
        """Whether a lease needs renewing."""
        now = self._monotonic()
        return any(now >= until - TTL + RENEW for _, until in list(self._held.values()))

    def check(self, connection: sqlite3.Connection, consumer: str, epoch: int) -> int:
        """Return the consumer's cursor. Raises `LeaseLost` unless this process still holds *epoch*."""
        row = connection.execute("SELECT epoch, holder, cursor FROM consumer WHERE name = ?", (consumer,)).fetchone()
        if row is None or row[:2] != (epoch, self._holder):
            self._held.pop(consumer, None)
            raise LeaseLost(consumer)
        return int(row[2])

    def release(self, connection: sqlite3.Connection, consumer: str) -> None:
        """Give up a lease, in a write transaction."""
        if self._held.pop(consumer, None) is not None:
            connection.execute(
                "UPDATE consumer SET holder = '', lease_until = 0 WHERE name = ? AND holder = ?",
                (consumer, self._holder),
            )


@lru_cache(1)
def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
