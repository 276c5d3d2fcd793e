"""What is said at start: what is missing, what is there twice, and what is no Analytics object."""

import importlib
import re
import sys

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.testclient import TestClient

from analytics_middleware import Analytics, ConfigurationError, wsgi
from analytics_middleware.errors import MissingExtraError
from analytics_middleware.testing import FakeCollector
from analytics_middleware_starlette import AnalyticsAPI, AnalyticsDashboard, AnalyticsMiddleware


def said_at_start(caplog, analytics):
    analytics.begin_serving()
    analytics.close()
    return [record.getMessage() for record in caplog.records]


@pytest.fixture
def bare(monkeypatch):
    """An installation without the extra insights."""
    monkeypatch.setitem(sys.modules, "analytics_middleware.store.duckdb", None)


@pytest.mark.usefixtures("bare")
def test_without_the_extra_a_line_says_that_questions_need_it(tmp_path, caplog):
    (line,) = said_at_start(caplog, Analytics([FakeCollector()], data_dir=tmp_path, enabled=True))
    assert "no store" in line
    assert "pip install 'analytics-middleware[insights]'" in line
    assert "nowhere" not in line


@pytest.mark.usefixtures("bare")
def test_without_extra_and_collectors_the_line_says_that_events_go_nowhere(tmp_path, caplog):
    (line,) = said_at_start(caplog, Analytics(data_dir=tmp_path, enabled=True))
    assert "pip install 'analytics-middleware[insights]'" in line
    assert "events go nowhere" in line


def test_where_no_store_is_wanted_only_a_lack_of_collectors_is_said(tmp_path, caplog):
    assert said_at_start(caplog, Analytics([FakeCollector()], data_dir=tmp_path, store=None, enabled=True)) == []
    (line,) = said_at_start(caplog, Analytics(data_dir=tmp_path, store=None, enabled=True))
    assert "events go nowhere" in line
    assert "insights" not in line


def test_two_objects_on_one_data_directory_are_told_of_and_one_after_the_other_are_not(tmp_path, caplog):
    def options(path):
        return {"collectors": [FakeCollector()], "data_dir": path, "store": None, "enabled": True}

    one = [Middleware(AnalyticsMiddleware, **options(tmp_path / "one"))]
    for middleware in (one, [*one, Middleware(AnalyticsMiddleware, **options(tmp_path / "other"))]):
        with TestClient(Starlette(middleware=middleware)):
            pass
    assert caplog.messages == []
    with TestClient(Starlette(middleware=[*one, *one])):
        pass
    (line,) = caplog.messages
    assert "two Analytics objects" in line
    assert str(tmp_path / "one") in line


def test_a_middleware_inside_that_of_another_object_says_once_that_it_records_nothing(caplog):
    outer, inner = (Analytics([FakeCollector()], enabled=True) for _ in range(2))
    for within, said in ((outer, 0), (inner, 1)):
        layers = [Middleware(AnalyticsMiddleware, analytics=analytics) for analytics in (outer, within)]
        client = TestClient(Starlette(middleware=layers))
        for _ in range(2):
            client.get("/")
        assert sum("two Analytics objects" in message for message in caplog.messages) == said
    outer.close()
    inner.close()


def test_pages_that_are_mounted_without_the_middleware_say_so_once(caplog):
    for recorded in (False, True):
        analytics = Analytics([FakeCollector()], enabled=True, read_token="a-secret-of-32-random-characters")
        middleware = [Middleware(AnalyticsMiddleware, analytics=analytics)] if recorded else []
        client = TestClient(Starlette(routes=[Mount("/api", AnalyticsAPI(analytics))], middleware=middleware))
        caplog.clear()
        for _ in range(2):
            client.get("/api/volume")
        analytics.close()
        assert sum("without AnalyticsMiddleware" in message for message in caplog.messages) == (not recorded)


@pytest.mark.parametrize("given", [{}, {"read_token": "a-secret-of-32-random-characters"}, Analytics, "app"], ids=repr)
@pytest.mark.parametrize(
    "make",
    [
        lambda given: AnalyticsMiddleware(Starlette(), analytics=given),
        lambda given: wsgi.AnalyticsMiddleware(lambda *_: [], analytics=given),
        AnalyticsAPI,
        AnalyticsDashboard,
    ],
    ids=["ASGI", "WSGI", "API", "dashboard"],
)
def test_what_is_no_analytics_object_is_an_error_that_says_so(make, given):
    with pytest.raises(ConfigurationError, match="must be an Analytics object") as caught:
        make(given)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("make", [AnalyticsAPI, AnalyticsDashboard])
def test_pages_of_no_analytics_object_are_an_error_that_says_so(make):
    with pytest.raises(ConfigurationError, match="must be an Analytics object"):
        make(None)


@pytest.mark.parametrize("framework", ["django", "flask", "starlette"])
def test_an_adapter_without_its_framework_says_which_extra_it_needs(monkeypatch, framework):
    package = f"analytics_middleware_{framework}"
    for name in [name for name in sys.modules if name.partition(".")[0] in (package, framework)]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, framework, None)
    with pytest.raises(MissingExtraError, match=re.escape(f"pip install 'analytics-middleware[{framework}")):
        importlib.import_module(package)
