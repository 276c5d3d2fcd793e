"""Event ids: UUID version 7 (RFC 9562)."""

import os
import random
import time
from collections.abc import Iterator
from itertools import count

_PREFIX = 24
"""Characters before the last 48 bits of an id."""
_random = random.Random()  # noqa: S311 - ids must differ, not be secret
_seeded_in = os.getpid()
_series: tuple[int, str, Iterator[int]] = (-1, "", count())
"""The current millisecond, the prefix of its ids, and the counter of their last 48 bits."""


def uuid7(timestamp: float | None = None) -> str:
    """Return a new UUIDv7 as its canonical 36-character text.

    *timestamp* is seconds since the Unix epoch, default now. For each millisecond a process draws 71 random bits, and
    counts up from them for further ids of the same millisecond (section 6.2, method 2).
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
    """Return a new UUIDv7 that begins a series of its own, whose other ids `successor` returns."""
    prefix, start = _drawn(int(time.time() * 1000))
    return f"{prefix}{start:012x}"


def successor(first: str, distance: int) -> str:
    """Return the id *distance* places after *first*; every process gets the same one from the same arguments."""
    return f"{first[:_PREFIX]}{int(first[_PREFIX:], 16) + distance:012x}"


def smallest(timestamp: float) -> str:
    """Return the id that sorts, as text, after all ids of times before *timestamp*, in seconds since the epoch."""
    return f"{_time_digits(int(timestamp * 1000))}-7000-8000-{0:012x}"


def _drawn(millis: int) -> tuple[str, int]:
    """Return the prefix of a new series of ids, and the counter's value in its first id."""
    if _seeded_in != os.getpid():
        # Some servers fork without running Python's hooks. Checking here costs less than at each id.
        _seed()
    drawn = f"{_random.getrandbits(24):06x}"
    # The counter's highest bit starts at 0 to leave room for counting.
    return f"{_time_digits(millis)}-7{drawn[:3]}-8{drawn[3:]}-", _random.getrandbits(47)


def _time_digits(millis: int) -> str:
    return f"{millis >> 16:08x}-{millis & 0xFFFF:04x}"


def _seed() -> None:
    """Start over after a fork: Python reseeds only its own generator, so forked siblings would make the same ids."""
    global _seeded_in, _series
    _random.seed()
    _seeded_in = os.getpid()
    _series = (-1, "", count())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_seed)
