"""Patterns through what Starlette and Flask put applications together with: mounts, hosts, wrappers, blueprints."""

import asyncio
import gc
import tracemalloc
from typing import Any

import pytest

from analytics_middleware import Analytics, Event

pytest.importorskip("starlette")

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Host, Mount, Route, Router
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from analytics_middleware_starlette import AnalyticsMiddleware


class Wrapper:
    """Middleware as most people write it; it may give what it wraps a scope of its own."""

    def __init__(self, app: Any, *, copies: bool = False) -> None:
        self.app = app
        self.copies = copies

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(dict(scope) if self.copies else scope, receive, send)


def page(_: Any) -> HTMLResponse:
    return HTMLResponse("<h1>page</h1>")


leaf = Router([Route("/p/{id}", page)])


def site(*routes: Any, **settings: Any) -> Starlette:
    return Starlette(routes=routes, middleware=[Middleware(AnalyticsMiddleware, **settings)])


def patterns_of(app: Any, *urls: str, events: list[Event]) -> list[str | None]:
    for url in urls:
        # In most tests below nothing else says that it is a page.
        TestClient(app).get(url, headers={"accept": "text/html"})
    return [event.matched_pattern for event in events]


def test_the_template_of_a_mount_is_that_of_the_requests_host(analytics_events: list[Event]) -> None:
    app = site(
        Host("a.example", Router([Mount("/t/{tenant}", leaf)])),
        Host("{shop}.b.example", Router([Mount("/t/{customer}", leaf)])),
        Mount("/t/{other}", leaf),
    )
    urls = ["http://a.example/t/x/p/1", "http://s.b.example/t/x/p/1", "http://c.example/t/x/p/1"]
    assert (
        patterns_of(app, *urls, *urls, events=analytics_events)
        == [
            "/t/{tenant}/p/{id}",
            "/t/{customer}/p/{id}",
            "/t/{other}/p/{id}",
        ]
        * 2
    )


def test_mounts_are_found_within_wrapped_applications(analytics_events: list[Event]) -> None:
    app = site(Mount("/o/{org}", Wrapper(Wrapper(Router([Mount("/t/{tenant}", leaf)])))))
    urls = ["/o/a/t/x/p/1", "/o/b/t/y/p/2"]
    assert patterns_of(app, *urls, events=analytics_events) == ["/o/{org}/t/{tenant}/p/{id}"] * 2


def test_mounts_are_found_within_an_application_that_is_wrapped_whole(analytics_events: list[Event]) -> None:
    app = AnalyticsMiddleware(Wrapper(Router([Mount("/t/{tenant}", leaf)])), analytics=Analytics())
    assert patterns_of(app, "/t/x/p/1", events=analytics_events) == ["/t/{tenant}/p/{id}"]


def test_routes_that_fastapi_does_not_name_are_found(tmp_path: Any, analytics_events: list[Event]) -> None:
    fastapi = pytest.importorskip("fastapi")
    (tmp_path / "index.html").write_text("<h1>page</h1>")
    versioned = fastapi.APIRouter()
    versioned.mount("/t/{tenant}", leaf)
    inner = fastapi.APIRouter()
    inner.add_route("/added/{name}", page, methods=["GET", "POST"])
    versioned.include_router(inner, prefix="/inner")
    below = fastapi.FastAPI()
    below.add_route("/deep/{id}", page)
    app = fastapi.FastAPI(routes=[Route("/plain/{id:int}", page), Route("/again/{id}", page)])
    app.include_router(versioned, prefix="/api/{version}")
    app.mount("/files", StaticFiles(directory=tmp_path))
    app.mount("/site", StaticFiles(directory=tmp_path, html=True))
    app.mount("/below/{part}", below)
    app.add_middleware(AnalyticsMiddleware)
    urls = ["/plain/1", "/again/2", "/api/v1/t/acme/p/3", "/api/v1/inner/added/x", "/below/a/deep/4", "/below/a/none"]
    files = ["/files/index.html", "/files/none", "/site/"]
    # Older versions of FastAPI leave out what an included router mounts.
    mounted = TestClient(app).get(urls[2]).status_code == 200
    analytics_events.clear()
    assert patterns_of(app, *urls, *files, events=analytics_events) == [
        "/plain/{id:int}",
        "/again/{id}",
        "/api/{version}/t/{tenant}/p/{id}" if mounted else None,
        "/api/{version}/inner/added/{name}",
        "/below/{part}/deep/{id}",
        None,
        "/site",
    ]
    analytics_events.clear()
    TestClient(app).post("/api/v1/inner/added/x")
    assert [event.action_name for event in analytics_events] == ["page"]


def test_a_mount_is_not_named_for_the_pages_below_it(analytics_events: list[Event]) -> None:
    app = site(Mount("/o/{org}", Wrapper(leaf, copies=True)), Mount("/plain", Wrapper(page_of_any_path)))
    urls = ["/o/a/p/1", "/plain/", "/plain/about", "/plain/plain"]
    assert patterns_of(app, *urls, events=analytics_events) == [None, "/plain", None, None]


async def page_of_any_path(scope: Any, receive: Any, send: Any) -> None:
    await HTMLResponse("<h1>page</h1>")(scope, receive, send)


def test_files_that_are_a_site_are_pages_of_which_only_the_first_has_a_pattern(
    tmp_path: Any, analytics_events: list[Event]
) -> None:
    for name in ("index.html", "about.html"):
        (tmp_path / name).write_text("<h1>page</h1>")
    app = site(Mount("/docs", StaticFiles(directory=tmp_path, html=True)))
    assert patterns_of(app, "/docs/", "/docs/about.html", events=analytics_events) == ["/docs", None]


def test_long_names_of_mounts_are_not_kept_in_memory() -> None:
    async def serve(count: int) -> None:
        async def send(_: Any) -> None: ...

        for number in range(count):
            path = f"/t/{number}{'x' * 20_000}/p/1"
            scope = {"type": "http", "method": "GET", "path": path, "headers": [], "query_string": b""}
            await app(scope, send, send)

    # With nothing behind it: what it writes itself is another test's.
    app = site(Mount("/t/{tenant}", leaf), analytics=Analytics(enabled=True, store=None, classify=lambda _: None))
    asyncio.run(serve(10))
    tracemalloc.start()
    asyncio.run(serve(100))
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 100 * 5_000


def test_a_view_called_static_is_a_page_and_the_static_folder_is_none(
    tmp_path: Any, analytics_events: list[Event]
) -> None:
    flask = pytest.importorskip("flask")
    from analytics_middleware_flask import FlaskAnalytics

    (tmp_path / "page.html").write_text("<h1>file</h1>")
    folders = flask.Blueprint("folders", "shop", static_folder=tmp_path, static_url_path="/files")
    views = flask.Blueprint("views", "shop")
    views.add_url_rule("/electricity", "static", lambda: "<h1>static</h1>")
    app = flask.Flask("shop", static_folder=tmp_path, static_url_path="/static")
    FlaskAnalytics(app)
    app.register_blueprint(folders, url_prefix="/folders")
    app.register_blueprint(views, url_prefix="/views")
    client = app.test_client()
    for url in ("/static/page.html", "/folders/files/page.html", "/views/electricity"):
        with client.get(url) as response:
            assert response.status_code == 200
    assert [event.matched_pattern for event in analytics_events] == ["/views/electricity"]
