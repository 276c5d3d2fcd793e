"""Time zones by name. UTC needs no database of them, which small systems and containers lack."""

from datetime import UTC, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo


@lru_cache(maxsize=512)
def zone(name: str) -> tzinfo:
    """Return the IANA time zone called *name*. Raises `ValueError` if there is none."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(f"{name!r} is not {expected()}") from None


def expected() -> str:
    """Return what a time zone must be, and what this system lacks to know them."""
    what = "an IANA time zone such as 'Europe/Berlin'"
    try:
        ZoneInfo("Etc/UTC")
    except (KeyError, OSError):
        return f"{what}; this system has none: pip install tzdata"
    return what
