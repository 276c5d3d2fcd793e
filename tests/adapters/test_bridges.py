"""WSGI applications within ASGI ones: one request is one event, of which both sides know a part."""

import warnings
from collections.abc import Callable
from typing import Any

import pytest

from analytics_middleware import Analytics, Event, add_property
from analytics_middleware.asgi import AnalyticsMiddleware as Bare

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from analytics_middleware_starlette import AnalyticsMiddleware

Bridge = Callable[[Any], Any]


def a2wsgi_bridge(app: Any) -> Any:
    return pytest.importorskip("a2wsgi").WSGIMiddleware(app)


def starlettes_bridge(app: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from starlette.middleware.wsgi import WSGIMiddleware
    return WSGIMiddleware(app)


every_bridge = pytest.mark.parametrize("bridge", [a2wsgi_bridge, starlettes_bridge])


@pytest.fixture
def flask_app() -> Any:
    flask = pytest.importorskip("flask")
    from analytics_middleware_flask import FlaskAnalytics

    app = flask.Flask("blog")
    app.config["ANALYTICS"] = {"get_user_id": lambda request: request.headers.get("x-user")}
    FlaskAnalytics(app)

    @app.get("/post/<slug>")
    def post(slug: str) -> str:
        add_property("slug", slug)
        return "<h1>post</h1>"

    return app


def mounted(path: str, app: Any) -> TestClient:
    routes = [Mount(path, app), Route("/page", lambda _: HTMLResponse("<h1>page</h1>"))]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(AnalyticsMiddleware, analytics=Analytics())]))


@every_bridge
@pytest.mark.parametrize(
    ("mount", "path", "pattern"),
    [
        ("/blog", "/blog/post/a", "/blog/post/<slug>"),
        ("/t/{tenant}", "/t/acme/post/a", "/t/{tenant}/post/<slug>"),
        ("", "/post/a", "/post/<slug>"),
        ("/blog", "/blog/post/%C3%A9", "/blog/post/<slug>"),
    ],
)
def test_a_mounted_flask_application_supplies_route_and_user_of_the_one_event(
    flask_app: Any, bridge: Bridge, mount: str, path: str, pattern: str, analytics_events: list[Event]
) -> None:
    response = mounted(mount, bridge(flask_app)).get(path, headers={"x-user": "u1"})
    assert response.status_code == 200
    [event] = analytics_events
    assert (event.matched_pattern, event.user_id, event.status_code) == (pattern, "u1", 200)
    assert len(event.properties) == 1


@every_bridge
def test_a_path_that_the_mounted_application_does_not_know_has_no_pattern(
    flask_app: Any, bridge: Bridge, analytics_events: list[Event]
) -> None:
    assert mounted("/blog", bridge(flask_app)).get("/blog/no", headers={"accept": "text/html"}).status_code == 404
    [event] = analytics_events
    assert (event.matched_pattern, event.status_code) == (None, 404)


@every_bridge
def test_a_layer_that_knows_no_routes_leaves_them_to_the_mounted_application(
    flask_app: Any, bridge: Bridge, analytics_events: list[Event]
) -> None:
    assert TestClient(Bare(bridge(flask_app), analytics=Analytics())).get("/post/a").status_code == 200
    assert [event.matched_pattern for event in analytics_events] == ["/post/<slug>"]


def test_a_request_that_a_view_makes_of_another_application_is_one_of_its_own(
    flask_app: Any, analytics_events: list[Event]
) -> None:
    def page(_: Any) -> HTMLResponse:
        return HTMLResponse(flask_app.test_client().get("/post/a").text)

    app = Starlette(routes=[Route("/page", page)], middleware=[Middleware(AnalyticsMiddleware, analytics=Analytics())])
    TestClient(app).get("/page")
    assert {event.matched_pattern for event in analytics_events} == {"/post/<slug>", "/page"}
    assert len(analytics_events) == 2


def test_a_body_that_was_never_closed_does_not_swallow_the_next_request(
    flask_app: Any, analytics_events: list[Event]
) -> None:
    flask_app.add_url_rule("/stream", view_func=lambda: flask_app.response_class(iter(["<p>", "</p>"])))
    client = flask_app.test_client()
    unread = [client.get("/stream", headers={"accept": "text/html"}) for _ in range(2)]
    for response in unread:
        response.close()
    assert len(analytics_events) == 2
