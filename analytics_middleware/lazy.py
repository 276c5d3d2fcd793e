"""Lazy import of a package's public names: most applications need few of them."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def importer(package: dict[str, Any], modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the ``__getattr__`` (PEP 562) of the package with the globals *package*.

    *modules* maps each public name to the module of the package that defines it.
    """

    def find(name: str) -> Any:
        module = modules.get(name)
        if module is None:
            raise AttributeError(f"module {package['__name__']!r} has no attribute {name!r}")
        found = package[name] = getattr(import_module(f"{package['__name__']}.{module}"), name)
        return found

    return find
