"""The live page by server-sent events: real servers, and the stream alone where time matters."""

import asyncio
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection, HTTPResponse
from typing import Any

import pytest
import uvicorn
from web_sites import READER, TOKEN, Site, site_on

from analytics_middleware import Analytics
from analytics_middleware.counters import Counters
from analytics_middleware.web.asgi import ASGIRunner
from analytics_middleware.web.dashboard import Dashboard
from analytics_middleware.web.http import Refusal, WebRequest, WebResponse
from analytics_middleware.web.streaming import HEADERS, Snapshot, Streams, Timing

DEADLINE = 10.0
STREAM = "/analytics/live?format=stream"
HOSTILE = 'x\r\n\r\ndata: {"html": "<div data-live>"}\n\nevent: y\u2028'


@contextmanager
def listening(app: Any) -> Iterator[tuple[int, Callable[[], bool]]]:
    """Serve *app* with uvicorn as it is by default, without a limit to waiting for connections at the end.

    Yields its port, and a function that ends it as a signal does and returns whether it has ended.
    """
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, log_level="critical", lifespan="off"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()

        def end() -> bool:
            server.should_exit = True
            thread.join(DEADLINE)
            return not thread.is_alive()

        try:
            yield listener.getsockname()[1], end
        finally:
            server.force_exit = True
            end()


