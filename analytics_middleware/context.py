"""The context of the current request, from which events are made.

The ContextVar holds one mutable object, set when the request enters. A view in a thread pool, a streaming body or
an inner middleware runs in a *copy* of the context: it can't set the variable for us, but it can change the object.
"""

from collections import deque
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from analytics_middleware.event import Event
from analytics_middleware.money import Money
from analytics_middleware.properties import Scalar
from analytics_middleware.request import Request
from analytics_middleware.tracing import MODULE, current_trace, modules

if TYPE_CHECKING:
    from analytics_middleware.analytics import Analytics
    from analytics_middleware.tracking import TrackedEvent
    from analytics_middleware.visitor_cookie import VisitorCookie


class RequestContext:
    """The facts of one request as they become known, and what its view set with the helpers.

    Adapters fill in the facts; the writer thread makes the event from them. Defaults are class attributes, so that
    entering a request costs as few assignments as possible.
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

    # Facts from the response.
    status: int | None = None
    response_headers: Any = ()
    disconnected: bool = False
    duration: float | None = None

    # Facts from the framework; `describe(source, context)` reads them while the request still exists.
    describe: Callable[[Any, "RequestContext"], None] | None = None
    source: Any = None
    pattern: str | None = None
    endpoint: str | None = None
    user_id: str | None = None
    locale: str | None = None
    excluded: bool = False
    """Whether the request makes no automatic event, because it is for an asset or one of our own pages."""
    staff: bool = False
    """Whether the user is staff; set only if `Analytics.leaves_out_staff` is true."""
    restored: bool = False
    """Whether this was restored in a task from the request that sent it; it has no address and no cookies then."""
    signed_out: bool = False
    """Whether a user who was signed in when the request came has signed out; for the visitor cookie."""
    root: Any = None
    """ASGI's application and root path, or WSGI's script name, in the outermost layer. Inner layers compare their own
    with it to find out what the mounts in between have added."""
    mount: str = ""
    """The route template of the mounts around the innermost application, which goes before its own templates."""

    # Set by the view.
    event_name: str | None = None
    action_name: str | None = None
    revenue: Money | None = None
    properties: dict[str, Scalar] | None = None
    set_user_id: str | None = None

    anon_id: str | None = None
    """The id of a visitor who gets a cookie with it in this very response."""
    new_visitor: tuple[str, str] | None = None
    """An id and its cookie, made for an event that was tracked before the response decides whether to set it."""
    held: "deque[tuple[Analytics, TrackedEvent]] | None" = None
    """Events that wait for that decision."""
    event_id: str = ""
    """The id of the request's event, if it was needed before the event is made."""
    trace: int = 0
    """OpenTelemetry's trace id, 0 if there is none."""
    automatic: bool = True
    finished: bool = False
    given: Event | None = None
    """The facts of a manual context (jobs and scripts), as an event from which tracked events copy fields."""

    def __init__(self, analytics: "Analytics") -> None:
        self.analytics = analytics

    def join(self, analytics: "Analytics", source: Any, describe: Callable[[Any, "RequestContext"], None]) -> None:
        """Let an inner layer with *analytics*, which knows route and user, describe the request from now on."""
        self.source = source
        self.describe = describe
        if analytics is not self.analytics:
            analytics.note_outer()

    def note_path_below(self, path: str) -> None:
        """Leave the request out if *path*, without the prefix that the application is mounted at, is excluded."""
        self.excluded = self.excluded or self.analytics.exclusions.path(path or "/")

    def read_framework_facts(self) -> None:
        """Read route, user and locale from the framework, as they are now."""
        describe = self.describe
        if describe is not None:
            try:
                describe(self.source, self)
            except Exception:  # noqa: BLE001 - a framework's object may raise anything; the request must not notice
                self.analytics.note_internal_error()

    def respond(self, status: int, headers: Iterable[tuple[Any, Any]]) -> str | None:
        """Note that the response begins; return the value of a Set-Cookie header to add to its *headers*, or None."""
        self.status = status
        self.response_headers = headers
        if (tracing := modules.get(MODULE)) is not None:
            # The span is current only while the application runs; later there is none to read.
            self.trace = current_trace(tracing) or self.trace
        cookie = self.analytics.visitor_cookie
        return None if cookie is None else self._cookie(cookie)

    def _cookie(self, cookie: "VisitorCookie") -> str | None:
        header = anon_id = None
        if not self.excluded:
            try:
                header, anon_id = cookie.header(
                    self.facts(), self.response_headers, signed_out=self.signed_out, prepared=self.new_visitor
                )
            except Exception:  # noqa: BLE001 - the response must not notice
                self.analytics.note_internal_error()
        if anon_id is not None or self.new_visitor is not None:
            self._decide(anon_id)
        return header

    def _decide(self, anon_id: str | None) -> None:
        # With an id that the browser never gets, each of its requests would count as another visitor.
        self.anon_id, self.new_visitor = anon_id, None
        self._release()

    def anticipate(self) -> None:
        """Determine before the response begins what `respond` would: the trace, and the id that a new visitor gets."""
        if not self.trace and (tracing := modules.get(MODULE)) is not None:
            self.trace = current_trace(tracing)
        cookie = self.analytics.visitor_cookie
        if cookie is not None and self.anon_id is None and self.status is None and not self.excluded:
            self.new_visitor = cookie.new(self.facts())
            if self.new_visitor is not None:
                self.held = deque()
                self.anon_id = self.new_visitor[0]

    def submit(self, item: "TrackedEvent", analytics: "Analytics") -> None:
        """Submit *item*, tracked in this request, to *analytics* as soon as its visitor is known."""
        if self.held is None:
            analytics.submit(item)
            return
        self.held.append((analytics, item))
        # Checked after the append: another thread may have decided in between.
        if self.new_visitor is None:
            self._release()

    def _release(self) -> None:
        while self.held:
            try:
                analytics, item = self.held.popleft()
            except IndexError:
                # Another thread has released the last one.
                return
            if item.context is not None:
                item.context.anon_id = self.anon_id
            analytics.submit(item)

    def snapshot(self) -> "RequestContext":
        """Return a copy for an event that is tracked now, which a later `set_user` must not change."""
        copy = RequestContext(self.analytics)
        copy.__dict__.update(self.__dict__)
        # The queue must not keep the framework's request alive.
        copy.source = copy.describe = copy.root = copy.held = None
        if copy.given is not None:
            copy.given = copy.given.replace()
        return copy

    def sign_out(self) -> None:
        """Note that the user signs out, so that the visitor cookie is replaced; do nothing if nobody is signed in."""
        if not self.set_user_id and self.user_id is None:
            self.read_framework_facts()
        if self.user_id if self.set_user_id is None else self.set_user_id:
            self.signed_out = True

    def facts(self) -> Request:
        """Return what is known of the request and its response as plain facts."""
        # Positional arguments: keywords would double the cost, and this is made for every request.
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
        """Submit the request's event, once. *duration* is seconds from entry to the last body byte."""
        if self.finished:
            return
        self.duration = duration
        self.read_framework_facts()
        self.finished = True
        # The queue must not keep the framework's request alive; this also breaks a reference cycle.
        self.source = self.describe = self.root = None
        if self.new_visitor is not None:
            # There was no response that could have set the cookie.
            self._decide(None)
        self.analytics.submit(self)


def _content_type(headers: Iterable[tuple[Any, Any]]) -> str:
    for name, value in headers:
        if len(name) == 12 and name.lower() in (b"content-type", "content-type"):
            return (value.decode("latin-1") if isinstance(value, bytes) else value).strip().lower()
    return ""


current: ContextVar[RequestContext | None] = ContextVar("analytics_middleware_request", default=None)
