"""``path("", include("analytics_middleware_django.urls"))``: the API and the dashboard.

They are at ``ANALYTICS["API_PATH"]`` and ``ANALYTICS["DASHBOARD_PATH"]``.
"""

from typing import Any

from analytics_middleware_django import _django, pages
from analytics_middleware_django.conf import get_analytics

app_name = "analytics"

_settings = get_analytics().settings

urlpatterns: list[Any] = [
    _django.path(f"{_settings.api_path[1:]}/<path:path>", pages.api, name="api"),
    _django.path(_settings.dashboard_path[1:], pages.dashboard, name="dashboard"),
    _django.path(f"{_settings.dashboard_path[1:]}/", pages.dashboard),
    _django.path(f"{_settings.dashboard_path[1:]}/<path:path>", pages.dashboard),
]
