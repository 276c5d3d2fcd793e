"""Settings: every option with its default and one line of help, validated once at the start."""

import dataclasses
import difflib
import fnmatch
import ipaddress
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from analytics_middleware.errors import ConfigurationError

Hook = Callable[..., Any]

DEFAULT_EXCLUDE: Final = (
    "/favicon.ico",
    "/robots.txt",
    "/.well-known/*",
    "/health",
    "/health/*",
    "/healthz",
    "/livez",
    "/readyz",
    "/ping",
    "/-/*",
)
"""Paths that make no automatic event unless `exclude` says otherwise: probes and what browsers fetch unasked."""


def _setting(default: Any, help: str) -> Any:  # noqa: A002 - the word the command line and the docs use
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All options of the middleware. Raises `ConfigurationError` naming the key, the value and what would be right."""

    collectors: tuple[Any, ...] = _setting((), "Where events go: collectors, callables, or {'class': dotted path, …}.")
    data_dir: Path | None = _setting(None, "Directory for durable events and the store; None keeps both in memory.")
    store: Any = _setting("default", "What answers questions: a Store, or None for none; by default one in data_dir.")
    enabled: bool | None = _setting(None, "Record at all; None means yes, except under a test runner.")
    trusted_proxies: tuple[str, ...] = _setting((), "Addresses or CIDRs whose forwarding header is believed.")
    proxy_header: str = _setting("x-forwarded-for", "The one header a trusted proxy writes the client's address to.")
    exclude: tuple[str, ...] = _setting(DEFAULT_EXCLUDE, "Path patterns (with *) that make no automatic event.")
    classify: Hook | None = _setting(None, "request -> EventType or None; replaces the rule for automatic events.")
    track_all: bool = _setting(False, "Record requests that are neither page view nor action as actions too.")
    processors: tuple[Hook, ...] = _setting((), "event -> event or None, each in turn, off the request path.")
    get_user_id: Hook | None = _setting(None, "framework request -> user id or None; replaces the framework's auth.")
    visitor: str | None = _setting("cookieless", "Anonymous visitors: 'cookieless' (daily hash), 'cookie', or None.")
    privacy: str = _setting("standard", "'standard' truncates addresses, 'strict' drops them, 'raw' keeps all.")
    keep_query: tuple[str, ...] = _setting((), "Query keys kept in URLs besides utm_* and click ids.")
    consent: Hook | None = _setting(None, "request -> bool: may collectors that require consent have the event?")
    session_timeout: float = _setting(1800.0, "Seconds without an event after which a session ends.")
    geoip_database: Path | None = _setting(None, "MaxMind database file for country and city (extra geoip).")
    country_header: str | None = _setting(None, "Header in which a trusted CDN names the country: cf-ipcountry, …")
    environment: str | None = _setting(None, "Added to every event as the property 'environment'.")
    debug: bool = _setting(False, "Third-party collectors only log what they would send.")
    background: bool = _setting(True, "Deliver from the web processes; False leaves it to the worker command.")
    flush_on_response: bool = _setting(False, "Deliver before the request ends: serverless and short-lived processes.")
    queue_size: int = _setting(10_000, "Requests that may wait for the writer thread; more are dropped and counted.")
    max_pending: int = _setting(100_000, "Events kept for a collector that lags; older ones are dropped and counted.")
    max_bytes: int = _setting(2**30, "Bytes that events may take on disk; the oldest are dropped and counted.")
    shutdown_timeout: float = _setting(0.4, "Seconds that leaving the process may wait for what is in flight.")
    timezone: str = _setting("UTC", "IANA zone of the calendar days in questions and pages.")

    def __post_init__(self) -> None:
        """Check every value; fields arrive in whatever form a settings file can hold."""
        for field in dataclasses.fields(self):
            check = _CHECKS.get(field.name)
            value = getattr(self, field.name)
            if check is not None:
                object.__setattr__(self, field.name, check(field.name, value))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Return settings from *mapping*, whose keys may be upper or lower case.

        An unknown key is an error that names it and the nearest known one.
        """
        known = {field.name for field in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for key, value in mapping.items():
            name = key.lower() if isinstance(key, str) else repr(key)
            if name not in known:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else f"; known settings: {', '.join(sorted(known))}"
                raise ConfigurationError(f"analytics setting {key!r} is unknown{hint}")
            values[name] = value
        return cls(**values)

    @property
    def active(self) -> bool:
        """Whether to record: `enabled`, or when that is None whether no test runner is at work."""
        return not under_test_runner() if self.enabled is None else self.enabled

    def excludes(self) -> Callable[[str], object]:
        """Return a function that says whether a path is excluded."""
        if not self.exclude:
            return lambda _path: None
        return re.compile("|".join(fnmatch.translate(pattern) for pattern in self.exclude)).match


def under_test_runner() -> bool:
    """Whether this process runs tests: under pytest, ``python -m unittest`` or ``manage.py test``."""
    if "PYTEST_VERSION" in os.environ:
        return True
    program = sys.argv[0] if sys.argv else ""
    return "unittest" in Path(program).parts or (Path(program).name == "manage.py" and sys.argv[1:2] == ["test"])


def _wrong(key: str, value: Any, right: str) -> ConfigurationError:
    return ConfigurationError(f"analytics setting {key!r} is {value!r}; it must be {right}")


def _bool(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _wrong(key, value, "True or False")
    return value


def _optional_bool(key: str, value: object) -> bool | None:
    return None if value is None else _bool(key, value)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise _wrong(key, value, "a non-empty string")
    return value


def _optional_text(key: str, value: object) -> str | None:
    return None if value is None else _text(key, value)


def _positive_int(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise _wrong(key, value, "an integer of at least 1")
    return value


def _seconds(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 3600:
        raise _wrong(key, value, "a number of seconds from 0 to 3600")
    return float(value)


def _sequence(key: str, value: Any) -> tuple[Any, ...]:
    # A lone string would otherwise be taken for a list of its characters.
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise _wrong(key, value, "a list")
    return tuple(cast("Sequence[Any]", value))


def _callable(key: str, value: object) -> Hook | None:
    if value is not None and not callable(value):
        raise _wrong(key, value, "callable or None")
    return value


def _callables(key: str, value: object) -> tuple[Hook, ...]:
    hooks = _sequence(key, value)
    for hook in hooks:
        if not callable(hook):
            raise _wrong(key, value, "a list of callables event -> event or None")
    return hooks


def _path_patterns(key: str, value: object) -> tuple[str, ...]:
    patterns = _sequence(key, value)
    for pattern in patterns:
        if not isinstance(pattern, str) or not pattern.startswith(("/", "*")):
            raise _wrong(key, value, f"a list of path patterns such as '/internal/*'; {pattern!r} is none")
    return patterns


def _networks(key: str, value: object) -> tuple[str, ...]:
    entries = _sequence(key, value)
    for entry in entries:
        try:
            if not isinstance(entry, str):
                # ipaddress would take 5 for 0.0.0.5.
                raise ValueError(entry)
            if entry != "unix":
                ipaddress.ip_network(entry, strict=False)
        except ValueError:
            raise _wrong(key, value, f"a list of addresses or CIDRs such as '10.0.0.0/8'; {entry!r} is none") from None
    return entries


def _header_name(key: str, value: object) -> str:
    name = _text(key, value).lower()
    if not re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]+", name):
        raise _wrong(key, value, "a header name such as 'x-forwarded-for'")
    return name


def _directory(key: str, value: Any) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value):
        raise _wrong(key, value, "a directory's path or None")
    return Path(value)


def _one_of(*values: str | None) -> Callable[[str, object], Any]:
    def check(key: str, value: object) -> object:
        if value not in values:
            raise _wrong(key, value, " or ".join(map(repr, values)))
        return value

    return check


def _names(key: str, value: Any) -> tuple[str, ...]:
    names = _sequence(key, value)
    if not all(isinstance(name, str) and name for name in names):
        raise _wrong(key, value, "a list of names such as 'q'")
    return names


def _timeout(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 60 <= value <= 86400:
        raise _wrong(key, value, "a number of seconds from 60 to 86400")
    return float(value)


def _file(key: str, value: Any) -> Path | None:
    path = _directory(key, value)
    if path is not None and not path.is_file():
        raise _wrong(key, value, "the path of a file that exists")
    return path


def _optional_header(key: str, value: object) -> str | None:
    return None if value is None else _header_name(key, value)


def _store(key: str, value: object) -> object:
    if value is None or value == "default" or hasattr(value, "apply"):
        return value
    raise _wrong(key, value, "a Store such as MemoryStore(), 'default' or None")


def _zone(key: str, value: object) -> str:
    try:
        ZoneInfo(_text(key, value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _wrong(key, value, "an IANA time zone such as 'Europe/Berlin'") from None
    return str(value)


_CHECKS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "collectors": _sequence,
    "data_dir": _directory,
    "store": _store,
    "enabled": _optional_bool,
    "trusted_proxies": _networks,
    "proxy_header": _header_name,
    "exclude": _path_patterns,
    "classify": _callable,
    "track_all": _bool,
    "processors": _callables,
    "get_user_id": _callable,
    "visitor": _one_of("cookieless", "cookie", None),
    "privacy": _one_of("standard", "strict", "raw"),
    "keep_query": _names,
    "consent": _callable,
    "session_timeout": _timeout,
    "geoip_database": _file,
    "country_header": _optional_header,
    "environment": _optional_text,
    "debug": _bool,
    "background": _bool,
    "flush_on_response": _bool,
    "queue_size": _positive_int,
    "max_pending": _positive_int,
    "max_bytes": _positive_int,
    "shutdown_timeout": _seconds,
    "timezone": _zone,
}
