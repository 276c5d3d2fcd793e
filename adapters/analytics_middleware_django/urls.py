"""``path("", include("analytics_middleware_django.urls"))``: the API at ``ANALYTICS["API_PATH"]``."""

from typing import Any

from analytics_middleware_django import _django, pages
from analytics_middleware_django.conf import get_analytics

app_name = "analytics"

_settings = get_analytics().settings

urlpatterns: list[Any] = [
    _django.path(f"{_settings.api_path[1:]}/<path:path>", pages.api, name="api"),
]
