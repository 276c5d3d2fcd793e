"""``path("", include("analytics_middleware_django.urls"))``: the API and the dashboard.

They are at ``ANALYTICS["API_PATH"]`` and ``ANALYTICS["DASHBOARD_PATH"]``.
"""

from typing import Any

from analytics_middleware_django import _django, pages
from analytics_middleware_django._django import ImproperlyConfigured
from analytics_middleware_django.conf import get_analytics

app_name = "analytics"


def _urlpatterns() -> list[Any]:
    try:
        settings = get_analytics().settings
    except ImproperlyConfigured:
        # The system check and the middleware report it; raising it here would keep the check from running.
        return []
    return [
        _django.path(f"{settings.api_path[1:]}/<path:path>", pages.api, name="api"),
        _django.path(settings.dashboard_path[1:], pages.dashboard, name="dashboard"),
        _django.path(f"{settings.dashboard_path[1:]}/", pages.dashboard),
        _django.path(f"{settings.dashboard_path[1:]}/<path:path>", pages.dashboard),
    ]


urlpatterns = _urlpatterns()
