"""Limits how often one address may ask: a token bucket for each, in a table of limited size."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

ADDRESSES: Final = 10_000
"""Addresses remembered. The one that asked longest ago is forgotten first."""


class RateLimit:
    """Lets each address make *per_minute* requests at once, and as many again spread over each minute; 0: no limit."""

    def __init__(self, per_minute: int, size: int = ADDRESSES, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._size = size
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str | None) -> float:
        """Count a request of *address*; return 0.0 if it is allowed, else the seconds until the next one will be.

        Requests without an address (a Unix socket whose proxy is not trusted) can't be told apart; all are allowed.
        """
        if not self._capacity or address is None:
            return 0.0
        key = _network(address)
        now = self._clock()
        per_second = self._capacity / 60
        with self._lock:
            tokens, at = self._buckets.pop(key, (self._capacity, now))
            tokens = min(self._capacity, tokens + (now - at) * per_second)
            allowed = tokens >= 1
            self._buckets[key] = (tokens - allowed, now)
            if len(self._buckets) > self._size:
                self._buckets.popitem(last=False)
        return 0.0 if allowed else (1 - tokens) / per_second


def _network(address: str) -> str:
    # One host has at least a /64 (RFC 6177); counted by single addresses it would have no limit.
    return str(ip_network((address, 64), strict=False)) if isinstance(ip_address(address), IPv6Address) else address
