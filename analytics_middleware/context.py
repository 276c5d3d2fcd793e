"""The current request, and the helpers that views call to shape its event.

The ContextVar holds one mutable object, set when the request enters. A view in a thread pool, a streaming body or
an inner middleware runs in a *copy* of the context: it can't change the variable for us, but it finds this object.
"""

import functools
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, ParamSpec

from analytics_middleware.counters import Counters, logger
from analytics_middleware.event import Event, Identify
from analytics_middleware.money import Money
from analytics_middleware.properties import MAX_PROPERTIES, Scalar, clean_name, clean_properties, clean_value

if TYPE_CHECKING:
    from analytics_middleware.analytics import Analytics

P = ParamSpec("P")


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
    root: Any = None
    """What the outermost layer knew of the application, for layers within that see only their part."""

    # What the view said.
    event_name: str | None = None
    action_name: str | None = None
    revenue: Money | None = None
    properties: dict[str, Scalar] | None = None
    set_user_id: str | None = None

    anon_id: str | None = None
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


current: ContextVar[RequestContext | None] = ContextVar("analytics_middleware_request", default=None)


def _helper(function: Callable[P, None]) -> Callable[P, None]:
    """Make *function* safe to call from a view: what it raises is logged and counted, never the view's problem."""

    @functools.wraps(function)
    def safely(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - see above
            context = current.get()
            if context is not None:
                counters = context.analytics.counters
                counters.add("bad_argument")
                name = function.__name__
                counters.log(f"helper.{name}", logger.warning, "analytics: %s() ignored: %s", name, clean_value(error))

    return safely


def _open_context() -> RequestContext | None:
    """Return the current request if its event can still be changed."""
    context = current.get()
    if context is None:
        return None
    if context.finished or not context.automatic:
        context.analytics.counters.add("late_helper")
        return None
    return context


@_helper
def set_revenue(amount: Any, currency: str | None = None) -> None:
    """Set the revenue of the current request's event: ``set_revenue("29.99", "GBP")``, or anything `Money.of` takes.

    The last call wins. A no-op outside a request.
    """
    if (context := _open_context()) is not None:
        context.revenue = Money.of(amount, currency)


@_helper
def add_property(key: str, value: Any) -> None:
    """Add a property to the current request's event, or update it.

    A 65th key is dropped and counted. A no-op outside a request.
    """
    if (context := _open_context()) is None:
        return
    properties = context.properties
    if properties is None:
        properties = context.properties = {}
    name = _required(key, "property key")
    if name in properties or len(properties) < MAX_PROPERTIES:
        properties[name] = clean_value(value)
    else:
        context.analytics.counters.add("properties_dropped")


@_helper
def set_event_name(name: str) -> None:
    """Name the current request's event: it becomes a custom event. A no-op outside a request."""
    if (context := _open_context()) is not None:
        context.event_name = _required(name, "event name")


@_helper
def set_action_name(name: str) -> None:
    """Name the action of the current request: its event becomes an action, unless `set_event_name` was called too.

    A no-op outside a request.
    """
    if (context := _open_context()) is not None:
        context.action_name = _required(name, "action name")


@_helper
def set_user(user_id: object) -> None:
    """Say whose request this is, over what the framework's auth says; None says nobody's. A no-op outside a request."""
    if (context := _open_context()) is not None:
        context.set_user_id = "" if user_id is None else clean_name(user_id)
        if context.given is not None:
            context.given.user_id = context.set_user_id or None


@_helper
def track(event: str | Event, properties: Mapping[str, Any] | None = None, **fields: Any) -> None:
    """Send a custom event from within a request, with every empty field filled that the request knows.

    *event* is a name or an `Event`; *fields* are further fields of a named event, such as ``revenue`` or
    ``user_id``. A no-op outside a request: there use `Analytics.track`.
    """
    context = current.get()
    if context is not None:
        analytics = context.analytics
        analytics.submit(tracked(event, properties, fields, context, analytics.counters))


@_helper
def identify(user_id: object, traits: Mapping[str, Any] | None = None, anon_id: str | None = None) -> None:
    """Merge *traits* into what is known of *user_id*, and tie *anon_id* to it. A no-op outside a request."""
    context = current.get()
    if context is not None:
        context.analytics.identify(user_id, traits, anon_id)


class Tracked:
    """An event on its way to the writer thread, with the request it came from."""

    __slots__ = ("context", "event")

    def __init__(self, event: Event, context: RequestContext | None) -> None:
        self.event = event
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
        event = Event(event_name=_required(event, "event name"), **_event_fields(fields))
        event.properties = dict(properties or {})
    if not isinstance(event.properties, Mapping):
        raise TypeError(f"properties must be a mapping, not {type(event.properties).__name__}")
    event.properties, dropped = clean_properties(event.properties)
    if dropped:
        counters.add("properties_dropped", dropped)
    if context is not None and not context.finished:
        # The framework's request is at hand only now; the writer thread must not touch it.
        context.look()
    return Tracked(event, context)


def identification(user_id: object, traits: Mapping[str, Any] | None, anon_id: str | None) -> Identify:
    """Return an `Identify` record of clean values. Raises `ValueError` for an empty *user_id*."""
    cleaned, _ = clean_properties(traits or {})
    return Identify(
        user_id=_required(user_id, "user id"),
        traits=cleaned,
        anon_id=clean_name(anon_id) if anon_id else None,
    )


def _event_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    cleaned = dict(fields)
    if cleaned.get("revenue") is not None:
        cleaned["revenue"] = Money.of(cleaned["revenue"])
    for name in ("user_id", "anon_id"):
        if cleaned.get(name) is not None:
            cleaned[name] = clean_name(cleaned[name])
    return cleaned


def _required(name: object, what: str) -> str:
    cleaned = clean_name(name) if name is not None else ""
    if not cleaned:
        raise ValueError(f"{what} {name!r} is empty")
    return cleaned
