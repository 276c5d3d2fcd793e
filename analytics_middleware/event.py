"""The event: what a collector receives and a store keeps."""

import enum
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

import msgspec

from analytics_middleware.ids import uuid7
from analytics_middleware.money import Money
from analytics_middleware.properties import Scalar
from analytics_middleware.request import Request


class EventType(enum.StrEnum):
    """What kind of thing happened."""

    PAGEVIEW = "pageview"
    """Somebody saw a document."""
    ACTION = "action"
    """Somebody did something: a form sent, an API call that changes state."""
    CUSTOM = "custom"
    """Something that the application named itself."""


FROM_REQUEST: Final = (
    "locale",
    "hostname",
    "user_id",
    "anon_id",
    "matched_pattern",
    "url",
    "path",
    "method",
    "user_agent",
    "referrer",
)
"""Text fields of an event that are filled from its request if the application left them empty."""


def _custom() -> EventType:
    return EventType.CUSTOM


def _no_properties() -> dict[str, Scalar]:
    return {}


def _now() -> datetime:
    return datetime.now(UTC)


class Visit(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """What is known of the visit that an event belongs to; filled off the request path, None where unknown."""

    session_id: str | None = None
    is_bot: bool = False
    is_spam: bool = False
    """Whether the referrer is known to be forged; most likely there was no visit."""
    browser: str | None = None
    browser_version: str | None = None
    os: str | None = None
    device: str | None = None
    country: str | None = None
    city: str | None = None
    source: str | None = None
    channel: str | None = None
    medium: str | None = None
    campaign: str | None = None
    term: str | None = None
    content: str | None = None
    trace_id: str | None = None
    opted_out: bool = False
    """Whether the visitor objected to tracking; the event then never goes to a third party."""
    consented: bool = False
    """Whether the `consent` hook said yes; collectors that require consent get the event only then."""


VISIT_FACTS: Final = ("is_bot", "is_spam", "opted_out", "consented")
"""The boolean fields of `Visit`."""


class Event(msgspec.Struct, omit_defaults=True, kw_only=True, gc=False):
    """One thing that happened, at one instant, to at most one user.

    Every field has a default, so ``Event(event_name="signup")`` is complete. Fields left empty are filled from the
    current request when the event is tracked inside one; what the caller set is kept.
    """

    event_id: str = msgspec.field(default_factory=uuid7)
    """UUIDv7, fixed before the first delivery attempt; collectors pass it on as the vendor's dedupe id."""
    type: EventType = msgspec.field(default_factory=_custom)
    event_name: str | None = None
    action_name: str | None = None
    timestamp: datetime = msgspec.field(default_factory=_now)
    """Aware, UTC. For an automatic event, when the request began."""
    client_ip: str | None = None
    locale: str | None = None
    hostname: str | None = None
    user_id: str | None = None
    anon_id: str | None = None
    matched_pattern: str | None = None
    """The route template as the user wrote it, mounts included, with one leading slash; None if nothing matched."""
    url: str | None = None
    path: str | None = None
    method: str | None = None
    user_agent: str | None = None
    referrer: str | None = None
    duration: float | None = None
    """Seconds from when the middleware got the request to the last byte of the response."""
    status_code: int | None = None
    properties: dict[str, Scalar] = msgspec.field(default_factory=_no_properties)
    """At most 64 keys, JSON scalars."""
    revenue: Money | None = None
    visit: Visit = msgspec.field(default_factory=Visit)
    request: Request | None = None
    """Plain request facts for processors and in-process collectors; never serialised."""

    @property
    def name(self) -> str:
        """The event's name in questions: its event name, else an action's action name, else its type."""
        if self.event_name:
            return self.event_name
        if self.type is EventType.ACTION and self.action_name:
            return self.action_name
        return self.type.value

    def replace(self, **changes: Any) -> Self:
        """Return a copy with *changes*. It is shallow except for `visit`, which enrichment writes to."""
        visit: Any = changes.get("visit", self.visit)
        if isinstance(visit, Visit):
            changes["visit"] = msgspec.structs.replace(visit)
        return msgspec.structs.replace(self, **changes)

    def encode(self) -> bytes:
        """Return the event as one JSON object; empty fields are left out."""
        if self.request is None:
            return _encode(self)
        request, self.request = self.request, None
        try:
            return _encode(self)
        finally:
            self.request = request

    def to_dict(self) -> dict[str, Any]:
        """Return the event as a dict of JSON types, as `encode` would write it."""
        value: dict[str, Any] = msgspec.json.decode(self.encode())
        return value

    @classmethod
    def decode(cls, data: bytes | str) -> Self:
        """Return the event that `encode` wrote. Raises `msgspec.DecodeError` if *data* is not one."""
        try:
            return _decoder.decode(data)  # type: ignore[return-value]
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(str(error)) from None


def _enc_hook(value: Any) -> Any:
    if isinstance(value, Money):
        return {"amount": f"{value.amount:.{value.exponent}f}", "currency": value.currency}
    raise TypeError(f"{type(value).__name__} can't be part of an event")


def _dec_hook(kind: type, value: Any) -> Any:
    if kind is Money:
        if not isinstance(value, dict) or not {"amount", "currency"} <= value.keys():
            raise ValueError("expected an object with amount and currency")
        fields = cast("dict[str, Any]", value)
        return Money(fields["amount"], fields["currency"])
    raise TypeError(f"{kind.__name__} can't be part of an event")


_encode = msgspec.json.Encoder(enc_hook=_enc_hook).encode
_decoder = msgspec.json.Decoder(Event, dec_hook=_dec_hook)


class _OtherRecord(msgspec.Struct):
    def encode(self) -> bytes:
        """Return the record as one JSON object; empty fields are left out."""
        return _encode(self)

    @classmethod
    def decode(cls, data: bytes | str) -> Self:
        """Return the record that `encode` wrote. Raises `msgspec.DecodeError` if *data* is not one."""
        try:
            return msgspec.json.decode(data, type=cls)
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(str(error)) from None


class Identify(_OtherRecord, omit_defaults=True, kw_only=True):
    """Traits of a user, and optionally the anonymous id that turned out to be theirs. Logged like an event."""

    event_id: str = msgspec.field(default_factory=uuid7)
    user_id: str
    anon_id: str | None = None
    traits: dict[str, Scalar] = msgspec.field(default_factory=dict[str, Scalar])
    """Merged key by key into the traits already known; the later call wins, None removes the key."""
    timestamp: datetime = msgspec.field(default_factory=_now)


class Erase(_OtherRecord, omit_defaults=True, kw_only=True):
    """A request to delete everything about a user permanently. Logged like an event."""

    event_id: str = msgspec.field(default_factory=uuid7)
    user_id: str
    anon_id: str | None = None
    """An anonymous id that was linked to the user only after the erasure; its events up to the erasure go too."""
    timestamp: datetime = msgspec.field(default_factory=_now)


Record = Event | Identify | Erase
"""A record of the log."""
