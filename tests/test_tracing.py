"""An event knows its trace: OpenTelemetry's where that is at work, else the one the request came with."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from analytics_middleware import Analytics, asgi, track, wsgi
from analytics_middleware.request import Request
from analytics_middleware.tracing import MODULE, current_trace, trace_id_of

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"


def with_header(value):
    return Request(headers=[(b"traceparent", value.encode())])


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{TRACE}-{SPAN}-01", TRACE),
        (f" 00-{TRACE}-{SPAN}-00 ", TRACE),
        (f"01-{TRACE}-{SPAN}-01-what-comes-later", TRACE),
        (f"00-{TRACE}-{SPAN}-01-more", None),
        (f"ff-{TRACE}-{SPAN}-01", None),
        (f"00-{'0' * 32}-{SPAN}-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-{SPAN}-01", None),
        (f"00-{TRACE}-{SPAN}", None),
        (f"{TRACE}-{SPAN}-01", None),
        ("", None),
    ],
)
def test_a_traceparent_header_is_read_as_the_standard_says(header, trace):
    """https://www.w3.org/TR/trace-context/ section 3.2."""
    assert trace_id_of(0, with_header(header)) == trace


def test_without_header_or_span_there_is_no_trace():
    assert trace_id_of(0, Request()) is trace_id_of(0, None) is None


def test_a_span_outranks_the_header_it_may_not_have_followed():
    assert trace_id_of(0xABC, with_header(f"00-{TRACE}-{SPAN}-01")) == f"{0xABC:032x}"


@pytest.mark.parametrize("module", [SimpleNamespace(), SimpleNamespace(get_current_span=lambda: None)])
def test_a_module_that_is_not_what_it_should_be_does_no_harm(module):
    assert current_trace(module) == 0


class Tracing:
    """Stands in for opentelemetry.trace: a span is current inside the application only."""

    def __init__(self, monkeypatch):
        self.current = 0
        monkeypatch.setitem(sys.modules, MODULE, self)

    def get_current_span(self):
        return self

    def get_span_context(self):
        return SimpleNamespace(trace_id=self.current)


@pytest.fixture
def events():
    return []


@pytest.fixture
def analytics(events):
    analytics = Analytics(enabled=True, store=None)
    analytics.capture(events.append)
    return analytics


def test_the_span_that_is_current_when_an_asgi_application_answers(monkeypatch, analytics, events):
    tracing = Tracing(monkeypatch)

    async def app(scope, receive, send):
        tracing.current = int(TRACE, 16)
        track("inside")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        tracing.current = 0
        await send({"type": "http.response.body"})

    async def send(message):
        pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b""}
    asyncio.run(asgi.AnalyticsMiddleware(app, analytics=analytics)(scope, None, send))
    assert [(event.name, event.visit.trace_id) for event in events] == [("inside", TRACE), ("pageview", TRACE)]


def test_the_span_that_is_current_when_a_wsgi_application_answers(monkeypatch, analytics, events):
    tracing = Tracing(monkeypatch)

    def app(environ, start_response):
        tracing.current = int(TRACE, 16)
        start_response("200 OK", [("Content-Type", "text/html")])
        tracing.current = 0
        return [b"<p>"]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    list(wsgi.AnalyticsMiddleware(app, analytics=analytics)(environ, lambda *_: None))
    assert [event.visit.trace_id for event in events] == [TRACE]


def test_with_the_real_opentelemetry(analytics, events):
    trace = pytest.importorskip("opentelemetry.sdk.trace")
    tracer = trace.TracerProvider(shutdown_on_exit=False).get_tracer("test")
    seen = []

    def app(environ, start_response):
        with tracer.start_as_current_span("request") as span:
            seen.append(f"{span.get_span_context().trace_id:032x}")
            start_response("200 OK", [("Content-Type", "text/html")])
        return [b"<p>"]

    environ = {"REQUEST_METHOD": "GET", "PATH_INFO": "/"}
    list(wsgi.AnalyticsMiddleware(app, analytics=analytics)(environ, lambda *_: None))
    assert [event.visit.trace_id for event in events] == seen
