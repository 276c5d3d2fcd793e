"""The middleware: what Starlette and FastAPI know of a request, translated."""

from typing import Any, overload

from starlette.authentication import BaseUser
from starlette.requests import HTTPConnection, Request
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from analytics_middleware import asgi
from analytics_middleware.context import RequestContext
from analytics_middleware.exclusions import is_staff
from analytics_middleware.properties import identifier
from analytics_middleware_starlette.templates import DispatchedRoutes, MountTemplates, local_template

_STAFF_SCOPES = frozenset({"staff", "admin"})
"""Scopes with which an AuthenticationBackend marks the site's own staff."""


class AnalyticsMiddleware(asgi.AnalyticsMiddleware):
    """Records an event for each HTTP request of a Starlette or FastAPI application.

    ``Starlette(middleware=[Middleware(AnalyticsMiddleware, analytics=analytics)])`` or
    ``app.add_middleware(AnalyticsMiddleware, analytics=analytics)``; instead of *analytics* the settings of
    `Analytics` may be given as keywords. Pure ASGI: nothing is buffered.
    """

    # Starlette passes *app* by position, before 1.0 by name. To mypy, one signature that allows both does not fit
    # `Middleware` and `add_middleware`, because `app` could then be among the options as well.
    @overload
    def __init__(self, app: asgi.App, /, **options: Any) -> None: ...
    @overload
    def __init__(self, *, app: asgi.App, **options: Any) -> None: ...
    def __init__(self, app: asgi.App, **options: Any) -> None:  # type: ignore[misc]
        super().__init__(app, **options)
        self._mounts = MountTemplates()
        self._dispatched = DispatchedRoutes()
        self._get_user_id = self.analytics.settings.get_user_id

    def describe(self, scope: asgi.Scope, context: RequestContext) -> None:
        """Note route template, endpoint name and user."""
        application, root = context.root
        route = scope.get("route")
        if route is None or isinstance(route, Mount):
            # Of a mount it may be that an application below it went on to a route that it did not name.
            endpoint = scope.get("endpoint")
            if endpoint is not None and endpoint is not getattr(route, "app", None):
                route = self._dispatched.find(application or self.app, endpoint, scope) or route
        if route is not None:
            added_root: str = scope.get("root_path", "")[len(root) :]
            prefix = self._mounts.template(application or self.app, added_root, scope) if added_root else ""
            if isinstance(route, Mount):
                context.mount = prefix
                self._describe_mount(route, scope, added_root, context)
            else:
                context.pattern = prefix + local_template(route, scope)
                context.endpoint = getattr(route, "name", None)
        if self._get_user_id is not None:
            # A WebSocket's handshake is no Request but has headers, cookies and a session, too.
            connection = Request if scope["type"] == "http" else HTTPConnection
            context.user_id = identifier(self._get_user_id(connection(scope)))
        elif (user := scope.get("user")) is not None:
            context.user_id = user_id_of(user)
        if self.analytics.leaves_out_staff:
            scopes = getattr(scope.get("auth"), "scopes", ())
            context.staff = is_staff(scope.get("user")) or not _STAFF_SCOPES.isdisjoint(scopes)

    def _describe_mount(self, mount: Mount, scope: asgi.Scope, added_root: str, context: RequestContext) -> None:
        """Note a request that went no further than *mount*: its application has no routes, or none matched."""
        application: Any = mount.app
        if isinstance(application, StaticFiles):
            # A site that is served from files has pages; a folder of assets has none.
            context.excluded = context.excluded or not application.html
        if not mount.routes and context.status != 404:
            path: str = scope["path"]
            # Some servers put the root path before the path, others don't.
            stripped = scope["root_path"] if path.startswith(scope["root_path"]) else added_root
            # The mount's template does not describe a page below it.
            context.pattern = None if path[len(stripped) :].strip("/") else context.mount or "/"


def user_id_of(user: Any) -> str | None:
    """Return the identity of *user*, which AuthenticationMiddleware put into the scope; None if nobody is signed in."""
    if not getattr(user, "is_authenticated", False):
        return None
    try:
        identity = user.identity
    except (NotImplementedError, AttributeError):
        # SimpleUser has only a name; applications' own user classes have an id.
        identity = getattr(user, "id", None)
        if identity is None and isinstance(user, BaseUser):
            identity = user.display_name
    # The identity may be of any type; its text is the id.
    return None if identity is None else str(identity)
