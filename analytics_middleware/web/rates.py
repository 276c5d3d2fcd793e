"""How often one address may ask: a bucket of tokens for each, in a table that can't grow."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Final

ADDRESSES: Final = 10_000
"""Addresses remembered; the one that asked longest ago is forgotten first, and starts anew."""


class RateLimit:
    """Lets each address make *per_minute* requests at once, and as many again within each minute; 0 is no limit."""

    def __init__(self, per_minute: int, size: int = ADDRESSES, clock: Callable[[], float] = time.monotonic) -> None:
        self._capacity = float(per_minute)
        self._size = size
        self._clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, address: str | None) -> float:
        """Count a request of *address*; return 0.0, or after how many seconds the next will be let through.

        Requests without an address (a Unix socket whose proxy is not trusted) can't be told apart and are let be.
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
    # A host has a /64 to itself at least (RFC 6177): by single addresses it could ask without end.
    return str(ip_network((address, 64), strict=False)) if isinstance(ip_address(address), IPv6Address) else address
