"""Builds the collectors that settings list: instances, callables, or a dotted path with options."""

import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from importlib import import_module
from typing import Any, cast

from analytics_middleware.collectors.base import BaseCollector, CallableCollector, Collector
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.outgoing.secret import guarded
from analytics_middleware.setting_shapes import is_async

_METHODS = ("start", "collect", "flush", "close", "send", "identify", "take_identify", "declines")
_NOT_AWAITED = "collectors are called in a thread of their own, where nothing is awaited: use a plain function"


def build_collectors(entries: Sequence[Any], *, reserved: Collection[str] = ()) -> list[Collector]:
    """Return the collectors that *entries* describe. Their names must be unique and not *reserved*.

    Raises `ConfigurationError` naming the entry that is wrong.
    """
    collectors = [_build(entry, f"collectors[{index}]") for index, entry in enumerate(entries)]
    seen: dict[str, Collector] = {}
    for collector in collectors:
        if not re.fullmatch(r"[A-Za-z0-9_.:-]{1,64}", collector.name):
            raise ConfigurationError(
                f"collector name {collector.name!r} must be 1 to 64 letters, digits or any of '_.:-'"
            )
        if collector.name in reserved:
            raise ConfigurationError(f"collector name {collector.name!r} is taken; give it another: name=...")
        if collector.name in seen:
            raise ConfigurationError(
                f"two collectors are named {collector.name!r}; a name is where delivery resumes after a restart, "
                "so give one of them another: name=..."
            )
        seen[collector.name] = collector
    return collectors


def _build(entry: Any, where: str) -> Collector:
    if isinstance(entry, str):
        entry = {"class": entry}
    if isinstance(entry, Mapping):
        return _from_mapping(entry, where)  # pyright: ignore[reportUnknownArgumentType]
    if inspect.isclass(entry):
        raise ConfigurationError(f"{where} is the class {entry.__name__}; pass an instance: {entry.__name__}(...)")
    if isinstance(entry, (BaseCollector, Collector)) or hasattr(entry, "collect"):
        if not isinstance(getattr(entry, "name", None), str) or not entry.name:
            raise ConfigurationError(f"{where}, a {type(entry).__name__}, has no name; set the attribute 'name'")
        if missing := [name for name in ("start", "collect", "flush", "close") if not hasattr(entry, name)]:
            raise ConfigurationError(f"{where}, a {type(entry).__name__}, has no {missing[0]}(); see Collector")
        if awaited := [name for name in _METHODS if is_async(getattr(entry, name, None))]:
            raise ConfigurationError(f"{where}, a {type(entry).__name__}, has an async {awaited[0]}(); {_NOT_AWAITED}")
        return cast("Collector", entry)
    if callable(entry):
        if is_async(entry):
            raise ConfigurationError(f"{where} is async; {_NOT_AWAITED}")
        return CallableCollector(entry)
    raise ConfigurationError(
        f"{where} is {guarded(entry)}; "
        "a collector is an instance, a callable f(event), or {'class': 'dotted.path', ...}"
    )


def _from_mapping(entry: Mapping[str, Any], where: str) -> Collector:
    options = dict(entry)
    path = options.pop("class", None)
    if not isinstance(path, str) or "." not in path or not path.replace(".", "").isidentifier():
        raise ConfigurationError(
            f"{where}['class'] is {guarded(path)}; it must be a dotted path such as 'package.module.Class'"
        )
    module_name, _, attribute = path.rpartition(".")
    try:
        factory = getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{where}['class'] is {path!r}, which can't be imported: {error}") from error
    try:
        built = factory(**options) if inspect.isclass(factory) or options else factory
    except TypeError as error:
        # Values are left out: they may be secrets.
        raise ConfigurationError(
            f"{where}: {path} does not accept these options ({', '.join(options)}): {error}"
        ) from error
    return _build(built, where)
