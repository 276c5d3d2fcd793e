"""Checks of the project's set-up. ``manage.py check`` reports them, and servers, which run no checks, log them.

- ``analytics_middleware.E001``: ``settings.ANALYTICS`` is wrong.
- ``analytics_middleware.W001``: the middleware is missing from ``MIDDLEWARE``: nothing is recorded.
- ``analytics_middleware.W002``: it is there more than once.
- ``analytics_middleware.W003``: it comes after middleware that answers requests or replaces responses.
- ``analytics_middleware.W004``: there is neither a collector nor a ``DATA_DIR``: events stay in memory.
"""

from collections.abc import Sequence
from typing import Any

from analytics_middleware.counters import logger
from analytics_middleware_django import _django
from analytics_middleware_django._django import ImproperlyConfigured
from analytics_middleware_django.conf import SETTING, get_analytics

_APP = "analytics_middleware_django"
DOTTED_PATH = f"{_APP}.AnalyticsMiddleware"

_HARMLESS_ABOVE = (
    # They neither serve pages nor replace the responses of others.
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.middleware.cache.UpdateCacheMiddleware",
)

_logged = False


def check_setup(**_: Any) -> list[Any]:
    """Return what is wrong with the project's set-up, as system check messages."""
    try:
        analytics = get_analytics()
    except ImproperlyConfigured as error:
        return [_django.checks.Error(str(error), id="analytics_middleware.E001")]
    settings = analytics.settings
    if settings.enabled is False:
        return []
    messages = _check_order(_django.settings.MIDDLEWARE)
    if not settings.collectors and settings.data_dir is None and settings.store in (None, "default"):
        messages.append(
            _django.checks.Warning(
                "Analytics has no collector and no data directory: events stay in the memory of their process.",
                hint=f"Set settings.{SETTING}['COLLECTORS'] or ['DATA_DIR'].",
                id="analytics_middleware.W004",
            )
        )
    return messages


def log_once() -> None:
    """Log what is wrong with the set-up, once per process and only if this process records events."""
    global _logged
    if _logged or not get_analytics().active:
        return
    _logged = True
    for message in check_setup():
        logger.warning("analytics: %s %s (%s)", message.msg, message.hint or "", message.id)
    if not _django.apps.is_installed(_APP):
        logger.warning(
            "analytics: add '%s' to INSTALLED_APPS: `manage.py check` and `manage.py analytics` need it", _APP
        )


def log_at_first_request(**_: Any) -> None:
    """Tell the log of a server whose ``MIDDLEWARE`` lacks the middleware, which else would have told it."""
    _django.request_started.disconnect(dispatch_uid=__name__)
    try:
        log_once()
    except ImproperlyConfigured as error:
        logger.error("analytics: %s (analytics_middleware.E001)", error)


def register() -> None:
    """Have Django run these checks, and a server log them."""
    _django.checks.register(check_setup)
    _django.request_started.connect(log_at_first_request, dispatch_uid=__name__)


def _check_order(middleware: Sequence[str]) -> list[Any]:
    positions = [index for index, path in enumerate(middleware) if _is_ours(path)]
    if not positions:
        return [
            _django.checks.Warning(
                "The analytics middleware is not in MIDDLEWARE: no request is recorded.",
                hint=f"Add '{DOTTED_PATH}' at the top of MIDDLEWARE.",
                id="analytics_middleware.W001",
            )
        ]
    messages: list[Any] = []
    if len(positions) > 1:
        messages.append(
            _django.checks.Warning(
                "The analytics middleware is in MIDDLEWARE more than once.",
                hint="Keep the first; the others do nothing.",
                id="analytics_middleware.W002",
            )
        )
    above = [path for path in middleware[: positions[0]] if _may_answer(path)]
    if above:
        messages.append(
            _django.checks.Warning(
                f"The analytics middleware stands after {', '.join(above)}, whose answers are not recorded.",
                hint=f"Move '{DOTTED_PATH}' to the top of MIDDLEWARE.",
                id="analytics_middleware.W003",
            )
        )
    return messages


def _is_ours(path: str) -> bool:
    # Imported here because the middleware imports this module.
    from analytics_middleware_django.middleware import AnalyticsMiddleware

    try:
        middleware = _django.import_string(path)
    except ImportError:
        # Django reports this itself.
        return False
    return isinstance(middleware, type) and issubclass(middleware, AnalyticsMiddleware)


def _may_answer(path: str) -> bool:
    return path.startswith("django.") and path not in _HARMLESS_ABOVE
