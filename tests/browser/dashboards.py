"""The dashboard over Starlette, Flask and Django, served on a port, on an empty store, demo data and hostile data."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

from analytics_middleware import Analytics, Event, EventType, Money
from analytics_middleware.collectors import Collector
from analytics_middleware.demo.history import month
from analytics_middleware.demo.servers import serve_asgi, serve_wsgi
from analytics_middleware.event import Identify, Visit
from analytics_middleware.store import ClickHouseStore, Insights, MemoryStore

FRAMEWORKS = ("Starlette", "Flask", "Django")
SITES = (*FRAMEWORKS, "Starlette on ClickHouse")
DATA = ("empty", "demo", "hostile")
ENGINE = f"chdb://memory?config_file={Path(__file__).parents[1] / 'store' / 'two_shards.xml'}"
"""The one engine that a process has: it is the same in all tests."""
_sites = itertools.count()

ATTACKS = (
    '<script>alert("1")</script>',
    '"><img src=x onerror=alert(2)>',
    "'><svg/onload=alert(3)>",
    "javascript:alert(4)",
    "</script><script>alert(5)</script>",
    "{{ 7*7 }}{% raw %}",
    '=HYPERLINK("http://evil.example","x")',
    "\u202eevil\ud800\x00 \r\n@SUM(1)",
    "x" * 5000,
)


def hostile(now: datetime) -> list[Any]:
    """Events with script in every field that can hold text."""
    records: list[Any] = []
    for number, text in enumerate(ATTACKS):
        for step in range(3):
            records.append(
                Event(
                    type=EventType.PAGEVIEW if step == 0 else EventType.CUSTOM,
                    event_name=None if step == 0 else text,
                    timestamp=now - timedelta(minutes=10 * number + 3 - step),
                    user_id=text,
                    anon_id=text,
                    matched_pattern=text,
                    url=text,
                    path=text,
                    hostname=text,
                    referrer=text,
                    user_agent=text,
                    locale=text,
                    status_code=200,
                    properties={text: text, "plan": text},
                    revenue=Money("3.50", "GBP") if step == 2 else None,
                    visit=Visit(
                        browser=text, os=text, device=text, country=text, city=text, source=text, channel=text,
                        medium=text, campaign=text,
                    ),
                )
            )  # fmt: skip
        records.append(Identify(user_id=text, traits={text: text}, timestamp=now - timedelta(hours=3)))
    return records


def records_of(data: str, now: datetime) -> list[Any]:
    if data == "empty":
        return []
    return hostile(now) if data == "hostile" else list(month(now))


class Broken(Collector):
    """A destination whose answers are script."""

    name = "broken"
    third_party = False

    def collect(self, event: Event) -> None:
        raise RuntimeError(ATTACKS[1])


@dataclass
class Served:
    url: str
    analytics: Analytics
    reference: Insights
    """A MemoryStore of the same events, asked directly."""


@contextmanager
def served(framework: str, data: str) -> Iterator[Served]:
    """Serve the dashboard over *framework*, open to everybody, on *data*.

    With ``Starlette on ClickHouse`` the questions go there.
    """
    framework, _, engine = framework.partition(" on ")
    now = datetime.now(UTC)
    records = records_of(data, now)
    store = ClickHouseStore(f"{ENGINE}&database=site_{next(_sites)}") if engine == "ClickHouse" else MemoryStore()
    reference = MemoryStore()
    store.apply(records)
    reference.apply(records)
    settings: dict[str, Any] = {
        "enabled": True,
        "store": store,
        "authorize": lambda request: True,
        "authorize_changes": lambda request: True,
        "timezone": "Europe/Berlin",
        "collectors": [Broken()] if data == "hostile" else [],
    }
    with _APPS[framework](settings) as (serve, app, analytics):
        if data == "hostile":
            analytics.track(Event(event_name=ATTACKS[2], user_id=ATTACKS[1]))
            analytics.flush(1.0)
        with serve(app, 0) as port:
            yield Served(f"http://127.0.0.1:{port}/analytics", analytics, Insights(reference, timezone="Europe/Berlin"))
        analytics.close(1.0)
    store.close()


@contextmanager
def _starlette(settings: dict[str, Any]) -> Iterator[Any]:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from analytics_middleware_starlette import AnalyticsDashboard

    analytics = Analytics(**settings)
    yield serve_asgi, Starlette(routes=[Mount("/analytics", AnalyticsDashboard(analytics))]), analytics


@contextmanager
def _flask(settings: dict[str, Any]) -> Iterator[Any]:
    from flask import Flask

    from analytics_middleware_flask import FlaskAnalytics, get_analytics

    app = Flask("shop")
    app.config["ANALYTICS"] = settings
    FlaskAnalytics(app)
    yield serve_wsgi, app, get_analytics(app)


@contextmanager
def _django(settings: dict[str, Any]) -> Iterator[Any]:
    import django
    from django.conf import settings as django_settings

    if not django_settings.configured:
        django_settings.configure(SECRET_KEY="not a secret")
        django.setup()
    from django.core.handlers.wsgi import WSGIHandler
    from django.test.utils import override_settings
    from django.urls import clear_url_caches, include, path

    from analytics_middleware_django import get_analytics

    urls = ModuleType("dashboard_urls")
    with override_settings(
        ALLOWED_HOSTS=["*"],
        ANALYTICS={key.upper(): value for key, value in settings.items()},
        MIDDLEWARE=[
            "analytics_middleware_django.AnalyticsMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
        ],
        ROOT_URLCONF=urls,
    ):
        urls.urlpatterns = [path("", include("analytics_middleware_django.urls"))]  # type: ignore[attr-defined]
        clear_url_caches()
        yield serve_wsgi, WSGIHandler(), get_analytics()


_APPS = {"Starlette": _starlette, "Flask": _flask, "Django": _django}
