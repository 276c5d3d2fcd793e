"""analytics-middleware for Flask."""

from importlib.util import find_spec

from analytics_middleware.errors import MissingExtraError

if find_spec("flask") is None:
    raise MissingExtraError("Flask is not installed: pip install 'analytics-middleware[flask]'")

from analytics_middleware_flask.extension import FlaskAnalytics, get_analytics

__all__ = ["FlaskAnalytics", "get_analytics"]
