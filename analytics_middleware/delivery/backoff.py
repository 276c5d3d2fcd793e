"""When to try again."""

import random
from collections.abc import Callable

BASE = 0.5
CAP = 60.0
"""Seconds that a destination which is down is left alone at most."""
RETRY_CAP = 900.0
"""Seconds that an event which failed on its own waits at most."""
OPEN_AFTER = 5
"""Failures in a row after which a destination counts as down."""
_LONGEST_RETRY_AFTER = 3600.0
LONGEST = RETRY_CAP + _LONGEST_RETRY_AFTER
"""Seconds that anything waits at most."""


class Backoff:
    """Exponential backoff with full jitter, and the circuit breaker's state that follows from it.

    While the breaker is open events stay in the log: waiting uses up nobody's attempts.
    """

    def __init__(self, uniform: Callable[[float, float], float] | None = None) -> None:
        # A generator of its own: an application that has seeded Python's gets the numbers that it expects.
        self._uniform = uniform or random.Random().uniform  # noqa: S311 - waits must differ, not be secret
        self.failures = 0
        self.until = 0.0
        """Clock time before which nothing is sent."""
        self._since = 0.0

    @property
    def state(self) -> str:
        """``closed`` (all is well), ``backoff`` (trying again soon) or ``open`` (down, probed now and then)."""
        if self.failures == 0:
            return "closed"
        return "open" if self.failures >= OPEN_AFTER else "backoff"

    def succeeded(self) -> None:
        """Note that the destination answers."""
        self.failures = 0
        self.until = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until something may be sent, 0 or less when it may."""
        if now < self._since:
            # The clock was set back: a pause of a minute must not become one of a day.
            self.until -= self._since - now
            self._since = now
        return self.until - now

    def failed(self, now: float, retry_after: float | None) -> None:
        """Note a failure at clock time *now*; *retry_after* seconds are the least to wait."""
        self.failures += 1
        self._since = now
        self.until = now + self.delay(self.failures, retry_after, CAP)

    def delay(self, attempt: int, retry_after: float | None, cap: float = RETRY_CAP) -> float:
        """Return the seconds to wait after the *attempt*-th failure."""
        longest = min(cap, BASE * 2 ** min(attempt - 1, 16))
        floor = min(max(retry_after or 0.0, 0.0), _LONGEST_RETRY_AFTER)
        return floor + self._uniform(BASE / 10, longest)
