"""Settings, system checks, and what a server's log says of a wrong set-up."""

import logging
import subprocess
import sys
import threading
from asyncio import CancelledError
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.apps import apps
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory, override_settings

from analytics_middleware import DeliveryError
from analytics_middleware.testing import FakeCollector
from analytics_middleware_django import AnalyticsMiddleware, checks, get_analytics

OURS = "analytics_middleware_django.AnalyticsMiddleware"
SESSIONS = "django.contrib.sessions.middleware.SessionMiddleware"
PAGE = {"Accept": "text/html"}
SECURITY = "django.middleware.security.SecurityMiddleware"


def ids() -> list[str]:
    return [message.id for message in run_checks() if message.id.startswith("analytics_middleware.")]


class Subclassed(AnalyticsMiddleware):
    """A project's own version."""


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """The log of a process that has not served a request yet."""
    monkeypatch.setattr(checks, "_logged", False)
    checks.register()
    caplog.set_level(logging.WARNING, "analytics_middleware")
    yield caplog
    checks.log_at_first_request()


def test_there_is_one_object_however_many_ask_for_it_at_once() -> None:
    found: list[Any] = []
    barrier = threading.Barrier(8)

    def ask() -> None:
        barrier.wait()
        found.append(get_analytics())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, found))) == 1


def test_overridden_settings_are_those_of_the_next_request(analytics_events: list[Any]) -> None:
    client = Client()
    client.get("/page")
    with override_settings(ANALYTICS={"ENVIRONMENT": "staging"}):
        client.get("/page")
    client.get("/page")
    assert [event.properties.get("environment") for event in analytics_events] == [None, "staging", None]


@pytest.mark.parametrize(
    ("django_debug", "ours", "debug"), [(True, {}, True), (False, {}, False), (True, {"DEBUG": False}, False)]
)
def test_djangos_debug_is_the_default_of_ours(django_debug: bool, ours: dict[str, Any], debug: bool) -> None:
    with override_settings(DEBUG=django_debug, ANALYTICS=ours):
        assert get_analytics().settings.debug is debug


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"COLECTORS": []}, "'COLECTORS'|'colectors'"),
        ({"PROXY_HEADER": 7}, "proxy_header"),
        ({"COLLECTORS": [{"class": "no.such.Collector"}]}, "no.such.Collector"),
        ({"COLLECTORS": None}, "ANALYTICS"),
        (["COLLECTORS"], "must be a dict"),
    ],
)
def test_wrong_settings_are_an_error_at_start_and_a_system_check(settings: Any, message: str) -> None:
    with override_settings(ANALYTICS=settings):
        with pytest.raises(ImproperlyConfigured, match=message):
            AnalyticsMiddleware(lambda request: None)
        assert ids() == ["analytics_middleware.E001"]


