"""The extension: ``FlaskAnalytics(app)``, configured by ``app.config["ANALYTICS"]``."""

import importlib
from typing import Any, cast

from flask import Flask, current_app
from flask import request as current_request

from analytics_middleware import Analytics
from analytics_middleware.context import current
from analytics_middleware.counters import logger
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.settings import by_name
from analytics_middleware.visitor_cookie import derived_key
from analytics_middleware.wsgi import ENVIRON_KEY
from analytics_middleware_flask.command import make_command
from analytics_middleware_flask.middleware import AnalyticsMiddleware, describe_session
from analytics_middleware_flask.pages import register

_EXTENSION = "analytics"


class FlaskAnalytics:
    """Records an event for each request of a Flask application.

    ``FlaskAnalytics(app)``, or ``FlaskAnalytics()`` and `init_app` in an application factory. Settings are read
    from ``app.config["ANALYTICS"]``, a dict with the keys of `Settings`; ``debug`` defaults to ``app.debug``.
    """

    def __init__(self, app: Flask | None = None) -> None:
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Set *app* up. Raises `ConfigurationError` when a setting is wrong."""
        if _EXTENSION in app.extensions:
            logger.warning("analytics: FlaskAnalytics is set up twice for %s; the second time is ignored", app.name)
            return
        config: Any = cast("Any", app.config).get("ANALYTICS", {})
        if not isinstance(config, dict):
            raise ConfigurationError(f"app.config['ANALYTICS'] is {config!r}; it must be a dict of settings")
        settings = by_name(cast("dict[str, Any]", config))
        settings.setdefault("debug", app.debug)
        if settings.get("visitor") == "cookie":
            if settings.get("secret_key") is None:
                settings["secret_key"] = derived_key(app.secret_key)
            _listen_for_sign_outs()
        analytics = Analytics(**settings)
        app.extensions[_EXTENSION] = analytics
        app.wsgi_app = AnalyticsMiddleware(app.wsgi_app, analytics=analytics)  # type: ignore[method-assign]
        app.teardown_request(_note_facts)
        register(app, analytics)
        app.cli.add_command(make_command(app))


def get_analytics(app: Flask | None = None) -> Analytics:
    """Return the `Analytics` of *app*, default the current application.

    Raises `LookupError` when `FlaskAnalytics` was not set up for it.
    """
    application = app or current_app
    try:
        analytics: Analytics = application.extensions[_EXTENSION]
    except KeyError:
        raise LookupError(f"{application.name} has no analytics; call FlaskAnalytics(app) first") from None
    return analytics


def _listen_for_sign_outs() -> None:
    """Listen for the sign-outs of Flask-Login, if it is installed; the visitor cookie is replaced then."""
    try:
        login: Any = importlib.import_module("flask_login")
    except ImportError:
        return
    login.user_logged_out.connect(_signed_out)


def _signed_out(_app: Flask, user: Any = None, **_: Any) -> None:
    # The signal is also sent if nobody was signed in.
    context = current.get()
    if context is not None and getattr(user, "is_authenticated", False):
        context.signed_out = True


def _note_facts(_error: BaseException | None) -> None:
    """Note what Flask knows of the request, after the response is made and before Flask's context ends."""
    context = current_request.environ.get(ENVIRON_KEY)
    if context is not None and not context.finished:
        context.read_framework_facts()
        if context.analytics.settings.get_user_id is None:
            describe_session(context)
