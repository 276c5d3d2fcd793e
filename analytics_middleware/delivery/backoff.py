"""When to try a failed delivery again."""

import random
from collections.abc import Callable

BASE = 0.5
CAP = 60.0
"""Longest pause, in seconds, before trying a destination that is down again."""
RETRY_CAP = 900.0
"""Longest pause, in seconds, before retrying an event that failed on its own."""
OPEN_AFTER = 5
"""Failures in a row after which a destination counts as down."""
_LONGEST_RETRY_AFTER = 3600.0
LONGEST = RETRY_CAP + _LONGEST_RETRY_AFTER
"""Upper limit of any wait, in seconds."""


class Backoff:
    """Exponential backoff with full jitter, and the resulting state of the circuit breaker.

    While the breaker is open, events stay in the log: waiting uses up no attempts.
    """

    def __init__(self, uniform: Callable[[float, float], float] | None = None) -> None:
        # A separate generator: an application that seeds Python's must get the numbers it expects.
        self._uniform = uniform or random.Random().uniform  # noqa: S311 - waits must differ, not be secret
        self.failures = 0
        self.until = 0.0
        """Clock time, in seconds, before which nothing is sent."""
        self._since = 0.0

    @property
    def state(self) -> str:
        """``closed`` (all is well), ``backoff`` (retrying soon) or ``open`` (down, probed now and then)."""
        if self.failures == 0:
            return "closed"
        return "open" if self.failures >= OPEN_AFTER else "backoff"

    def succeeded(self) -> None:
        """Record that the destination accepted something."""
        self.failures = 0
        self.until = 0.0

    def wait(self, now: float) -> float:
        """Return the seconds until the next attempt may be made, 0 or less if it may be made now."""
        if now < self._since:
            # The clock was set back: don't turn a pause of a minute into a day.
            self.until -= self._since - now
            self._since = now
        return self.until - now

    def failed(self, now: float, retry_after: float | None) -> None:
        """Record a failure at clock time *now*; wait at least *retry_after* seconds."""
        self.failures += 1
        self._since = now
        self.until = now + self.delay(self.failures, retry_after, CAP)

    def delay(self, attempt: int, retry_after: float | None, cap: float = RETRY_CAP) -> float:
        """Return the seconds to wait after the *attempt*-th failure."""
        longest = min(cap, BASE * 2 ** min(attempt - 1, 16))
        floor = min(max(retry_after or 0.0, 0.0), _LONGEST_RETRY_AFTER)
        return floor + self._uniform(BASE / 10, longest)
