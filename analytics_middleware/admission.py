"""Admission: an event made or touched by the application is brought into a form that every encoder accepts."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from analytics_middleware.event import Event, EventType, Visit
from analytics_middleware.ids import uuid7
from analytics_middleware.money import Money
from analytics_middleware.properties import clean_name, clean_properties, clean_text

MAX_TEXT: Final = 2048
"""Characters of a URL, path, referrer or user agent; longer ones are cut."""

_NAMES = ("event_name", "action_name", "user_id", "anon_id", "client_ip", "locale", "hostname", "method")
_TEXTS = ("matched_pattern", "url", "path", "user_agent", "referrer")


def admit(event: Event) -> int:
    """Clean *event* in place; return how many properties were left out. Never raises for a value's sake.

    A field that can't be made right is emptied: an event that says less is better than one that can't be kept.
    """
    event.event_id = _event_id(event.event_id)
    for field in _NAMES:
        value = getattr(event, field)
        if value is not None:
            setattr(event, field, clean_name(value) or None)
    for field in _TEXTS:
        value = getattr(event, field)
        if value is not None:
            setattr(event, field, clean_text(str(value), MAX_TEXT) or None)
    event.type = _or_default(EventType, event.type, EventType.CUSTOM)
    event.timestamp = _timestamp(event.timestamp)
    event.duration = None if event.duration is None else _or_default(float, event.duration, None)
    event.status_code = None if event.status_code is None else _or_default(int, event.status_code, None)
    event.revenue = None if event.revenue is None else _or_default(Money.of, event.revenue, None)
    event.visit = _instance(Visit, event.visit) or Visit()
    event.properties, dropped = clean_properties(_instance(Mapping, event.properties) or {})
    return dropped


def _event_id(value: Any) -> str:
    # Vendors take at most 36 characters of letters, digits and hyphens as a dedupe id.
    text = value if isinstance(value, str) else str(value)
    return text if 0 < len(text) <= 36 and text.isascii() and text.replace("-", "").isalnum() else uuid7()


def _timestamp(value: Any) -> datetime:
    if not isinstance(value, datetime):
        return datetime.now(UTC)
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _instance(kind: type[Any], value: Any) -> Any:
    return value if isinstance(value, kind) else None


def _or_default(convert: Any, value: Any, default: Any) -> Any:
    try:
        return convert(value)
    except (TypeError, ValueError, OverflowError):
        return default
