"""The seven stacks, one module each, that serve the same pages."""

import asyncio
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

from analytics_middleware import Analytics, asgi, wsgi
from contract.drivers import Exchange, Request, ask_asgi, ask_wsgi

Settings = Mapping[str, Any] | None
"""Settings of `Analytics` in lower case, or None for the application without middleware."""
Build = Callable[[Settings, str], AbstractContextManager[tuple[Any, Analytics | None]]]


@dataclass(frozen=True)
class Stack:
    name: str
    protocol: str
    """``"asgi"`` or ``"wsgi"``."""
    build: Build
    """Makes the application in a variant: "plain", "twice" (the adapter in it twice), or one of `around`."""
    modes: tuple[str, ...]
    """Where views can call helpers: the {mode} of /helpers/{mode}."""
    one_at_a_time: tuple[str, ...] = ()
    """Those of which the framework runs only one at a time."""
    spelling: Mapping[str, str] | None = field(default_factory=dict)
    """How parameters of routes are spelled; None if there are no routes."""
    names: Mapping[str, str] = field(default_factory=dict)
    """How endpoint names are spelled where that is not the name of the view."""
    around: tuple[str, ...] = ()
    """Variants with foreign middleware around or within ours."""

    reusable: bool = True
    """Whether several applications can stand side by side; Django's settings are those of the process."""

    @property
    def routes(self) -> bool:
        return self.spelling is not None

    def pattern(self, pattern: Any) -> Any:
        if not isinstance(pattern, str):
            return pattern
        if self.spelling is None:
            return None
        for parameter, spelled in self.spelling.items():
            pattern = pattern.replace(parameter, spelled)
        return pattern

    def endpoint(self, name: str | None) -> str | None:
        if not self.routes or name is None:
            return None
        return self.names.get(name, name.rpartition(" ")[2])

    @contextmanager
    def serve(self, settings: Settings = None, variant: str = "plain") -> Iterator["Served"]:
        """Give the application, in this process."""
        outside = variant == "bare outside"
        with self.build(settings, "plain" if outside else variant) as (app, analytics):
            if outside:
                assert analytics is not None
                layer = asgi.AnalyticsMiddleware if self.protocol == "asgi" else wsgi.AnalyticsMiddleware
                app = layer(app, analytics=analytics)
            try:
                yield Served(self, app, analytics)
            finally:
                if analytics is not None:
                    analytics.close()


@dataclass
class Served:
    stack: Stack
    app: Any
    maybe_analytics: Analytics | None

    @property
    def analytics(self) -> Analytics:
        assert self.maybe_analytics is not None
        return self.maybe_analytics

    def ask(self, request: Request) -> Exchange:
        if self.stack.protocol == "asgi":
            return asyncio.run(ask_asgi(self.app, request))
        return ask_wsgi(self.app, request)


_MODULES = {
    "bare ASGI": ("bare_asgi", "STACK", ""),
    "bare WSGI": ("bare_wsgi", "STACK", ""),
    "Starlette": ("starlette_app", "STACK", "starlette"),
    "FastAPI": ("fastapi_app", "STACK", "fastapi"),
    "Flask": ("flask_app", "STACK", "flask"),
    "Django WSGI": ("django_app", "WSGI_STACK", "django"),
    "Django ASGI": ("django_app", "ASGI_STACK", "django"),
}
NAMES = tuple(_MODULES)
ASGI_NAMES = ("bare ASGI", "Starlette", "FastAPI", "Django ASGI")
WSGI_NAMES = ("bare WSGI", "Flask", "Django WSGI")


def missing(name: str) -> str | None:
    """Return the framework that stack *name* needs and this environment lacks."""
    framework = _MODULES[name][2]
    return framework if framework and importlib.util.find_spec(framework) is None else None


def load(name: str) -> Stack:
    module, variable, _ = _MODULES[name]
    stack: Stack = getattr(importlib.import_module(f"contract.stacks.{module}"), variable)
    return stack
