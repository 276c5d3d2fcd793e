"""Plain text for terminals and messages: control characters escaped, rows as aligned columns."""

import codecs
import json
import re
from collections.abc import Sequence
from typing import Final

ESCAPED: Final = "analytics_middleware.escaped"
"""An error handler for encodings that lack a character, such as ASCII's: it is written as JSON escapes it."""


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end


codecs.register_error(ESCAPED, _escape)


def printable(text: str) -> str:
    """Return *text*, which strangers may have written, with line breaks and control characters as escapes."""
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def safe(text: str, limit: int = 200) -> str:
    """Return *text* `printable`, cut to *limit* characters."""
    clean = printable(text)
    return clean if len(clean) <= limit else f"{clean[: limit - 1]}…"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return *rows* as aligned columns, with the titles in the first row; numbers are aligned to the right."""
    widths = [max(len(row[index]) for row in rows) for index in range(len(rows[0]))]
    lines: list[str] = []
    for row in rows:
        cells = [
            cell.rjust(width) if re.fullmatch(r"[\d.,]+", cell) else cell.ljust(width)
            for cell, width in zip(row, widths, strict=True)
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)
