"""Event ids: UUID version 7 (RFC 9562)."""

import os
import random
import time

_random = random.Random()  # noqa: S311 - ids must differ, not be secret
_seeded_in = os.getpid()
_prefix = (-1, "")
"""A millisecond and the digits that it begins an id with."""


def uuid7(timestamp: float | None = None) -> str:
    """Return a new UUIDv7 as its canonical 36-character text.

    *timestamp* is seconds since the Unix epoch, default now. The 72 random bits come from a generator that each
    process seeds from the operating system: a call to the system for each id would cost more than all the rest.
    """
    global _seeded_in, _prefix
    if _seeded_in != os.getpid():
        # A generator of one's own is not reseeded by Python after a fork; siblings would make the same ids.
        _random.seed()
        _seeded_in = os.getpid()
    millis = int((time.time() if timestamp is None else timestamp) * 1000) & 0xFFFF_FFFF_FFFF
    made_at, prefix = _prefix
    if made_at != millis:
        prefix = f"{millis >> 16:08x}-{millis & 0xFFFF:04x}-7"
        _prefix = (millis, prefix)
    digits = f"{_random.getrandbits(72):018x}"
    return f"{prefix}{digits[:3]}-8{digits[3:6]}-{digits[6:]}"
