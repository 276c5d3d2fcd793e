"""The current request, and what an event takes from it.

The ContextVar holds one mutable object, set when the request enters. A view in a thread pool, a streaming body or
an inner middleware runs in a *copy* of the context: it can't change the variable for us, but it finds this object.
"""

from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import TYPE_CHECKING, Any

from analytics_middleware.counters import Counters
from analytics_middleware.event import Event, Identify
from analytics_middleware.money import Money
from analytics_middleware.properties import Scalar, clean_name, clean_properties
from analytics_middleware.request import Request
from analytics_middleware.tracing import MODULE, current_trace, modules

if TYPE_CHECKING:
    from analytics_middleware.analytics import Analytics
    from analytics_middleware.visitor_cookie import VisitorCookie


class RequestContext:
    """The facts of one request as they become known, and what its view said about it.

    Adapters fill the facts; the writer thread makes the event of them. Class attributes are the values of what
    nobody set, so that entering a request costs as few assignments as possible.
    """

    # Facts from the server, at entry.
    method: str = "GET"
    scheme: str = "http"
    path: str = "/"
    query: str = ""
    peer: str | None = None
    headers: Any = ()
    host_fallback: str = ""
    entered: float = 0.0
    """Seconds since the epoch."""
    clock: float = 0.0
    """perf_counter() at entry."""

    # Facts from the answer.
    status: int | None = None
    response_headers: Any = ()
    disconnected: bool = False
    duration: float | None = None

    # Facts from the framework; `describe(source, context)` reads them while the request is still there.
    describe: Callable[[Any, "RequestContext"], None] | None = None
    source: Any = None
    pattern: str | None = None
    endpoint: str | None = None
    user_id: str | None = None
    locale: str | None = None
    excluded: bool = False
    """Nothing that makes an event of its own: an asset, one of our own pages."""
    staff: bool = False
    """Whether the user is staff; noted only where `Analytics.leaves_out_staff`."""
    signed_out: bool = False
    """Whether a user who was signed in when the request came has signed out; noted for the visitor cookie."""
    root: Any = None
    """What the outermost layer knew of the application, for layers within that see only their part."""
    mount: str = ""
    """The template of where the innermost application stands that told no route of its own."""

    # What the view said.
    event_name: str | None = None
    action_name: str | None = None
    revenue: Money | None = None
    properties: dict[str, Scalar] | None = None
    set_user_id: str | None = None

    anon_id: str | None = None
    """The id of a visitor who gets it with this very answer, in a cookie."""
    new_visitor: tuple[str, str] | None = None
    """An id and its cookie, made for an event before the answer began."""
    trace: int = 0
    """OpenTelemetry's trace id, where that is at work."""
    automatic: bool = True
    finished: bool = False
    given: Event | None = None
    """Facts of a manual context (jobs and scripts), as an event of which the fields set are copied."""

    def __init__(self, analytics: "Analytics") -> None:
        self.analytics = analytics

    def look(self) -> None:
        """Ask the framework for route, user and locale as they are now."""
        describe = self.describe
        if describe is not None:
            try:
                describe(self.source, self)
            except Exception:  # noqa: BLE001 - a framework's object may raise anything; the request must not notice
                self.analytics.note_internal_error()

    def respond(self, status: int, headers: Iterable[tuple[Any, Any]]) -> str | None:
        """Note that the answer begins; return the value of a Set-Cookie header to add to its *headers*, if any."""
        self.status = status
        self.response_headers = headers
        if (tracing := modules.get(MODULE)) is not None:
            # Spans are current within the application only; those who ask later find none.
            self.trace = current_trace(tracing) or self.trace
        cookie = self.analytics.visitor_cookie
        return None if cookie is None else self._cookie(cookie)

    def _cookie(self, cookie: "VisitorCookie") -> str | None:
        if self.excluded:
            return None
        try:
            header, anon_id = cookie.header(
                self.facts(), self.response_headers, signed_out=self.signed_out, prepared=self.new_visitor
            )
        except Exception:  # noqa: BLE001 - the answer must not notice
            self.analytics.note_internal_error()
            return None
        if anon_id is not None:
            self.anon_id = anon_id
        return header

    def anticipate(self) -> None:
        """Find out what only the answer would: the trace, and the id of a visitor who will get a cookie."""
        if not self.trace and (tracing := modules.get(MODULE)) is not None:
            self.trace = current_trace(tracing)
        cookie = self.analytics.visitor_cookie
        if cookie is not None and self.anon_id is None and self.status is None and not self.excluded:
            self.new_visitor = cookie.new(self.facts())
            if self.new_visitor is not None:
                self.anon_id = self.new_visitor[0]

    def sign_out(self) -> None:
        """Note that the user signs out: the visitor cookie is for somebody new then. Nothing if nobody is signed in."""
        if not self.set_user_id and self.user_id is None:
            self.look()
        if self.user_id if self.set_user_id is None else self.set_user_id:
            self.signed_out = True

    def facts(self) -> Request:
        """Return what is known of the request and its answer as plain facts."""
        # By position: made for every request, and keywords would double what it costs.
        return Request(
            self.method,
            self.scheme,
            self.path,
            self.query,
            self.peer,
            self.headers,
            self.status,
            _content_type(self.response_headers),
            self.host_fallback,
        )

    def finish(self, duration: float) -> None:
        """Hand the request's event off, once. *duration* is seconds from entry to the last body byte."""
        if self.finished:
            return
        self.duration = duration
        self.look()
        self.finished = True
        # The framework's request must not live on in the queue; it also ends a reference cycle.
        self.source = self.describe = self.root = None
        self.analytics.submit(self)


