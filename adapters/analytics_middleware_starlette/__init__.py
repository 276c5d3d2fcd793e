"""analytics-middleware for Starlette and FastAPI."""

from importlib.util import find_spec

from analytics_middleware.errors import MissingExtraError

if find_spec("starlette") is None:
    raise MissingExtraError(
        "Starlette is not installed: pip install 'analytics-middleware[starlette]' or 'analytics-middleware[fastapi]'"
    )

from analytics_middleware_starlette.middleware import AnalyticsMiddleware
from analytics_middleware_starlette.pages import AnalyticsAPI, AnalyticsDashboard

__all__ = ["AnalyticsAPI", "AnalyticsDashboard", "AnalyticsMiddleware"]
