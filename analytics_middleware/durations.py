"""Lengths of time as people write them: ``30m``, ``24h``, ``7d``."""

import re
from datetime import timedelta
from typing import Final

SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
"""Seconds by unit."""
PATTERN: Final = "^[0-9]{1,6}[smhdw]$"
"""The form that `read_duration` accepts, as a regular expression of JSON Schema."""


def read_duration(text: str) -> timedelta:
    """Return the length of time that *text* gives. Raises `ValueError` if it gives none."""
    if not re.fullmatch(PATTERN, text):
        raise ValueError(f"{text!r:.100} is not a length of time such as 30m, 24h or 7d")
    return timedelta(seconds=int(text[:-1]) * SECONDS[text[-1]])
