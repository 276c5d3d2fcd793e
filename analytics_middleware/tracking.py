"""Events and users' traits that the application itself records, on their way to the writer thread."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from analytics_middleware.context import RequestContext
from analytics_middleware.counters import Counters
from analytics_middleware.event import Event, Identify
from analytics_middleware.money import Money
from analytics_middleware.properties import clean_name, clean_properties, clean_user_id


class TrackedEvent:
    """An event on its way to the writer thread, with the request it came from."""

    __slots__ = ("context", "event")

    def __init__(self, event: Event, context: RequestContext | None) -> None:
        self.event = event
        self.context = context


class TrackedTraits:
    """A user's traits on their way to the writer thread, with the request they came from."""

    __slots__ = ("context", "record")

    def __init__(self, record: Identify, context: RequestContext | None) -> None:
        self.record = record
        self.context = context


def tracked(
    event: str | Event,
    properties: Mapping[str, Any] | None,
    fields: Mapping[str, Any],
    context: RequestContext | None,
    counters: Counters,
) -> TrackedEvent:
    """Return *event* ready to submit; later changes to the caller's objects don't affect it.

    Raises `TypeError` or `ValueError` for invalid arguments.
    """
    if isinstance(event, Event):
        if properties or fields:
            raise TypeError("an Event carries its own properties and fields; pass them to Event(...)")
        event = _checked(event.replace(), counters)
    else:
        event = event_of(required(event, "event name"), {**fields, "properties": properties or {}}, counters)
    if context is not None and not context.finished:
        # The writer thread must not touch the framework's request, so it is read now.
        context.read_framework_facts()
        context.anticipate()
        context = context.snapshot()
    return TrackedEvent(event, context)


def event_of(name: str | None, fields: Mapping[str, Any], counters: Counters) -> Event:
    """Return the event *name* with *fields*. Raises `TypeError` or `ValueError` for invalid fields."""
    return _checked(Event(event_name=name, **_event_fields(fields)), counters)


def identification(user_id: object, traits: Mapping[str, Any] | None, anon_id: str | None) -> Identify:
    """Return an `Identify` record with clean values.

    Raises `ValueError` for an empty *user_id*, `TypeError` for one that is no id, and if *traits* is not a mapping.
    """
    cleaned, _ = clean_properties(_mapping("traits", traits or {}))
    return Identify(
        user_id=required(None if user_id is None else clean_user_id(user_id), "user id"),
        traits=cleaned,
        anon_id=clean_name(anon_id) if anon_id else None,
    )


_FIELDS = frozenset(Event.__struct_fields__)


def _event_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := fields.keys() - _FIELDS:
        raise TypeError(f"an event has no field {min(unknown)!r}; what is your own goes into properties")
    cleaned = dict(fields)
    if cleaned.get("revenue") is not None:
        cleaned["revenue"] = Money.of(cleaned["revenue"])
    if cleaned.get("anon_id") is not None:
        cleaned["anon_id"] = clean_name(cleaned["anon_id"])
    return cleaned


def _checked(event: Event, counters: Counters) -> Event:
    event.timestamp = _instant(event.timestamp)
    if event.user_id is not None:
        event.user_id = clean_user_id(event.user_id)
    event.properties, dropped = clean_properties(_mapping("properties", event.properties))
    if dropped:
        counters.add("properties_dropped", dropped)
    return event


def _mapping(name: str, value: Any) -> Any:
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a mapping, not {type(value).__name__}")
    return value  # pyright: ignore[reportUnknownVariableType]


def _instant(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        at = None
    if not isinstance(at, datetime):
        # A past event with the current time would be worse than none.
        raise TypeError(f"timestamp {value!r} must be a datetime, or text such as '2026-01-31T12:00:00Z'")
    return at


def required(name: object, what: str) -> str:
    """Return *name* as clean text. Raises `ValueError`, which calls it *what*, if nothing is left of it."""
    cleaned = clean_name(name) if name is not None else ""
    if not cleaned:
        raise ValueError(f"{what} {name!r} is empty")
    return cleaned
