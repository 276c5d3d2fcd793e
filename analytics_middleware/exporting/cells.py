"""Text as a cell of a CSV file, and back: no spreadsheet runs it as a formula, and nothing of it is lost.

Text that a spreadsheet might take for a formula gets an apostrophe in front. So does text that begins with an
apostrophe; empty text, as opposed to none, is a lone apostrophe. Backslashes, and characters that break lines or hide
others, are written as escapes, so a cell has one line.
"""

import re
from functools import lru_cache
from typing import Final

# Characters that begin a formula in spreadsheets, as OWASP lists them, with full-width forms.
_FORMULA: Final = tuple("=+-@\t\r\n＝＋－＠|%")
# Control characters, line and paragraph separators, marks of text direction, and the backslash of escapes.
_SPECIAL: Final = re.compile("[\\x00-\\x1f\\x7f-\\x9f\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff\\\\]")
_ESCAPED: Final = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4})|(\\))")


@lru_cache(16_384)
def to_cell(text: str) -> str:
    """Return *text* as a cell."""
    plain = _SPECIAL.sub(_escape, text)
    return f"'{plain}" if not plain or plain.startswith("'") or begins_formula(plain) else plain


@lru_cache(16_384)
def from_cell(cell: str) -> str | None:
    """Return the text of *cell*, None for an empty one. Text that was not escaped stays as it is."""
    if not cell:
        return None
    return _ESCAPED.sub(_unescape, cell.removeprefix("'"))


def begins_formula(text: str) -> bool:
    """Return whether a spreadsheet may take *text* for a formula, even behind blanks, quotes and invisible marks."""
    bare = text.lstrip().lstrip("\ufeff\u200b\u200c\u200d\u2060\xa0'\"")
    return text.startswith(_FORMULA) or bare.startswith(_FORMULA)


def json_cell(document: str) -> str:
    """Return a JSON object as a cell: it remains JSON, on one line."""
    return _SPECIAL.sub(lambda match: match[0] if match[0] == "\\" else f"\\u{ord(match[0]):04x}", document)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if match[0] == "\\":
        return "\\\\"
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _unescape(match: re.Match[str]) -> str:
    return "\\" if match[3] else chr(int(match[1] or match[2], 16))
