"""What Django knows of a request, as the plain facts of a `RequestContext`. Nothing here causes a query."""

import time
from functools import lru_cache
from typing import Any

from analytics_middleware.analytics import Analytics
from analytics_middleware.asgi import SCOPE_KEY
from analytics_middleware.context import RequestContext
from analytics_middleware.exclusions import is_staff
from analytics_middleware.properties import identifier
from analytics_middleware.request import wsgi_headers
from analytics_middleware.wsgi import ENVIRON_KEY, bridged_context
from analytics_middleware_django._django import EMPTY, LazyObject
from analytics_middleware_django.conf import asset_prefixes

_SESSION_USER = "_auth_user_id"
"""django.contrib.auth.SESSION_KEY, which can't be imported before the apps are loaded."""


def enter(analytics: Analytics, request: Any) -> RequestContext | None:
    """Return a context with the server's facts of *request*, or None if an outer layer already records it."""
    scope: Any = getattr(request, "scope", None)
    meta: dict[str, Any] = request.META
    outer: RequestContext | None
    outer = scope.get(SCOPE_KEY) if scope is not None else meta.get(ENVIRON_KEY) or bridged_context(meta)
    if outer is not None and not outer.finished:
        # Stacked: the outermost layer owns the timing, the innermost knows route and user.
        outer.join(analytics, request, describe)
        return None
    context = RequestContext(analytics)
    context.entered = time.time()
    context.clock = time.perf_counter()
    context.method = request.method or "GET"
    # Not from the environ, in which Django has replaced the path by its decoded text. The scheme is the one that
    # SECURE_PROXY_SSL_HEADER gives.
    context.path = request.path
    if request.path_info != request.path:
        context.note_path_below(request.path_info)
    context.scheme = request.scheme or "http"
    context.query = meta.get("QUERY_STRING", "")
    context.peer = meta.get("REMOTE_ADDR")
    if scope is None:
        context.headers = wsgi_headers(meta)
        context.host_fallback = meta.get("SERVER_NAME", "")
        meta[ENVIRON_KEY] = context
    else:
        context.headers = scope["headers"]
        server = scope.get("server")
        if server is not None:
            context.host_fallback = server[0]
        scope[SCOPE_KEY] = context
    context.source = request
    context.describe = describe
    return context


def describe(request: Any, context: RequestContext) -> None:
    """Note what Django knows of *request* by now: route, view, language, user."""
    match = request.resolver_match
    if match is not None:
        if match.route is not None:
            context.pattern = template(match.route)
        context.endpoint = match.view_name
    prefixes = asset_prefixes()
    if request.path.startswith(prefixes) or request.path_info.startswith(prefixes):
        context.excluded = True
    if context.analytics.leaves_out_staff:
        context.staff = is_staff(resolved_user(request))
    # Set by LocaleMiddleware; without it the core reads Accept-Language.
    language = getattr(request, "LANGUAGE_CODE", None)
    if language is not None:
        # A project's own middleware may have set a lazy text.
        context.locale = str(language)
    # Last, because it may be the project's own code, and raise.
    get_user_id = context.analytics.settings.get_user_id
    context.user_id = signed_in(request) if get_user_id is None else identifier(get_user_id(request))


@lru_cache(4096)
def template(route: str) -> str:
    r"""Return *route*, which Django has joined from its includes, as a template with one leading slash.

    ``path`` routes stay as they were written. ``re_path`` expressions lose the anchors at both ends and otherwise stay
    as written: ``^articles/(?P<year>[0-9]{4})/$`` is ``/articles/(?P<year>[0-9]{4})/``. (Django has dropped the ``^``
    of included expressions.) A prefix from ``i18n_patterns`` is the language that matched.
    """
    if route.endswith((r"\Z", "$")):
        end = route[:-2] if route.endswith(r"\Z") else route[:-1]
        # After an odd number of backslashes the anchor is a literal character.
        if (len(end) - len(end.rstrip("\\"))) % 2 == 0:
            route = end
    return "/" + route.removeprefix("^").lstrip("/")


def signed_in(request: Any) -> str | None:
    """Return the id of the user that *request* has already resolved, or that its session names if it is loaded.

    This neither evaluates ``request.user`` nor accesses the session, which would cost a query and ``Vary: Cookie``.
    """
    user = resolved_user(request)
    if user is not None:
        key = user.pk if user.is_authenticated else None
        # The key may be of any type; its text is the id.
        return None if key is None else str(key)
    session = request.__dict__.get("session")
    loaded = None if session is None else session.__dict__.get("_session_cache")
    return identifier(loaded.get(_SESSION_USER)) if loaded else None


def resolved_user(request: Any) -> Any:
    """Return the user that *request* has already resolved, or None."""
    known: dict[str, Any] = request.__dict__
    user: Any = known.get("user")
    if isinstance(user, LazyObject):
        lazy: Any = user
        user = lazy._wrapped
        if user is EMPTY:
            user = known.get("_cached_user")
    # `await request.auser()` keeps the user under this name.
    return known.get("_acached_user") if user is None else user
