"""The dashboard on every stack."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from web_sites import SECRET, TOKEN, Site, site_on

from analytics_middleware import Analytics, Event, EventType, Money
from analytics_middleware.event import Visit
from analytics_middleware.web.asgi import ASGIRunner
from analytics_middleware.web.dashboard import Dashboard
from analytics_middleware.web.wsgi import WSGIRunner

STACKS = ("ASGI", "WSGI", "Starlette", "Flask", "Django WSGI", "Django ASGI")


@contextmanager
def plain(name: str, **settings: Any) -> Iterator[Site]:
    """The dashboard alone, on plain ASGI or WSGI or mounted in Starlette."""
    analytics = Analytics(**{"enabled": True, "read_token": TOKEN, "secret_key": SECRET, **settings})
    app: Any
    if name == "WSGI":
        app = WSGIRunner(Dashboard(analytics))
    elif name == "ASGI":
        app = ASGIRunner(Dashboard(analytics))
    else:
        from starlette.applications import Starlette
        from starlette.routing import Mount

        from analytics_middleware_starlette import AnalyticsDashboard

        app = Starlette(routes=[Mount("/analytics", AnalyticsDashboard(analytics))])
    try:
        yield Site(name, app, "wsgi" if name == "WSGI" else "asgi", analytics)
    finally:
        analytics.close()


def dashboard_on(name: str, **settings: Any) -> AbstractContextManager[Site]:
    """Return the dashboard on the stack called *name*, one of `STACKS`."""
    return plain(name, **settings) if name in ("ASGI", "WSGI", "Starlette") else site_on(name, **settings)


def visits() -> list[Any]:
    def seen(user: str, country: str, hours: float, **fields: Any) -> Event:
        at = datetime.now(UTC) - timedelta(hours=hours)
        visit = Visit(country=country, source="Google", channel="Organic Search")
        return Event(
            type=EventType.PAGEVIEW, timestamp=at, user_id=user, matched_pattern="/x", path="/x", visit=visit, **fields
        )

    return [
        seen("ann", "GB", 0.1),
        seen("ann", "GB", 0.05),
        seen("bob", "DE", 0.02),
        seen("cyd", "DE", 26, status_code=404),
        Event(event_name="buy", user_id="ann", revenue=Money("29.99", "GBP")),
    ]
