"""Event ids: UUID version 7 (RFC 9562)."""

import os
import random
import time
from collections.abc import Iterator
from itertools import count

_PREFIX = 24
"""Characters before the 48 bits at the end of an id."""
_random = random.Random()  # noqa: S311 - ids must differ, not be secret
_seeded_in = os.getpid()
_series: tuple[int, str, Iterator[int]] = (-1, "", count())
"""A millisecond, the digits that its ids begin with, and the numbers that they end with."""


def uuid7(timestamp: float | None = None) -> str:
    """Return a new UUIDv7 as its canonical 36-character text.

    *timestamp* is seconds since the Unix epoch, default now. In each millisecond a process draws 71 random bits, which
    the next ids of the same millisecond count on from (section 6.2, method 2).
    """
    global _series
    millis = int((time.time() if timestamp is None else timestamp) * 1000) & 0xFFFF_FFFF_FFFF
    made_at, prefix, numbers = _series
    if made_at != millis:
        prefix, start = _drawn(millis)
        numbers = count(start)
        _series = (millis, prefix, numbers)
    return f"{prefix}{next(numbers):012x}"


def first_of_many() -> str:
    """Return a new UUIDv7 whose successors, which `successor` tells, are nobody else's."""
    prefix, start = _drawn(int(time.time() * 1000))
    return f"{prefix}{start:012x}"


def successor(first: str, distance: int) -> str:
    """Return the id that comes *distance* after *first*: as many processes as know both know the same."""
    return f"{first[:_PREFIX]}{int(first[_PREFIX:], 16) + distance:012x}"


def _drawn(millis: int) -> tuple[str, int]:
    """Return the digits that the ids of a series begin with, and the number at the end of its first."""
    if _seeded_in != os.getpid():
        # Some servers fork without telling Python; each id need not pay for asking.
        _seed()
    drawn = f"{_random.getrandbits(24):06x}"
    # The highest bit is left for counting.
    return f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7{drawn[:3]}-8{drawn[3:]}-", _random.getrandbits(47)


def _seed() -> None:
    """Start over: a generator of one's own is not reseeded by Python after a fork; siblings would make the same ids."""
    global _seeded_in, _series
    _random.seed()
    _seeded_in = os.getpid()
    _series = (-1, "", count())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_seed)
