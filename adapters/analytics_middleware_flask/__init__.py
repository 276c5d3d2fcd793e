"""analytics-middleware for Flask."""

from analytics_middleware_flask.extension import FlaskAnalytics, get_analytics

__all__ = ["FlaskAnalytics", "get_analytics"]
