"""Times, amounts and lists as the command line prints and reads them."""

import argparse
import math
import re
import sys
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime

from analytics_middleware.durations import SECONDS


def span(seconds: float) -> str:
    """Return *seconds* in words: ``42 s``, ``3 min``, ``5 h``, ``2 days``."""
    if seconds < 60:
        return f"{max(seconds, 0.0):.0f} s"
    if seconds < 3600:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86400:.0f} days"


def instant(timestamp: float) -> str:
    """Return *timestamp* as a date and time in UTC."""
    return datetime.fromtimestamp(timestamp, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def amount(number: int, one: str, more: str | None = None) -> str:
    """Return *number* with its noun, *one* in the singular and *more* (or *one* and an s) in the plural."""
    return f"{number} {one if number == 1 else more or one + 's'}"


def reasons(dropped: Mapping[str, int]) -> str:
    """Return how many were dropped, by reason."""
    return ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "-"


def listing(names: Iterable[str]) -> str:
    """Return *names* as a list in a sentence."""
    return ", ".join(names) or "none"


def confirmed(question: str) -> bool:
    """Ask *question* at a terminal and return whether the answer is yes; without a terminal, return True."""
    if not sys.stdin.isatty():
        return True
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def when(text: str) -> float:
    """Read ``90m`` (that long ago) or an RFC 3339 date or time, and return seconds since the epoch."""
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)([smhdw])", text):
        return _in_calendars(text, time.time() - float(match[1]) * SECONDS[match[2]])
    try:
        if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
            day = date.fromisoformat(text)
            return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
        given = datetime.fromisoformat(text)
    except ValueError:
        given = None
    if given is None or given.tzinfo is None:
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither a time ago (90s, 15m, 6h, 2d, 1w), a date (2026-01-31) "
            "nor a time with its zone (2026-01-31T12:00:00Z)"
        )
    return _in_calendars(text, given.timestamp())


def moment(text: str) -> datetime:
    """Read a time as `when` does, and return it in UTC."""
    return datetime.fromtimestamp(when(text), UTC)


def _in_calendars(text: str, at: float) -> float:
    try:
        datetime.fromtimestamp(at, UTC)
    except (ValueError, OverflowError, OSError):
        raise argparse.ArgumentTypeError(f"{text!r:.100} lies outside of the years 1 to 9999") from None
    return at


def positive(text: str) -> float:
    """Read a number above 0."""
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return number


def whole(text: str) -> int:
    """Read a whole number above 0."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