@contextmanager
def opened(port: int, path: str = STREAM, headers: Any = READER) -> Iterator[HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    connection.request("GET", path, headers=headers)
    with closing(connection), connection.getresponse() as answer:
        yield answer


def messages(answer: HTTPResponse) -> Iterator[str]:
    """What comes, one after the other; each must be one line of JSON."""
    while line := answer.readline():
        if line.startswith(b"data: "):
            yield json.loads(line.removeprefix(b"data: "))["html"]
        else:
            assert line in (b"\n", b":\n", b"retry: 1000\n"), line


@contextmanager
def plain(**settings: Any) -> Iterator[Site]:
    analytics = Analytics(**{"enabled": True, "read_token": TOKEN, **settings})
    try:
        yield Site("ASGI", ASGIRunner(Dashboard(analytics)), "asgi", analytics)
    finally:
        analytics.close()


@pytest.fixture(params=["ASGI", "Starlette", "FastAPI", "Django ASGI"])
def asgi(request: pytest.FixtureRequest) -> Iterator[Site]:
    """The dashboard on each ASGI stack."""
    if request.param == "ASGI":
        with plain() as site:
            yield site
    elif request.param == "Django ASGI":
        with site_on("Django ASGI") as site:
            yield site
    else:
        from fastapi import FastAPI
        from starlette.applications import Starlette

        from analytics_middleware_starlette import AnalyticsDashboard, AnalyticsMiddleware

        with plain() as site:
            app: Any = Starlette() if request.param == "Starlette" else FastAPI()
            app.mount("/analytics", AnalyticsDashboard(site.analytics))
            app.add_middleware(AnalyticsMiddleware, analytics=site.analytics)
            site.app = app
            yield site


def test_what_happens_is_sent_and_the_server_ends_at_once(asgi: Site):
    with listening(asgi.app) as (port, end), opened(port) as answer:
        assert answer.status == 200
        assert answer.getheader("content-type") == "text/event-stream"
        assert answer.getheader("cache-control") == "no-store"
        assert "connect-src 'self'" in (answer.getheader("content-security-policy") or "")
        come = messages(answer)
        assert "Nothing has happened" in next(come)
        asgi.analytics.track(HOSTILE, user_id="ann")
        assert asgi.analytics.flush(DEADLINE)
        told = next(come)
        assert "users?user_id=ann" in told
        assert "data: {" in told
        # One message, whatever the name of the event says.
        assert end()
        assert list(come) == []


def test_it_ends_with_its_analytics():
    with plain() as site, listening(site.app) as (port, _), opened(port) as answer:
        site.analytics.ensure_started()
        come = messages(answer)
        next(come)
        site.analytics.close()
        assert list(come) == []


def test_the_page_says_where_its_stream_is_and_only_readers_get_it(asgi: Site):
    with listening(asgi.app) as (port, _):
        with opened(port, "/analytics/live") as page:
            assert b'data-stream="/analytics/live?format=stream"' in page.read()
        with opened(port, headers={}) as refused:
            assert refused.status == 401
        with opened(port, "/analytics/?format=stream") as wrong:
            assert wrong.status == 400


@pytest.mark.parametrize("name", ["Flask", "Django WSGI"])
def test_where_a_connection_would_hold_a_worker_there_is_none(name: str):
    with site_on(name) as site:
        page = site.ask("GET", "/analytics/live", headers=READER)
        assert b"data-live" in page.body
        assert b"data-stream" not in page.body
        refused = site.ask("GET", STREAM, headers={**READER, "accept": "application/json"})
        assert (refused.status, refused.error["field"]) == (400, "format")


class Page:
    """A page for `Streams`, whose news are what it is told."""

    def __init__(self) -> None:
        self.news: Any = 0
        self.asked = 0
        self.fails = False

    def state(self) -> Snapshot:
        self.asked += 1
        if self.fails:
            self.fails = False
            raise RuntimeError("the store is away")
        return Snapshot(self.news, f"<p>{self.news}</p>")


QUICK = Timing(interval=0.01, life=DEADLINE, alive=DEADLINE, slow=DEADLINE)


def streams(counters: Counters | None = None, **options: Any) -> Streams:
    return Streams(counters or Counters(), lambda: False, **{"timing": QUICK, **options})


async def part(stream: Any) -> bytes:
    async with asyncio.timeout(DEADLINE):
        found: bytes = await anext(stream)
        return found


def test_one_asks_for_all_who_look_at_the_same_page():
    page, all_streams = Page(), streams(timing=QUICK._replace(interval=0.2))

    async def look() -> None:
        viewers = [all_streams.open("live", page.state) for _ in range(5)]
        for viewer in viewers:
            assert await part(viewer) == b"retry: 1000\n\n"
        for viewer in viewers:
            assert b"<p>0</p>" in await part(viewer)
        assert len(all_streams) == 5
        before = page.asked
        page.news = 1
        for viewer in viewers:
            assert b"<p>1</p>" in await part(viewer)
        assert page.asked - before < 5
        for viewer in viewers:
            await viewer.aclose()
        assert len(all_streams) == 0

    asyncio.run(look())


def test_a_page_that_fails_once_is_asked_again():
    page, all_streams = Page(), streams()
    page.fails = True

    async def look() -> None:
        viewer = all_streams.open("live", page.state)
        await part(viewer)
        assert b"<p>0</p>" in await part(viewer)
        await viewer.aclose()

    asyncio.run(look())


def test_while_nothing_happens_a_comment_keeps_the_connection_and_then_it_ends():
    page, all_streams = Page(), streams(timing=QUICK._replace(alive=0.3, life=1.5))

    async def look() -> None:
        found = [each async for each in all_streams.open("live", page.state)]
        assert found[0] == b"retry: 1000\n\n"
        assert b"<p>0</p>" in found[1]
        assert set(found[2:]) == {b":\n\n"}

    asyncio.run(look())


def test_a_server_that_cannot_be_asked_whether_it_ends_is_noted_once_for_debugging(caplog: pytest.LogCaptureFixture):
    page, all_streams = Page(), streams()

    async def look() -> None:
        for _ in range(2):
            viewer = all_streams.open("live", page.state)
            await part(viewer)
            await part(viewer)
            await viewer.aclose()

    with caplog.at_level(logging.DEBUG, "analytics_middleware"):
        asyncio.run(look())
    assert caplog.text.count("no uvicorn found") == 1


def test_more_connections_than_may_be_held_are_refused_and_counted():
    page, counters = Page(), Counters()
    all_streams = streams(counters, limit=1)

    async def look() -> None:
        viewer = all_streams.open("live", page.state)
        await part(viewer)
        with pytest.raises(Refusal) as refused:
            all_streams.open("live", page.state)
        assert refused.value.status == 503
        await viewer.aclose()
        await all_streams.open("live", page.state).aclose()

    asyncio.run(look())
    assert counters.peek()["streams_refused"] == 1


def test_who_does_not_read_is_let_go_and_counted():
    page, counters = Page(), Counters()
    all_streams = streams(counters, timing=QUICK._replace(slow=0.1))

    class App:
        mount = ""

        def body_limit(self, request: WebRequest) -> int:
            return 0

        def __call__(self, request: WebRequest) -> WebResponse:
            return WebResponse(200, all_streams.open("live", page.state), list(HEADERS))

    async def look() -> None:
        stuck = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                stuck.set()
                await asyncio.Event().wait()

        async def receive() -> Any:
            await asyncio.Event().wait()

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        serving = asyncio.create_task(ASGIRunner(App())(scope, receive, send))
        await stuck.wait()
        until = time.monotonic() + DEADLINE
        while not serving.done() and time.monotonic() < until:
            page.news += 1
            await asyncio.sleep(0.02)
        assert serving.done()
        assert len(all_streams) == 0

    asyncio.run(look())
    assert counters.peek()["streams_slow"] >= 1


def test_a_client_that_goes_away_frees_its_place():
    page, all_streams = Page(), streams()

    class App:
        mount = ""

        def body_limit(self, request: WebRequest) -> int:
            return 0

        def __call__(self, request: WebRequest) -> WebResponse:
            return WebResponse(200, all_streams.open("live", page.state), list(HEADERS))

    async def look() -> None:
        begun = asyncio.Event()

        async def send(message: Any) -> None:
            if message["type"] == "http.response.body":
                begun.set()

        async def receive() -> Any:
            await begun.wait()
            return {"type": "http.disconnect"}

        scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
        async with asyncio.timeout(DEADLINE):
            await ASGIRunner(App())(scope, receive, send)
        assert len(all_streams) == 0

    asyncio.run(look())
