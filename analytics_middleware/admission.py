"""Admission: cleans events that the application made or changed, so that every encoder accepts them."""

import math
from datetime import UTC, datetime
from typing import Any, Final

from analytics_middleware.event import VISIT_FACTS, Event, EventType, Visit
from analytics_middleware.ids import uuid7
from analytics_middleware.money import Money
from analytics_middleware.properties import Scalar, clean_name, clean_properties, clean_text

MAX_TEXT: Final = 2048
"""Characters of a URL, path, referrer or user agent; longer ones are cut."""

_NAMES = ("event_name", "action_name", "user_id", "anon_id", "client_ip", "locale", "hostname", "method")
_TEXTS = ("matched_pattern", "url", "path", "user_agent", "referrer")
_VISIT_TEXTS = tuple(field for field in Visit.__struct_fields__ if field not in VISIT_FACTS)


def admit(event: Event) -> int:
    """Clean *event* in place; return how many properties were left out. Never raises, whatever the values.

    A field that can't be cleaned is emptied: an incomplete event is better than none.
    """
    event.event_id = _event_id(event.event_id)
    for field in _NAMES:
        value = getattr(event, field)
        if value is not None:
            setattr(event, field, _or_default(clean_name, value, None) or None)
    for field in _TEXTS:
        value = getattr(event, field)
        if value is not None:
            setattr(event, field, _or_default(_text, value, None) or None)
    event.type = _or_default(EventType, event.type, EventType.CUSTOM)
    event.timestamp = _or_default(_utc, event.timestamp, None) or datetime.now(UTC)
    event.duration = None if event.duration is None else _or_default(_duration, event.duration, None)
    event.status_code = None if event.status_code is None else _or_default(_status, event.status_code, None)
    event.revenue = None if event.revenue is None else _or_default(Money.of, event.revenue, None)
    event.visit = _visit(event.visit)
    properties: tuple[dict[str, Scalar], int] = _or_default(clean_properties, event.properties, ({}, 0))
    event.properties, dropped = properties
    return dropped


def _event_id(value: Any) -> str:
    # Vendors take at most 36 characters of letters, digits and hyphens as a dedupe id.
    text: str = value if isinstance(value, str) else _or_default(str, value, "")
    return text if 0 < len(text) <= 36 and text.isascii() and text.replace("-", "").isalnum() else uuid7()


def _text(value: object) -> str:
    return clean_text(str(value), MAX_TEXT)


def _utc(value: datetime) -> datetime:
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _duration(value: Any) -> float | None:
    seconds = float(value)
    return seconds if math.isfinite(seconds) else None


def _status(value: Any) -> int | None:
    code = int(float(value))  # via float: int(Decimal("1E+999999999")) would have a billion digits
    return code if 0 <= code < 1000 else None


def _visit(value: Any) -> Visit:
    if not isinstance(value, Visit):
        return Visit()
    for field in VISIT_FACTS:
        setattr(value, field, getattr(value, field) is True)
    for field in _VISIT_TEXTS:
        fact = getattr(value, field)
        if fact is not None:
            setattr(value, field, _or_default(clean_name, fact, None) or None)
    return value


def _or_default(convert: Any, value: Any, default: Any) -> Any:
    try:
        return convert(value)
    except Exception:  # noqa: BLE001 - converting the application's objects may raise anything
        return default
