"""Settings: ``ANALYTICS`` in Django's settings becomes the one `Analytics` object of the process."""

import threading
from collections.abc import Mapping
from typing import Any, cast

from analytics_middleware.analytics import Analytics
from analytics_middleware.errors import AnalyticsError
from analytics_middleware.settings import by_name
from analytics_middleware.visitor_cookie import derived_key
from analytics_middleware_django import _django
from analytics_middleware_django._django import ImproperlyConfigured

SETTING = "ANALYTICS"

_lock = threading.Lock()
_analytics: Analytics | None = None
_prefixes: tuple[str, ...] | None = None


def get_analytics() -> Analytics:
    """Return the `Analytics` that ``settings.ANALYTICS`` describes: one object, made when it is first asked for.

    Raises `django.core.exceptions.ImproperlyConfigured` for a setting that is wrong.
    """
    global _analytics
    analytics = _analytics
    if analytics is None:
        with _lock:
            analytics = _analytics
            if analytics is None:
                analytics = _analytics = _build()
    return analytics


def is_of_settings(analytics: Analytics) -> bool:
    """Whether *analytics* is the object that `get_analytics` returns."""
    return analytics is _analytics


def asset_prefixes() -> tuple[str, ...]:
    """Return the paths under which this project serves its static and media files."""
    global _prefixes
    prefixes = _prefixes
    if prefixes is None:
        urls = [str(url) for url in (_django.settings.STATIC_URL, _django.settings.MEDIA_URL) if url]
        # Django turns an empty MEDIA_URL into the root of the site, which everything else is under too.
        roots = ("/", _django.get_script_prefix())
        prefixes = _prefixes = tuple(url for url in urls if url.startswith("/") and url not in roots)
    return prefixes


def _build() -> Analytics:
    configured: Any = getattr(_django.settings, SETTING, {})
    if not isinstance(configured, Mapping):
        raise ImproperlyConfigured(f"settings.{SETTING} is {configured!r}; it must be a dict of settings")
    try:
        settings = by_name(cast("Mapping[str, Any]", configured))
        settings.setdefault("debug", bool(_django.settings.DEBUG))
        if settings.get("visitor") == "cookie" and settings.get("secret_key") is None:
            settings["secret_key"] = derived_key(_django.settings.SECRET_KEY)
        if settings.get("mail") is None:
            settings["mail"] = _mail
        return Analytics(**settings)
    except (AnalyticsError, TypeError, ValueError) as error:
        raise ImproperlyConfigured(f"settings.{SETTING}: {error}") from error


def _mail(to: str, subject: str, text: str, html: str) -> None:
    """Send a report or an alert by Django's own e-mail backend."""
    _django.send_mail(subject, text, None, [to], html_message=html)


def _forget(*, setting: str, **_: Any) -> None:
    """Start over when tests override the settings that were used."""
    global _analytics, _prefixes
    if setting in (SETTING, "DEBUG"):
        with _lock:
            old, _analytics = _analytics, None
        if old is not None:
            old.at_exit()
    elif setting in ("STATIC_URL", "MEDIA_URL", "FORCE_SCRIPT_NAME"):
        _prefixes = None


_django.setting_changed.connect(_forget, dispatch_uid="analytics_middleware_django.conf")
