"""Converts names and property values from anywhere into a form that can always be encoded.

A property value is a JSON scalar. Anything else is converted into one here, so that encoding can't fail later, in a
thread where nobody could do anything about it.
"""

import enum
import math
from collections.abc import Collection, Coroutine, Iterator, Mapping
from datetime import date, datetime, time
from itertools import islice
from numbers import Integral
from typing import Any, Final
from uuid import UUID

import msgspec

Scalar = str | int | float | bool | None

MAX_PROPERTIES: Final = 64
MAX_NAME: Final = 256
"""Characters of an event name, an action name, a property key or an id; longer ones are cut."""
MAX_VALUE: Final = 4096
"""Characters of a property value; longer ones are cut."""

_MAX_DEPTH = 8
_MAX_ITEMS = 256
_MAX_NODES = 4096
"""Items of a nested value in all: a limit of depth alone does not stop a list that contains itself many times."""
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_to_json = msgspec.json.Encoder(order="sorted").encode


def clean_text(text: str, limit: int) -> str:
    """Return *text* cut to *limit* characters, without what UTF-8 can't encode (lone surrogates)."""
    if len(text) > limit:
        text = text[:limit]
    if text.isascii():
        return text
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def clean_name(name: object) -> str:
    """Return *name* as the text of an event name, a property key or an id: at most `MAX_NAME` characters."""
    return clean_text(name if isinstance(name, str) else str(name), MAX_NAME).strip()


def clean_user_id(user_id: object) -> str:
    """Return *user_id* as text. Raises `TypeError` unless it is a str, an integer or a UUID.

    A user object is refused: its str() may be an e-mail address, or differ between processes.
    """
    if isinstance(user_id, bool) or not isinstance(user_id, (str, int, UUID, Integral)):
        raise TypeError(f"a user id must be a str, int or UUID such as user.id, not {type(user_id).__name__}")
    return clean_name(user_id)


def identifier(answer: object) -> str | None:
    """Return a user's id as text from the *answer* of a framework or of the hook `get_user_id`; None for nobody.

    Text is cleaned later, off the request path. Raises `TypeError` for an awaitable and for anything else but an id.
    """
    if answer is None or type(answer) is str:
        return answer
    if isinstance(answer, Coroutine):
        # Closed because nobody will await it, or Python would warn of that later and elsewhere.
        answer.close()
        raise TypeError("a user id must be known at once, not awaited")
    return clean_user_id(answer)


def clean_value(value: Any) -> Scalar:
    """Return *value* as a JSON scalar that every encoder and store accepts.

    NaN and infinities become None, integers beyond 64 bits text, dates ISO 8601, enum members their value, lists and
    mappings compact JSON with sorted keys; anything else becomes ``str(value)``. Never raises: if ``str()`` fails, the
    text says so.
    """
    if type(value) is str:
        return clean_text(value, MAX_VALUE)
    if value is None or isinstance(value, bool):
        return value
    if type(value) is int:
        return value if _INT64_MIN <= value <= _INT64_MAX else _long_int(value)
    if type(value) is float:
        return value if math.isfinite(value) else None
    try:
        plain = _plain(value, _MAX_DEPTH, iter(range(_MAX_NODES)))
    except Exception:  # noqa: BLE001 - converting the application's objects may raise anything
        return _unprintable(value)
    if isinstance(plain, (list, dict)):
        return clean_text(_to_json(plain).decode(), MAX_VALUE)
    return plain  # type: ignore[no-any-return]


def clean_properties(properties: Mapping[Any, Any]) -> tuple[dict[str, Scalar], int]:
    """Return at most `MAX_PROPERTIES` clean properties, in the order given, and how many were left out."""
    cleaned: dict[str, Scalar] = {}
    dropped = 0
    for key, value in properties.items():
        try:
            name = clean_name(key)
        except Exception:  # noqa: BLE001 - as above
            name = _unprintable(key)
        if name in cleaned or len(cleaned) < MAX_PROPERTIES:
            cleaned[name] = clean_value(value)
        else:
            dropped += 1
    return cleaned, dropped


def _unprintable(value: object) -> str:
    return f"unprintable {type(value).__name__}"


def _plain(value: Any, depth: int, nodes: Iterator[int]) -> Any:
    """Return *value* as nested lists, dicts and scalars; *depth* and *nodes* limit cycles and hostile nesting."""
    match value:
        case bool() | None:
            return value
        case enum.Enum():
            return _plain(value.value, depth, nodes)
        case str():
            return clean_text(str(value), MAX_VALUE)
        case int():
            return int(value) if _INT64_MIN <= value <= _INT64_MAX else _long_int(value)
        case float():
            return float(value) if math.isfinite(value) else None
        case datetime() | date() | time():
            return value.isoformat()
        case Mapping():
            return _plain_mapping(value, depth - 1, nodes) if depth else "…"  # pyright: ignore[reportUnknownArgumentType]
        case list() | tuple() | set() | frozenset():
            return _plain_list(value, depth - 1, nodes) if depth else "…"  # pyright: ignore[reportUnknownArgumentType]
        case _:  # Decimal, UUID and anything else
            return clean_text(str(value), MAX_VALUE)


def _plain_mapping(mapping: Mapping[Any, Any], depth: int, nodes: Iterator[int]) -> dict[str, Any]:
    first = islice(mapping.items(), _MAX_ITEMS)
    return {clean_name(key): _plain(item, depth, nodes) for (key, item), _ in zip(first, nodes, strict=False)}


def _plain_list(items: Collection[Any], depth: int, nodes: Iterator[int]) -> list[Any]:
    # A set has no order of its own; the same set must give the same text in every process.
    ordered = sorted(items, key=str) if isinstance(items, (set, frozenset)) else items
    return [_plain(item, depth, nodes) for item, _ in zip(islice(ordered, _MAX_ITEMS), nodes, strict=False)]


def _long_int(value: int) -> str:
    # Python refuses to print integers of more than 4,300 digits, and slows down long before.
    return str(value) if value.bit_length() <= 1024 else f"integer of {value.bit_length()} bits"
