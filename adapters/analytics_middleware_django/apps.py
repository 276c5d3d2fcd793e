"""The application for ``INSTALLED_APPS``: it registers the system checks and starts nothing."""

from analytics_middleware_django import checks
from analytics_middleware_django._django import AppConfig


class AnalyticsConfig(AppConfig):  # type: ignore[misc]  # Django ships no types
    """``"analytics_middleware_django"`` in ``INSTALLED_APPS``."""

    name = "analytics_middleware_django"
    label = "analytics_middleware"
    verbose_name = "Analytics"

    def ready(self) -> None:
        """Register the checks. Threads wait for the first request: servers fork after this."""
        checks.register()
