"""The API and the dashboard as blueprints of the application."""

import io
import sys
from typing import Any, cast

from flask import Blueprint, Flask, Request, Response
from flask import request as current_request

from analytics_middleware import Analytics
from analytics_middleware.web.api import API
from analytics_middleware.web.dashboard import Dashboard
from analytics_middleware.web.http import Framework, WebApp
from analytics_middleware.web.wsgi import respond

# All methods: the core answers those that a path does not allow, so that no event is recorded of such a request.
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


class FlaskFramework(Framework):
    """What *app* and Flask-Login, if it is used, know about whoever makes a request."""

    def __init__(self, app: Flask) -> None:
        self._app = app

    def user_id(self, native: Request) -> str | None:
        """Return the id of the user whom Flask-Login has signed in."""
        if "flask_login" not in sys.modules or not hasattr(self._app, "login_manager"):
            return None
        import flask_login  # pyright: ignore[reportMissingTypeStubs]

        user: Any = flask_login.current_user
        return user.get_id() if user and user.is_authenticated else None

    def secret(self) -> bytes | None:
        """Return the key that Flask signs its sessions with, however late it was set."""
        key = self._app.secret_key
        return key.encode() if isinstance(key, str) else key


def register(app: Flask, analytics: Analytics) -> None:
    """Serve the API and the dashboard of *analytics* from *app*, at the settings `api_path` and `dashboard_path`."""
    framework = FlaskFramework(app)
    api, dashboard = API(analytics, framework), Dashboard(analytics, framework)
    app.register_blueprint(_blueprint("analytics_api", api), url_prefix=api.mount)
    app.register_blueprint(_blueprint("analytics_dashboard", dashboard), url_prefix=dashboard.mount)


def _blueprint(name: str, web_app: WebApp) -> Blueprint:
    blueprint = Blueprint(name, __name__)

    def serve(path: str = "") -> Response:  # noqa: ARG001 - the core reads it from the environ
        native = cast("Any", current_request)._get_current_object()
        # A body that a hook of the application has read is no longer in the server's stream.
        read: bytes | None = getattr(native, "_cached_data", None)
        answer = respond(web_app, native.environ, native, None if read is None else io.BytesIO(read).read)
        # The core answers HEAD and OPTIONS, too.
        return Response(cast("Any", answer.body), answer.status, answer.headers)

    for rule in ("/", "/<path:path>"):
        blueprint.add_url_rule(
            rule, "serve", serve, methods=[*METHODS], provide_automatic_options=False, strict_slashes=False
        )
    return blueprint
