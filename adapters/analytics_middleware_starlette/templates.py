"""Route templates as their author wrote them, mounts and included routers included."""

from collections.abc import Iterator, Sequence
from typing import Any

from starlette.routing import Host, Mount

_REMEMBERED = 1024


def local_template(route: Any, scope: Any) -> str:
    """Return the template of *route* within the application that it belongs to."""
    # FastAPI keeps an included router's prefix apart from its routes; the effective context has both.
    fastapi: dict[str, Any] = scope.get("fastapi") or {}
    effective: Any = fastapi.get("effective_route_context")
    if getattr(effective, "original_route", None) is route:
        return str(effective.path)
    return str(getattr(route, "path", ""))


class MountTemplates:
    """Finds the templates of the mounts that a request went through, from the root path that they left behind.

    Starlette tells only the concrete path: ``/t/acme`` for ``Mount("/t/{tenant}")``.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], str] = {}

    def template(self, application: Any, grown: str) -> str:
        """Return the template of *grown*, the root path that mounts below *application* have added.

        What can't be found is returned as it is.
        """
        key = (id(application), grown)
        template = self._known.get(key)
        if template is None:
            template = next(_walk(getattr(application, "routes", ()), grown), grown)
            # Paths are written by strangers: a mount for each tenant must not fill the memory.
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[key] = template
        return template


def _walk(routes: Sequence[Any], path: str) -> Iterator[str]:
    """Yield the templates of chains of mounts below *routes* that consume *path* whole."""
    for route in routes:
        if isinstance(route, Host):
            yield from _walk(route.routes, path)
        elif isinstance(route, Mount) and (match := route.path_regex.match(path + "/")):
            # A mount leaves the rest of the path to its application as {path}.
            rest = match["path"].rstrip("/")
            if not rest:
                yield route.path
            else:
                consumed = len(path) - len(rest) - 1
                if consumed >= 0:
                    yield from (route.path + inner for inner in _walk(route.routes, path[consumed:]))
