"""The API and the dashboard as views; their paths are in `analytics_middleware_django.urls`.

They are synchronous: under ASGI Django runs such views in a thread for each request, so a long question holds up
neither the event loop nor other requests.
"""

from typing import Any
from urllib.parse import urlencode, urlsplit

from analytics_middleware.asgi import SCOPE_KEY
from analytics_middleware.errors import MissingExtraError
from analytics_middleware.web.api import API
from analytics_middleware.web.dashboard import Dashboard
from analytics_middleware.web.http import Framework, WebApp
from analytics_middleware.web.wsgi import respond
from analytics_middleware.wsgi import ENVIRON_KEY
from analytics_middleware_django import _django
from analytics_middleware_django.conf import get_analytics


class Django(Framework):
    """What django.contrib.auth, if it is installed, knows about whoever makes a request."""

    def __init__(self) -> None:
        self.has_staff = bool(_django.apps.is_installed("django.contrib.auth"))

    def user_id(self, native: Any) -> str | None:
        """Return the key of the user who is signed in."""
        user = getattr(native, "user", None)
        return str(user.pk) if user is not None and user.is_authenticated else None

    def is_staff(self, native: Any) -> bool:
        """Return whether that user may sign in to the admin, which is what staff means to Django."""
        user = getattr(native, "user", None)
        return user is not None and bool(user.is_active and user.is_staff)

    def sign_in_url(self, native: Any) -> str | None:
        """Return LOGIN_URL with the address to come back to; None if that leads nowhere, as its default may.

        Not the admin's own page: some sites keep its address to themselves.
        """
        address: str = _django.resolve_url(_django.settings.LOGIN_URL)
        parts = urlsplit(address)
        if not parts.netloc:
            try:
                _django.resolve("/" + parts.path.removeprefix(_django.get_script_prefix()))
            except _django.Resolver404:
                return None
        return f"{address}{'&' if parts.query else '?'}{urlencode({'next': native.get_full_path()})}"

    def secret(self) -> bytes | None:
        """Return Django's own secret."""
        key = _django.settings.SECRET_KEY
        return key if isinstance(key, bytes) else str(key).encode()

    def form_fields(self, native: Any) -> tuple[tuple[str, str], ...]:
        """Return the token that CsrfViewMiddleware checks; asking for the token also sets its cookie."""
        return (("csrfmiddlewaretoken", str(_django.get_token(native))),)


def api(request: Any, **_: Any) -> Any:
    """Answer with the API."""
    analytics = get_analytics()
    return _respond(analytics.parts.get(API, lambda: API(analytics, Django())), request)


# sendBeacon can't send a token, and the API checks Origin and Sec-Fetch-Site itself.
api.csrf_exempt = True  # type: ignore[attr-defined]


def dashboard(request: Any, **_: Any) -> Any:
    """Answer with a page of the dashboard."""
    analytics = get_analytics()
    try:
        app = analytics.parts.get(Dashboard, lambda: Dashboard(analytics, Django()))
    except MissingExtraError as error:
        return _django.HttpResponse(str(error), status=503, content_type="text/plain")
    return _respond(app, request)


def _respond(app: WebApp, request: Any) -> Any:
    # META has the keys of PEP 3333 under both handlers. Under ASGI the context is in the scope.
    scope: dict[str, Any] = getattr(request, "scope", {})
    environ = {
        **request.META,
        "wsgi.url_scheme": request.scheme,
        ENVIRON_KEY: request.META.get(ENVIRON_KEY) or scope.get(SCOPE_KEY),
    }
    # Under WSGI Django considers a body without Content-Length empty, but the server may know where it ends.
    unmeasured = "wsgi.input" in environ and not environ.get("CONTENT_LENGTH")
    answer = respond(app, environ, request, None if unmeasured else request.read, streams=bool(scope))
    content = answer.body
    if isinstance(content, bytes):
        # Not every server drops the body of an answer to HEAD.
        response = _django.HttpResponse(b"" if request.method == "HEAD" else content, status=answer.status)
        response.headers["Content-Length"] = str(len(content))
    else:
        response = _django.StreamingHttpResponse(content, status=answer.status)
    for name, value in answer.headers:
        response.headers[name] = value
    return response