def test_a_wrong_setting_is_told_by_the_commands_in_a_line_although_the_urls_are_included(tmp_path: Path) -> None:
    (tmp_path / "site_settings.py").write_text(
        "SECRET_KEY = 'x'\nROOT_URLCONF = 'site_urls'\nINSTALLED_APPS = ['analytics_middleware_django']\n"
        f"MIDDLEWARE = [{OURS!r}]\nANALYTICS = {{'DATADIR': 'x'}}\n"
    )
    (tmp_path / "site_urls.py").write_text(
        "from django.urls import include, path\nurlpatterns = [path('', include('analytics_middleware_django.urls'))]\n"
    )

    def told(*words: str) -> str:
        command = [sys.executable, "-m", "django", *words, "--settings", "site_settings", "--pythonpath", str(tmp_path)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert ended.returncode == 1
        assert "Traceback" not in ended.stderr
        return ended.stderr

    assert "(analytics_middleware.E001) settings.ANALYTICS: " in told("check")
    assert told("analytics", "status").startswith("manage.py analytics: settings.ANALYTICS: ")


@pytest.mark.parametrize(
    ("middleware", "expected"),
    [
        ([OURS, SESSIONS], []),
        ([SECURITY, "django.middleware.gzip.GZipMiddleware", OURS], []),
        (["corsheaders.middleware.CorsMiddleware", f"{__name__}.Subclassed"], []),
        ([SESSIONS], ["analytics_middleware.W001"]),
        ([OURS, SESSIONS, OURS], ["analytics_middleware.W002"]),
        ([SESSIONS, OURS], ["analytics_middleware.W003"]),
        (["django.middleware.http.ConditionalGetMiddleware", OURS], ["analytics_middleware.W003"]),
    ],
)
def test_the_middlewares_place_is_checked(middleware: list[str], expected: list[str]) -> None:
    with override_settings(MIDDLEWARE=middleware, ANALYTICS={"COLLECTORS": [FakeCollector()]}):
        assert [found for found in ids() if found != "analytics_middleware.E001"] == expected


def test_events_that_go_nowhere_are_a_warning(tmp_path: Any) -> None:
    assert ids() == ["analytics_middleware.W004"]
    with override_settings(ANALYTICS={"DATA_DIR": tmp_path}):
        assert ids() == []


def test_nothing_is_said_of_analytics_that_is_switched_off() -> None:
    with override_settings(ANALYTICS={"ENABLED": False}, MIDDLEWARE=[]):
        assert ids() == []


def test_a_server_logs_a_wrong_set_up_once(log: pytest.LogCaptureFixture) -> None:
    with override_settings(ANALYTICS={"COLLECTORS": [FakeCollector()]}, MIDDLEWARE=[SESSIONS, OURS]):
        for _ in range(2):
            Client().get("/page")
    [record] = log.records
    assert record.getMessage().endswith("(analytics_middleware.W003)")


def test_a_server_whose_middleware_is_missing_logs_it_at_its_first_request(log: pytest.LogCaptureFixture) -> None:
    with override_settings(ANALYTICS={"COLLECTORS": [FakeCollector()]}, MIDDLEWARE=[]):
        for _ in range(2):
            Client().get("/page")
    [record] = log.records
    assert "not in MIDDLEWARE" in record.getMessage()


def test_a_server_logs_once_that_the_application_is_not_installed(log: pytest.LogCaptureFixture) -> None:
    with override_settings(ANALYTICS={"COLLECTORS": [FakeCollector()]}, MIDDLEWARE=[OURS], INSTALLED_APPS=[]):
        for _ in range(2):
            Client().get("/page")
    [record] = log.records
    assert "add 'analytics_middleware_django' to INSTALLED_APPS" in record.getMessage()


def test_a_server_with_wrong_settings_and_no_middleware_still_serves(log: pytest.LogCaptureFixture) -> None:
    with override_settings(ANALYTICS={"COLECTORS": []}, MIDDLEWARE=[]):
        assert Client().get("/page").status_code == 200
    [record] = log.records
    assert record.getMessage().endswith("(analytics_middleware.E001)")


def test_ready_starts_no_thread() -> None:
    before = threading.active_count()
    apps.get_app_config("analytics_middleware").ready()
    checks.log_at_first_request()
    assert threading.active_count() == before


def test_delivery_is_waited_for_where_settings_ask_for_it() -> None:
    """Without a test's capture: the event has reached its collector when the response is closed."""
    collector = FakeCollector()
    with override_settings(ANALYTICS={"COLLECTORS": [collector], "ENABLED": True, "FLUSH_ON_RESPONSE": True}):
        get_analytics().capture(None)
        Client().get("/page")
        assert [event.path for event in collector.events] == ["/page"]


def fail_to_answer(request: HttpRequest) -> HttpResponse:
    raise GeneratorExit


async def fail_to_answer_async(request: HttpRequest) -> HttpResponse:
    raise CancelledError


def ask_what_fails() -> None:
    with pytest.raises(GeneratorExit):
        AnalyticsMiddleware(fail_to_answer)(RequestFactory().get("/page", headers=PAGE))


def ask_what_fails_async() -> None:
    with pytest.raises(CancelledError):
        async_to_sync(AnalyticsMiddleware(fail_to_answer_async))(AsyncRequestFactory().get("/page", headers=PAGE))


@pytest.mark.parametrize(
    "ask",
    [
        lambda: Client().get("/page"),
        lambda: async_to_sync(AsyncClient().get)("/page"),
        ask_what_fails,
        ask_what_fails_async,
    ],
    ids=["sync", "async", "sync failure", "async failure"],
)
def test_a_response_does_not_wait_for_what_is_down(ask: Callable[[], object]) -> None:
    """Who waited for it would see it come back."""
    errors = iter([DeliveryError("down", retry_after=2.0)])

    def fail(_events: object) -> None:
        for error in errors:
            raise error

    collector = FakeCollector(fail=fail)
    with override_settings(ANALYTICS={"COLLECTORS": [collector], "ENABLED": True, "FLUSH_ON_RESPONSE": True}):
        get_analytics().capture(None)
        ask()
        assert (collector.batches, collector.events) == (1, [])
