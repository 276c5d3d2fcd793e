"""Who an event is about, and when it happened, in the forms that destinations ask for."""

import hashlib
import math
import uuid
from datetime import datetime

from analytics_middleware.enrich.visitor import is_cookieless, is_identity
from analytics_middleware.event import Event, Identify

_NAMESPACE = uuid.UUID("8b0f2c6e-61c6-5d3d-9f0e-6a0b4b1a7c55")


def user_of(event: Event) -> str | None:
    """Return the user's id, or None for one such as ``anonymous`` or ``null``, which destinations drop."""
    return event.user_id if is_identity(event.user_id) else None


def visitor_of(event: Event) -> str:
    """Return the anonymous visitor's id, or else the event's own id, which connects it to no other event."""
    return event.anon_id if event.anon_id and is_identity(event.anon_id) else event.event_id


def device_of(event: Event) -> str | None:
    """Return the anonymous id, or None if the destination must not connect it with the event's user.

    People behind one address may share a cookieless id, so sent with a user's id it would merge strangers into one.
    """
    if not is_identity(event.anon_id):
        return None
    return None if user_of(event) is not None and is_cookieless(event.anon_id) else event.anon_id


def tied_to(record: Identify) -> str | None:
    """Return the anonymous id that *record* connects with its user, or None if it has none that may be connected."""
    return record.anon_id if is_identity(record.anon_id) and not is_cookieless(record.anon_id) else None


def as_uuid(event_id: str) -> str:
    """Return *event_id* as a UUID, always the same one, for destinations that take no other ids."""
    try:
        return str(uuid.UUID(event_id))
    except ValueError:
        return str(uuid.uuid5(_NAMESPACE, event_id))


def session_start(session_id: str | None) -> int | None:
    """Return when a session began, in milliseconds since the epoch; its UUIDv7 says so (RFC 9562 section 5.7)."""
    try:
        session = uuid.UUID(session_id or "")
    except ValueError:
        return None
    return session.int >> 80 if session.version == 7 else None


def digest(text: str, size: int) -> int:
    """Return a hash of *text*, *size* bytes long, as a number."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size).digest(), "big")


def iso(moment: datetime) -> str:
    """Return *moment* as ISO 8601 in UTC with milliseconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def milliseconds(moment: datetime) -> int:
    """Return *moment* in milliseconds since the epoch."""
    return microseconds(moment) // 1000


def microseconds(moment: datetime) -> int:
    """Return *moment* in microseconds since the epoch."""
    return math.floor(moment.timestamp()) * 1_000_000 + moment.microsecond
