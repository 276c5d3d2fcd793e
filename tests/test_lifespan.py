"""ASGI's lifespan: when analytics starts, when it ends, and that an application's own trouble is its own."""

import asyncio

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from analytics_middleware import Analytics, asgi
from analytics_middleware.testing import FakeCollector, capture_events
from analytics_middleware_starlette import AnalyticsMiddleware


def shop(analytics: Analytics) -> Starlette:
    async def page(_request):
        return HTMLResponse("<p>")

    return Starlette(routes=[Route("/", page)], middleware=[Middleware(AnalyticsMiddleware, analytics=analytics)])


@pytest.fixture(params=["memory", "disk"])
def made(request, tmp_path):
    """Analytics, and what its collector has got."""
    collector = FakeCollector()
    durable = {"data_dir": tmp_path} if request.param == "disk" else {}
    analytics = Analytics([collector], enabled=True, **durable)
    yield analytics, collector.events
    analytics.close()


def get(client: TestClient) -> None:
    assert client.get("/", headers={"accept": "text/html"}).status_code == 200


def test_an_application_that_starts_again_is_recorded_again(made):
    analytics, events = made
    for _ in range(3):
        with TestClient(shop(analytics)) as client:
            get(client)
            assert analytics.flush()
    assert len(events) == 3
    assert analytics.stats()["dropped"] == {}
    assert analytics.stats()["accepted"] == 3


def test_the_store_answers_again_when_its_application_starts_again(made):
    analytics, _ = made
    for number in range(2):
        with TestClient(shop(analytics)) as client:
            get(client)
            assert analytics.flush()
            assert analytics.insights.volume()[-1].count == number + 1


def test_of_several_applications_the_last_one_to_end_ends_it(made):
    analytics, events = made
    with TestClient(shop(analytics)) as one:
        with TestClient(shop(analytics)) as other:
            get(other)
        get(one)
        assert not analytics.closed
        assert analytics.flush()
    assert analytics.closed
    assert len(events) == 2


def test_on_trio_it_starts_and_ends_as_well(made):
    analytics, events = made
    with TestClient(shop(analytics), backend="trio") as client:
        get(client)
        assert analytics.flush()
    assert analytics.closed
    assert len(events) == 1


def test_on_trio_a_response_can_wait_for_delivery():
    collector = FakeCollector(linger=3600.0)
    analytics = Analytics([collector], enabled=True, flush_on_response=True)
    with TestClient(shop(analytics), backend="trio") as client:
        get(client)
        assert len(collector.events) == 1


def test_an_application_that_comes_up_in_a_capture_makes_no_file(tmp_path, analytics_events):
    with TestClient(shop(Analytics(data_dir=tmp_path / "data"))) as client:
        get(client)
    assert len(analytics_events) == 1
    assert not (tmp_path / "data").exists()


def test_an_application_that_comes_up_in_a_capture_delivers_nothing_that_waits(tmp_path):
    def fail(_events):
        raise OSError("down")

    former = Analytics([FakeCollector(fail=fail)], data_dir=tmp_path, store=None, enabled=True)
    former.track("waits")
    assert not former.flush(0.1)
    former.close()
    collector = FakeCollector()
    analytics = Analytics([collector], data_dir=tmp_path, store=None, enabled=True)
    with capture_events() as events, TestClient(shop(analytics)) as client:
        get(client)
        assert analytics.stats()["collectors"]["fake"]["pending"] == 1
    assert len(events) == 1
    assert collector.events == []


def _lifespan_of(app):
    """What a server sees of *app*'s lifespan: the types of messages, until the application ends."""
    sent = []

    async def send(message):
        sent.append(message["type"])

    async def receive():
        return {"type": "lifespan.shutdown" if sent else "lifespan.startup"}

    analytics = Analytics(enabled=True)
    try:
        asyncio.run(asgi.AnalyticsMiddleware(app, analytics=analytics)({"type": "lifespan"}, receive, send))
    finally:
        analytics.close()
    return sent


def test_an_application_that_knows_no_lifespan_has_one_all_the_same():
    async def app(scope, receive, send):
        assert scope["type"] == "http"

    assert _lifespan_of(app) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_an_application_that_can_not_start_says_so_to_its_server():
    async def app(scope, receive, send):
        await receive()
        raise RuntimeError("no database")

    with pytest.raises(RuntimeError, match="no database"):
        _lifespan_of(app)
