"""analytics-middleware for Django: one class for WSGI and ASGI, configured by ``settings.ANALYTICS``."""

from importlib.util import find_spec

from analytics_middleware.errors import MissingExtraError

if find_spec("django") is None:
    raise MissingExtraError("Django is not installed: pip install 'analytics-middleware[django]'")

from analytics_middleware_django.conf import get_analytics
from analytics_middleware_django.middleware import AnalyticsMiddleware
from analytics_middleware_django.transactions import track_on_commit

__all__ = ["AnalyticsMiddleware", "get_analytics", "track_on_commit"]
