"""analytics-middleware for Starlette and FastAPI."""

from analytics_middleware_starlette.middleware import AnalyticsMiddleware

__all__ = ["AnalyticsMiddleware"]
