"""Route templates as their author wrote them, mounts and included routers included."""

from collections.abc import Iterator, Sequence
from typing import Any

from starlette.datastructures import Headers
from starlette.routing import Host, Match, Mount

from analytics_middleware.remembering import MAX_REMEMBERED

_REMEMBERED = 1024
_MAX_WRAPPERS = 32


def local_template(route: Any, scope: Any) -> str:
    """Return the template of *route* within the application that it belongs to."""
    # FastAPI keeps an included router's prefix apart from its routes; the effective context has both.
    fastapi: dict[str, Any] = scope.get("fastapi") or {}
    effective: Any = fastapi.get("effective_route_context")
    if getattr(effective, "original_route", None) is route:
        return str(effective.path)
    return str(getattr(route, "path", ""))


class MountTemplates:
    """Finds the templates of the mounts that a request went through, from the root path that they have added.

    Starlette has only the concrete path: ``/t/acme`` for ``Mount("/t/{tenant}")``.
    """

    def __init__(self) -> None:
        # By application, root path and, where it matters, host.
        self._known: dict[tuple[int, str, str | None], str] = {}

    def template(self, application: Any, added_root: str, scope: Any) -> str:
        """Return the template of *added_root*, the root path that mounts below *application* have added in *scope*.

        If there is none, *added_root* itself is returned.
        """
        return self._known.get((id(application), added_root, None)) or self._found(application, added_root, scope)

    def _found(self, application: Any, added_root: str, scope: Any) -> str:
        routes = routes_of(application)
        host = Headers(scope=scope).get("host", "") if _has_hosts(routes) else None
        key = (id(application), added_root, host)
        template = self._known.get(key)
        if template is None:
            template = next(_walk(routes, added_root, scope), added_root)
            # Clients choose paths: a mount with the tenant in its path must not fill the memory.
            if len(added_root) + len(host or "") <= MAX_REMEMBERED:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[key] = template
        return template


class DispatchedRoutes:
    """Finds the route that a request was dispatched to where the scope does not name it.

    Starlette before 1.7 names none, and FastAPI only its own kinds: no `Mount`, and no route of `add_route`.
    """

    def __init__(self) -> None:
        # By application and endpoint. The endpoint is kept, too: while it lives, no other object has its id.
        self._known: dict[tuple[int, int], tuple[Any, list[Any]]] = {}

    def find(self, application: Any, endpoint: Any, scope: Any) -> Any:
        """Return the route below *application* whose endpoint is *endpoint*, None if there is none."""
        key = (id(application), id(endpoint))
        known = self._known.get(key)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = (endpoint, [route for route in _all_below(application) if _endpoint(route) is endpoint])
            self._known[key] = known
        candidates = known[1]
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        matches = {route.matches(scope)[0]: route for route in reversed(candidates)}
        return matches.get(Match.FULL) or matches.get(Match.PARTIAL) or candidates[0]


def routes_of(application: Any) -> Sequence[Any]:
    """Return the routes of *application*, or of the one that it wraps in an attribute ``app``, as middleware does."""
    for _ in range(_MAX_WRAPPERS):
        if routes := getattr(application, "routes", None):
            return [each for route in routes for each in _included(route)]
        application = getattr(application, "app", None)
    return ()


def _included(route: Any) -> Sequence[Any]:
    """Return *route*, or if FastAPI has included a router there, that router's routes with their prefix."""
    contexts = getattr(route, "effective_route_contexts", None)
    return (route,) if contexts is None else [each.starlette_route or each.original_route for each in contexts()]


def _endpoint(route: Any) -> Any:
    """Return what *route* gives the scope as its endpoint."""
    return getattr(route, "endpoint", None) or getattr(route, "app", None)


def _all_below(application: Any) -> Iterator[Any]:
    for route in routes_of(application):
        yield route
        if isinstance(route, (Host, Mount)):
            yield from _all_below(route)


def _has_hosts(routes: Sequence[Any]) -> bool:
    return any(
        isinstance(route, Host) or (isinstance(route, Mount) and _has_hosts(routes_of(route))) for route in routes
    )


def _walk(routes: Sequence[Any], path: str, scope: Any) -> Iterator[str]:
    """Yield the templates of chains of mounts below *routes* that consume the whole *path*, on the host of *scope*."""
    for route in routes:
        if isinstance(route, Host):
            if route.matches(scope)[0] is not Match.NONE:
                yield from _walk(routes_of(route), path, scope)
        elif isinstance(route, Mount) and (match := route.path_regex.match(path + "/")):
            # A mount leaves the rest of the path to its application as {path}.
            rest = match["path"].rstrip("/")
            if not rest:
                yield route.path
            else:
                consumed = len(path) - len(rest) - 1
                if consumed >= 0:
                    yield from (route.path + inner for inner in _walk(routes_of(route), path[consumed:], scope))