def _content_type(headers: Iterable[tuple[Any, Any]]) -> str:
    for name, value in headers:
        if len(name) == 12 and name.lower() in (b"content-type", "content-type"):
            return (value.decode("latin-1") if isinstance(value, bytes) else value).strip().lower()
    return ""


current: ContextVar[RequestContext | None] = ContextVar("analytics_middleware_request", default=None)


class Tracked:
    """An event on its way to the writer thread, with the request it came from."""

    __slots__ = ("context", "event")

    def __init__(self, event: Event, context: RequestContext | None) -> None:
        self.event = event
        self.context = context


class Identified:
    """What was said of a user on its way to the writer thread, with the request in which it was said."""

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
) -> Tracked:
    """Return *event* ready to hand off; later changes to the caller's objects don't reach it.

    Raises `TypeError` or `ValueError` for arguments that make no event.
    """
    if isinstance(event, Event):
        if properties or fields:
            raise TypeError("an Event carries its own properties and fields; pass them to Event(...)")
        event = event.replace()
    else:
        event = Event(event_name=required(event, "event name"), **_event_fields(fields))
        event.properties = _mapping("properties", properties or {})
    event.timestamp = _instant(event.timestamp)
    event.properties, dropped = clean_properties(_mapping("properties", event.properties))
    if dropped:
        counters.add("properties_dropped", dropped)
    if context is not None and not context.finished:
        # The framework's request is at hand only now; the writer thread must not touch it.
        context.look()
        context.anticipate()
    return Tracked(event, context)


def identification(user_id: object, traits: Mapping[str, Any] | None, anon_id: str | None) -> Identify:
    """Return an `Identify` record of clean values.

    Raises `ValueError` for an empty *user_id*, `TypeError` for *traits* that are no mapping.
    """
    cleaned, _ = clean_properties(_mapping("traits", traits or {}))
    return Identify(
        user_id=required(user_id, "user id"),
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
    for name in ("user_id", "anon_id"):
        if cleaned.get(name) is not None:
            cleaned[name] = clean_name(cleaned[name])
    return cleaned


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
        # An event of the past that is dated now would be worse than none.
        raise TypeError(f"timestamp {value!r} must be a datetime, or text such as '2026-01-31T12:00:00Z'")
    return at


def required(name: object, what: str) -> str:
    """Return *name* as clean text. Raises `ValueError` when nothing is left of it; *what* is what it names."""
    cleaned = clean_name(name) if name is not None else ""
    if not cleaned:
        raise ValueError(f"{what} {name!r} is empty")
    return cleaned
