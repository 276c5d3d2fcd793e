"""Event ids: UUID version 7 (RFC 9562)."""

import os
import time


def uuid7(timestamp: float | None = None) -> str:
    """Return a new UUIDv7 as its canonical 36-character text.

    *timestamp* is seconds since the Unix epoch, default now. The 74 random bits are the operating system's, so
    threads and forked processes need no common state to make different ids.
    """
    millis = int((time.time() if timestamp is None else timestamp) * 1000) & 0xFFFF_FFFF_FFFF
    random = int.from_bytes(os.urandom(10), "big")
    value = (
        (millis << 80)
        | 0x7000_8000_0000_0000_0000
        | ((random & 0x0FFF) << 64)
        | ((random >> 12) & 0x3FFF_FFFF_FFFF_FFFF)
    )
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
