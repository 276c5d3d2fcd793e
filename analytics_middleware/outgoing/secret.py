"""Secrets that don't print: keys and tokens of destinations, kept out of logs, reprs and tracebacks."""

import hmac
import re
from base64 import b64encode
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, NoReturn, cast
from urllib.parse import quote, quote_plus

MASK: Final = "***"

# A name or a dotted path; a URL with user and password does not match.
_WORD = re.compile(r"[\w.-]*")


class Secret:
    """A text that only `reveal` returns. Printed, formatted or in a traceback's locals it is ``***``.

    Not a ``str``, because encoders would write that out.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Call it in the expression that uses it; never keep the result in a variable."""
        return self._text

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return f"Secret({MASK!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")

    def __getstate__(self) -> NoReturn:
        raise TypeError("a Secret is not pickled")

    def __deepcopy__(self, memo: dict[int, Any]) -> "Secret":
        return self


class Guarded(dict[str, Any]):
    """Options that may include secrets. The repr shows names, the ``class``, and values that are not text."""

    def __repr__(self) -> str:
        return "{" + ", ".join(f"{name!r}: {self._shown(name)}" for name in self) + "}"

    def _shown(self, name: str) -> str:
        value = self[name]
        plain = name == "class" or value is None or isinstance(value, (int, float, Secret))
        return repr(value) if plain else repr(MASK)


def guarded(value: object) -> str:
    """Return the repr of *value* for a message, with possible secrets masked: URLs, options and lists."""
    if isinstance(value, Mapping):
        return repr(Guarded(cast("Mapping[str, Any]", value)))
    if isinstance(value, str):
        return repr(value) if _WORD.fullmatch(value) else MASK
    return MASK if isinstance(value, (bytes, Collection)) else repr(value)


def redact(text: str, secrets: Iterable[Secret]) -> str:
    """Return *text* with all *secrets* masked, both plain and as encoded in URLs and Basic auth."""
    for secret in secrets:
        plain = secret.reveal()
        if len(plain) < 4:
            # Masking every occurrence of such a short text would give it away.
            continue
        user_only = b64encode(f"{plain}:".encode()).decode()
        for form in (plain, quote(plain, safe=""), quote_plus(plain), user_only, user_only.rstrip("=")):
            text = text.replace(form, MASK)
    return text
