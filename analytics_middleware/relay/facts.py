"""What was handed off, as bytes for another process of this host and back: facts only, nothing is decided here."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from operator import attrgetter
from types import NoneType
from typing import TYPE_CHECKING, Any, Final

import msgspec

from analytics_middleware.context import RequestContext
from analytics_middleware.counters import Counters, logger
from analytics_middleware.event import FROM_REQUEST, Erase, Event, EventType, Identify, Visit
from analytics_middleware.ids import successor
from analytics_middleware.money import Money
from analytics_middleware.tracking import TrackedEvent, TrackedTraits

if TYPE_CHECKING:
    from analytics_middleware.pipeline import Submission

_FIELDS: Final = (
    "method",
    "scheme",
    "path",
    "query",
    "peer",
    "headers",
    "host_fallback",
    "entered",
    "status",
    "response_headers",
    "duration",
    "pattern",
    "endpoint",
    "user_id",
    "locale",
    "excluded",
    "staff",
    "restored",
    "event_name",
    "action_name",
    "properties",
    "set_user_id",
    "anon_id",
)
"""What an event is made of and goes as it is; the rest of a `RequestContext` is for the process that has it."""

_TEXTS: Final = (*FROM_REQUEST, "event_id", "event_name", "action_name", "client_ip")

_REQUEST, _EVENT, _TRAITS, _ERASE = range(4)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        # Frameworks have texts of their own, such as Django's SafeString.
        return str.__str__(value)
    if isinstance(value, Money):
        return (value.minor, value.currency)
    raise TypeError(f"{type(value).__name__} can't be handed over")


_fields: Callable[[Any], tuple[Any, ...]] = attrgetter(*_FIELDS)
_encode = msgspec.msgpack.Encoder(enc_hook=_plain).encode
_decode = msgspec.msgpack.Decoder(list[Any]).decode
_decode_frame = msgspec.msgpack.Decoder(tuple[str, list[list[Any]]]).decode


def encode(item: "Submission") -> bytes:
    """Return *item* in MessagePack.

    Raises what msgspec raises for what does not go into it: headers that are no list, text with lone surrogates.
    """
    if isinstance(item, RequestContext):
        if item.revenue is None and not item.trace and item.given is None:
            # As a rule.
            return _encode((_REQUEST, None, (_fields(item),)))
        return _encode((_REQUEST, None, _known(item)))
    if isinstance(item, TrackedEvent):
        return _encode((_EVENT, _proper(item.event), item.context and _known(item.context)))
    if isinstance(item, TrackedTraits):
        return _encode((_TRAITS, item.record.encode(), item.context and _known(item.context)))
    return _encode((_ERASE, item.encode(), None))


def decode(body: bytes, counters: Counters) -> "tuple[str, list[Submission]]":
    """Return a frame's first id and its items. Raises `msgspec.DecodeError` when *body* is no frame."""
    first_id, records = _decode_frame(body)
    return first_id, _items(first_id, records, counters)


def decode_each(first_id: str, items: Iterable[bytes], counters: Counters) -> "list[Submission]":
    """Return what `encode` made each of *items* of, as `decode` does with a frame of them."""
    return _items(first_id, map(_decode, items), counters)


def is_event(item: "Submission | bytes") -> bool:
    """Whether *item*, encoded or not, is an event or a request, and not a record beside events."""
    if isinstance(item, bytes):
        return _decode(item)[0] in (_REQUEST, _EVENT)
    return isinstance(item, (RequestContext, TrackedEvent))


def _known(context: RequestContext) -> tuple[Any, ...]:
    # Trace ids have 128 bits, and MessagePack 64.
    return (_fields(context), context.revenue, f"{context.trace:x}", context.given and _proper(context.given))


def _proper(event: Event) -> Event:
    """Return *event* if all it has is of the type it should have: admission must find there what it would find here."""
    texts = (getattr(event, field) for field in _TEXTS)
    if not all(text is None or type(text) is str for text in texts):
        raise TypeError("an event with a text that is none can't be handed over")
    if type(event.visit) is not Visit or type(event.revenue) not in (Money, NoneType):
        raise TypeError("an event with a visit or a revenue that is none can't be handed over")
    return event


def _items(first_id: str, records: Iterable[list[Any]], counters: Counters) -> "list[Submission]":
    items: list[Submission] = []
    for number, record in enumerate(records):
        try:
            item = _item(*record)
            if isinstance(item, RequestContext):
                # Known to both sides: what is recorded twice, for an answer was lost, is known for the same.
                item.event_id = successor(first_id, number)
            items.append(item)
        except Exception:  # noqa: BLE001 - one item's trouble must not become the others'
            counters.drop("internal_error")
            counters.log("relay facts", logger.warning, "analytics: an event could not be handed over", exc_info=True)
    return items


def _item(kind: int, said: Any, known: list[Any] | None) -> "Submission":
    if kind == _ERASE:
        return Erase.decode(said)
    context = None if known is None else _restored(known)
    if kind == _EVENT:
        return TrackedEvent(_event(said), context)
    if kind == _TRAITS:
        return TrackedTraits(Identify.decode(said), context)
    if kind != _REQUEST or context is None:
        raise ValueError(f"a record of kind {kind!r} is unknown here")
    return context


def _restored(known: list[Any]) -> RequestContext:
    # Without an `Analytics`: it was another process's, and nothing asks for it once a request is over.
    context = RequestContext.__new__(RequestContext)
    context.__dict__.update(zip(_FIELDS, known[0], strict=True))
    context.finished = True
    if len(known) > 1:
        _, revenue, trace, given = known
        context.revenue = revenue and Money.from_minor(*revenue)
        context.trace = int(trace, 16)
        context.given = given and _event(given)
    return context


def _event(fields: dict[str, Any]) -> Event:
    if "revenue" in fields:
        fields["revenue"] = Money.from_minor(*fields["revenue"])
    if isinstance(fields["timestamp"], str):
        # Without a zone it travels as text.
        fields["timestamp"] = datetime.fromisoformat(fields["timestamp"])
    if "visit" in fields:
        fields["visit"] = Visit(**fields["visit"])
    with suppress(KeyError, ValueError):
        fields["type"] = EventType(fields["type"])
    return Event(**fields)
