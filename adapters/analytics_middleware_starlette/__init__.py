"""analytics-middleware for Starlette and FastAPI."""

from analytics_middleware_starlette.middleware import AnalyticsMiddleware
from analytics_middleware_starlette.pages import AnalyticsAPI, AnalyticsDashboard

__all__ = ["AnalyticsAPI", "AnalyticsDashboard", "AnalyticsMiddleware"]
