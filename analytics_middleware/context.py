"""The current request, and what an event takes from it.

The ContextVar holds one mutable object, set when the request enters. A view in a thread pool, a streaming body or
an inner middleware runs in a *copy* of the context: it can't change the variable for us, but it finds this object.
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
    from analytics_middleware.tracking import Tracked
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
    handed_over: bool = False
    """Whether this is what a task was told of the request that sent it: there is no address, and no cookie."""
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
    """An id and its cookie, made for an event before the answer began and decides whether it is given out."""
    held: "deque[tuple[Analytics, Tracked]] | None" = None
    """Events that wait for that decision."""
    event_id: str = ""
    """The id of the request's event, where it was fixed before the event was made."""
    trace: int = 0
    """OpenTelemetry's trace id, where that is at work."""
    automatic: bool = True
    finished: bool = False
    given: Event | None = None
    """Facts of a manual context (jobs and scripts), as an event of which the fields set are copied."""

    def __init__(self, analytics: "Analytics") -> None:
        self.analytics = analytics

    def read_framework_facts(self) -> None:
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
        header = anon_id = None
        if not self.excluded:
            try:
                header, anon_id = cookie.header(
                    self.facts(), self.response_headers, signed_out=self.signed_out, prepared=self.new_visitor
                )
            except Exception:  # noqa: BLE001 - the answer must not notice
                self.analytics.note_internal_error()
        if anon_id is not None or self.new_visitor is not None:
            self._decide(anon_id)
        return header

    def _decide(self, anon_id: str | None) -> None:
        # An id that the browser never learns would make a visitor of each of its requests.
        self.anon_id, self.new_visitor = anon_id, None
        self._release()

    def anticipate(self) -> None:
        """Find out what only the answer would: the trace, and the id of a visitor who will get a cookie."""
        if not self.trace and (tracing := modules.get(MODULE)) is not None:
            self.trace = current_trace(tracing)
        cookie = self.analytics.visitor_cookie
        if cookie is not None and self.anon_id is None and self.status is None and not self.excluded:
            self.new_visitor = cookie.new(self.facts())
            if self.new_visitor is not None:
                self.held = deque()
                self.anon_id = self.new_visitor[0]

    def submit(self, item: "Tracked", analytics: "Analytics") -> None:
        """Hand *item*, tracked in this request, over to *analytics*, as soon as it is known who its visitor is."""
        if self.held is None:
            analytics.submit(item)
            return
        self.held.append((analytics, item))
        # Looked at last: it may have been decided in another thread meanwhile.
        if self.new_visitor is None:
            self._release()

    def _release(self) -> None:
        while self.held:
            try:
                analytics, item = self.held.popleft()
            except IndexError:
                # Another thread does the same.
                return
            if item.context is not None:
                item.context.anon_id = self.anon_id
            analytics.submit(item)

    def as_known(self) -> "RequestContext":
        """Return what is known now, for an event that happens now: whom the view names later it is not about."""
        known = RequestContext(self.analytics)
        known.__dict__.update(self.__dict__)
        # The framework's request must not live on in the queue.
        known.source = known.describe = known.root = known.held = None
        if known.given is not None:
            known.given = known.given.replace()
        return known

    def sign_out(self) -> None:
        """Note that the user signs out: the visitor cookie is for somebody new then. Nothing if nobody is signed in."""
        if not self.set_user_id and self.user_id is None:
            self.read_framework_facts()
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
        self.read_framework_facts()
        self.finished = True
        # The framework's request must not live on in the queue; it also ends a reference cycle.
        self.source = self.describe = self.root = None
        if self.new_visitor is not None:
            # There was no answer that could have given the id out.
            self._decide(None)
        self.analytics.submit(self)


def _content_type(headers: Iterable[tuple[Any, Any]]) -> str:
    for name, value in headers:
        if len(name) == 12 and name.lower() in (b"content-type", "content-type"):
            return (value.decode("latin-1") if isinstance(value, bytes) else value).strip().lower()
    return ""


current: ContextVar[RequestContext | None] = ContextVar("analytics_middleware_request", default=None)
