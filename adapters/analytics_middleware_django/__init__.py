"""analytics-middleware for Django: one class for WSGI and ASGI, configured by ``settings.ANALYTICS``."""

from analytics_middleware_django.conf import get_analytics
from analytics_middleware_django.middleware import AnalyticsMiddleware
from analytics_middleware_django.transactions import track_on_commit

__all__ = ["AnalyticsMiddleware", "get_analytics", "track_on_commit"]
