"""WSGI applications that break the protocol: what servers make of them is not changed by the middleware."""

import pytest

from analytics_middleware import Analytics
from analytics_middleware.context import current
from analytics_middleware.testing import FakeCollector
from analytics_middleware.wsgi import AnalyticsMiddleware

PAGE = [("Content-Type", "text/html")]


@pytest.fixture
def recorded():
    """Serves one page of an application and returns its body, and what was recorded."""
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True)

    def serve(app, **environ):
        said = []
        given = {"REQUEST_METHOD": "GET", "PATH_INFO": "/", "HTTP_ACCEPT": "text/html", **environ}
        body = AnalyticsMiddleware(app, analytics=analytics)(given, lambda status, headers, *_: said.append(status))
        return said, b"".join(body)

    def events():
        assert analytics.flush()
        return collector.events

    yield serve, events
    analytics.close()


@pytest.mark.parametrize("status", ["Teapot", "0 Teapot", "", "²00 OK"])
def test_a_status_that_is_none_goes_to_the_server_as_it_is_and_counts_as_an_error(recorded, status):
    serve, events = recorded

    def app(_environ, start_response):
        start_response(status, PAGE)
        return [b"x"]

    assert serve(app) == ([status], b"x")
    assert [event.status_code for event in events()] == [500]


def test_an_application_that_returns_no_body_is_an_error_and_leaves_no_request_behind(recorded):
    serve, events = recorded

    def app(_environ, start_response):
        start_response("200 OK", PAGE)

    with pytest.raises(TypeError):
        serve(app)
    assert current.get() is None
    assert [event.status_code for event in events()] == [500]


def test_a_method_of_any_length_is_cut():
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True, track_all=True)

    def app(_environ, start_response):
        start_response("405 No", PAGE)
        return [b""]

    environ = {"REQUEST_METHOD": "X" * 5000, "PATH_INFO": "/"}
    list(AnalyticsMiddleware(app, analytics=analytics)(environ, lambda *_: None))
    assert analytics.flush()
    analytics.close()
    assert [event.method for event in collector.events] == ["X" * 32]
