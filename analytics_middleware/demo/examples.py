"""Loads the blogs of the ``examples`` directory, if this is a checkout."""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Final, NamedTuple

import analytics_middleware
from analytics_middleware import lifecycle
from analytics_middleware.analytics import Analytics
from analytics_middleware.errors import AnalyticsError


class Example(NamedTuple):
    """An application and its analytics."""

    application: Any
    asgi: bool
    analytics: Analytics


class ExampleError(AnalyticsError):
    """An example can't be run here; the message says why."""


class _Source(NamedTuple):
    module: str
    attribute: str
    asgi: bool


_SOURCES: Final[Mapping[str, _Source]] = {
    "starlette": _Source("starlette_blog", "app", asgi=True),
    "fastapi": _Source("fastapi_blog", "app", asgi=True),
    "flask": _Source("flask_blog", "app", asgi=False),
    "django": _Source("django_blog", "application", asgi=False),
}
FRAMEWORKS: Final = tuple(_SOURCES)


def load_example(framework: str) -> Example:
    """Return the blog on *framework*, one of `FRAMEWORKS`.

    Raises `ExampleError` if this is no checkout, or if something that the example imports is not installed.
    """
    source = _SOURCES[framework]
    directory = Path(analytics_middleware.__file__).resolve().parent.parent / "examples"
    if not (directory / f"{source.module}.py").is_file():
        raise ExampleError(
            f"--framework {framework} runs examples/{source.module}.py, which only a checkout has; "
            "without --framework the demo brings its own application"
        )
    # Imported under its own name, because Django finds its URLs by it.
    sys.path.insert(0, str(directory))
    try:
        module = import_module(source.module)
    except ImportError as error:
        if error.name is not None and error.name.partition(".")[0] == "analytics_middleware":
            raise
        raise ExampleError(f"examples/{source.module}.py can't be imported: {error}") from error
    # Each framework keeps its Analytics elsewhere, but there is only this one in the process.
    analytics = next(each for each in lifecycle.living() if isinstance(each, Analytics))
    return Example(getattr(module, source.attribute), source.asgi, analytics)
