"""uWSGI's flags: whether threads run, and whether Python is told of forks."""

import configparser
import importlib
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Any

from analytics_middleware.doctor import Finding

_FALSE = frozenset(["", "0", "false", "no", "off"])


def options_of_file(path: Path) -> dict[str, str]:
    """Return the options in a uWSGI ini file. Raises `OSError`, and `ValueError` if it is no such file."""
    parser = configparser.ConfigParser(strict=False, allow_no_value=True, interpolation=None)
    try:
        parser.read_string(path.read_text("utf-8"))
    except (configparser.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a uWSGI ini file: {error}") from None
    if not parser.has_section("uwsgi"):
        raise ValueError(f"{path} has no section [uwsgi]")
    return {_key(key): "true" if value is None else value for key, value in parser.items("uwsgi")}


def options_here() -> dict[str, str] | None:
    """Return the options of the uWSGI that this process runs in or that its environment sets; None without uWSGI."""
    options = {
        _key(name.removeprefix("UWSGI_")): value for name, value in os.environ.items() if name.startswith("UWSGI_")
    }
    try:
        running: Any = importlib.import_module("uwsgi")
    except ImportError:
        return options or None
    for key, value in running.opt.items():
        text = value.decode() if isinstance(value, bytes) else str(value)
        options[_key(key.decode() if isinstance(key, bytes) else key)] = "true" if text == "True" else text
    return options


def examine_uwsgi(options: Mapping[str, str]) -> Generator[Finding]:
    """Look at uWSGI's *options*."""
    threads = options.get("threads", "1")
    if not _on(options, "enable-threads") and not (threads.isdecimal() and int(threads) > 1):
        text = "enable-threads is off: older versions then run no thread between requests, so events are late or lost"
        yield Finding("warning", "uWSGI", text, "set enable-threads = true")
    else:
        yield Finding("ok", "uWSGI", "threads run")
    if _on(options, "py-call-osafterfork"):
        text = "py-call-osafterfork crashes workers with current Pythons"
        yield Finding("problem", "uWSGI", text, "use py-call-uwsgi-fork-hooks = true instead")
    if not _on(options, "lazy-apps") and not _on(options, "py-call-uwsgi-fork-hooks"):
        text = "Python is not told of forks: a worker delivers nothing before its own first request"
        yield Finding("warning", "uWSGI", text, "set lazy-apps = true, or py-call-uwsgi-fork-hooks = true")
    if not _on(options, "die-on-term"):
        text = "SIGTERM reloads instead of ending"
        yield Finding("warning", "uWSGI", text, "set die-on-term = true where a container is stopped with SIGTERM")


def _key(name: str) -> str:
    return name.lower().replace("_", "-")


def _on(options: Mapping[str, str], key: str) -> bool:
    return options.get(key, "").strip().lower() not in _FALSE
