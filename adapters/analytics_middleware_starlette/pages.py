"""The API and the dashboard as ASGI applications to mount."""

from typing import Any

from starlette.requests import Request

from analytics_middleware import Analytics
from analytics_middleware.asgi import SCOPE_KEY, Receive, Scope, Send
from analytics_middleware.counters import logger
from analytics_middleware.web.api import API
from analytics_middleware.web.asgi import ASGIRunner
from analytics_middleware.web.dashboard import Dashboard
from analytics_middleware.web.http import Framework, WebApp
from analytics_middleware_starlette.middleware import user_id_of


class Starlette(Framework):
    """What Starlette's AuthenticationMiddleware knows about whoever makes a request."""

    def user_id(self, native: Request) -> str | None:
        """Return the id of the user who is signed in."""
        user = native.scope.get("user")
        return None if user is None else user_id_of(user)


class _Mounted(ASGIRunner):
    """Runs an application with Starlette's request as its native one."""

    def __init__(self, app: WebApp, analytics: Analytics) -> None:
        super().__init__(app)
        self._analytics = analytics
        self._asked = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if not self._asked and scope["type"] == "http":
            self._asked = True
            if SCOPE_KEY not in scope and self._analytics.active:
                logger.warning(
                    "analytics: %s is mounted without AnalyticsMiddleware around it: no request is recorded",
                    type(self).__name__,
                )
        await super().__call__(scope, receive, send)

    def native(self, scope: Scope) -> Any:
        return Request(scope)


class AnalyticsAPI(_Mounted):
    """The REST API of *analytics*: ``Mount("/api/analytics", AnalyticsAPI(analytics))``.

    FastAPI: ``app.mount("/api/analytics", AnalyticsAPI(analytics))``.
    """

    def __init__(self, analytics: Analytics) -> None:
        super().__init__(API(analytics, Starlette()), analytics)


class AnalyticsDashboard(_Mounted):
    """The pages about *analytics*: ``Mount("/analytics", AnalyticsDashboard(analytics))``.

    Raises `MissingExtraError` when the extra ``dashboard`` is not installed.
    """

    def __init__(self, analytics: Analytics) -> None:
        super().__init__(Dashboard(analytics, Starlette()), analytics)
