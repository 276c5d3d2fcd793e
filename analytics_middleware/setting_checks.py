"""Checks of settings' values; each returns the value in the form in which it is kept."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final, TypeGuard, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from analytics_middleware.enrich.visitor import is_cookie_name
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.exclusions import parse
from analytics_middleware.outgoing.secret import MASK, Guarded, Secret, guarded

Hook = Callable[..., Any]

_MIN_SECRET = 16
"""Characters. RFC 6749 section 10.10 wants the chance of guessing a token to be 2**-128 at most, as with 16 random
bytes; shorter texts are words that people made up."""

# RFC 6454 section 6.2, as browsers send it: scheme and host in lower case, and the port unless it is the default.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_URL_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


def _wrong(key: str, value: Any, right: str) -> ConfigurationError:
    return ConfigurationError(f"analytics setting {key!r} is {value!r}; it must be {right}")


def _wrong_unseen(key: str, value: object, right: str) -> ConfigurationError:
    return ConfigurationError(f"analytics setting {key!r} is {guarded(value)}; it must be {right}")


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


def _optional_days(key: str, value: object) -> int | None:
    return None if value is None else _positive_int(key, value)


def _seconds(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 3600:
        raise _wrong(key, value, "a number of seconds from 0 to 3600")
    return float(value)


def _sequence(key: str, value: Any) -> tuple[Any, ...]:
    if not _is_list(value):
        raise _wrong(key, value, "a list")
    return tuple(value)


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    # A lone string would otherwise be taken for a list of its characters.
    return isinstance(value, Sequence) and not isinstance(value, (str, bytes))


def _collectors(key: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise _wrong_unseen(key, cast("object", value), "a list")
    entries = cast("Iterable[Any]", value)
    return tuple(Guarded(cast("Mapping[str, Any]", each)) if isinstance(each, Mapping) else each for each in entries)


def _callable(key: str, value: object) -> Hook | None:
    if value is not None and not callable(value):
        raise _wrong(key, value, "callable or None")
    return value


def _synchronous(key: str, value: object) -> Hook | None:
    hook = _callable(key, value)
    # For a callable object, the `__call__` of its class tells whether calling it gives something to await.
    if iscoroutinefunction(hook) or iscoroutinefunction(type(hook).__call__):
        raise _wrong(key, value, "callable or None, and not async: it is asked where nothing can be awaited")
    return hook


def _callables(key: str, value: object) -> tuple[Hook, ...]:
    hooks = _sequence(key, value)
    for hook in hooks:
        if not callable(hook):
            raise _wrong(key, value, "a list of callables event -> event or None")
    return hooks


def _exclusions(key: str, value: object) -> tuple[str, ...]:
    entries = _sequence(key, value)
    try:
        parse(entries)
    except ValueError as error:
        right = "a list of path patterns such as '/internal/*', 'ip:192.0.2.0/24', 'agent:curl/*' and 'staff'"
        raise _wrong(key, value, f"{right}; {error.args[0]!r} is none") from None
    return entries


def _networks(key: str, value: object) -> tuple[str, ...]:
    entries = _sequence(key, value)
    for entry in entries:
        try:
            if not isinstance(entry, str):
                # ipaddress would take 5 for 0.0.0.5.
                raise ValueError(f"{entry!r} is no text")
            if entry == "*":
                raise ValueError("with '*' visitors could claim any address")
            if entry != "unix":
                ipaddress.ip_network(entry)
        except ValueError as error:
            right = f"a list of your proxies' addresses and CIDRs such as '10.0.0.0/8', or 'unix'; {error}"
            raise _wrong(key, value, right) from None
    return entries


def _header_name(key: str, value: object) -> str:
    name = _text(key, value).lower()
    if not re.fullmatch(r"[a-z0-9!#$%&'*+.^_`|~-]+", name):
        raise _wrong(key, value, "a header name such as 'x-forwarded-for'")
    return name


def _path(key: str, value: Any, what: str) -> Path | None:
    if value is None:
        return None
    if not isinstance(value, (str, Path)) or not str(value):
        raise _wrong(key, value, f"the path of {what} or None")
    try:
        # Absolute from the start: a process that changes its working directory must not begin a second log.
        return Path(value).expanduser().absolute()
    except RuntimeError:
        raise _wrong(key, value, f"the path of {what}, and there is no such home") from None


def _directory(key: str, value: Any) -> Path | None:
    path = _path(key, value, "a directory")
    if path is not None and path.is_file():
        raise _wrong(key, value, "the path of a directory, and this is a file")
    return path


def _cookie_name(key: str, value: object) -> str:
    if not isinstance(value, str) or not is_cookie_name(value):
        raise _wrong(key, value, "a cookie's name: letters, digits, '-' and '_'")
    return value


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
    path = _path(key, value, "a file")
    if path is not None and not path.is_file():
        raise _wrong(key, value, "the path of a file that exists")
    return path


def _optional_header(key: str, value: object) -> str | None:
    return None if value is None else _header_name(key, value)


def _store(key: str, value: object) -> object:
    if value is None or value == "default":
        return value
    if isinstance(value, str) and value.startswith(("https://", "http://")):
        # Checked now and not when it is used: settings may be printed, so the URL must hold no password.
        from analytics_middleware.outgoing.address import read_url

        hub = read_url(key, value, allow_http=True, allow_private=True)
        if hub.query:
            raise ConfigurationError(f"{key} ({hub.host}) must have no query; the key is store_key")
        return value
    if isinstance(value, str) and "://" in value:
        # Kept as an object that prints without the password.
        from analytics_middleware.store.clickhouse.address import read_address

        return read_address(value)
    if not isinstance(value, str):
        from analytics_middleware.store.base import Store
        from analytics_middleware.store.hub import HubStore

        if isinstance(value, (Store, HubStore)):
            return value
    raise _wrong_unseen(
        key,
        value,
        "a Store such as MemoryStore(), 'clickhouse://user:password@host/database', a hub's URL 'https://…', "
        "'default' or None",
    )


def _zone(key: str, value: object) -> str:
    try:
        ZoneInfo(_text(key, value))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise _wrong(key, value, "an IANA time zone such as 'Europe/Berlin'") from None
    return str(value)


def _optional_secret(key: str, value: object) -> Secret | None:
    # The message must not quote the value: it goes to logs.
    if value is None or isinstance(value, Secret):
        return value
    if not isinstance(value, str) or len(value) < _MIN_SECRET or not value.isascii() or not value.isprintable():
        raise ConfigurationError(
            f"analytics setting {key!r} is {MASK}; it must be a random text of {_MIN_SECRET} ASCII characters or more, "
            "such as secrets.token_urlsafe() makes"
        )
    return Secret(value)


def _public_key(key: str, value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{8,128}", value)):
        raise _wrong(key, value, "8 to 128 letters, digits, '-' and '_', or None")
    return value


def _origins(key: str, value: object) -> tuple[str, ...]:
    origins = _sequence(key, value)
    for origin in origins:
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
            raise _wrong(key, value, f"a list of origins such as 'https://shop.example'; {origin!r} is none")
    return origins


def _ancestors(key: str, value: object) -> tuple[str, ...]:
    ancestors = _sequence(key, value)
    for each in ancestors:
        # They go into a response header, so nothing else may pass.
        if not isinstance(each, str) or (each != "self" and not _ORIGIN.fullmatch(each)):
            raise _wrong(
                key, value, f"a list of 'self' and origins such as 'https://intranet.example'; {each!r} is none"
            )
    return ancestors


def _url_path(key: str, value: object) -> str:
    if not isinstance(value, str) or not _URL_PATH.fullmatch(value) or {".", ".."} & set(value.split("/")):
        raise _wrong(key, value, "a path such as '/analytics', without a slash at its end")
    return value


def _count(key: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise _wrong(key, value, "an integer of at least 0")
    return value


def _mail(key: str, value: object) -> object:
    # Imported on use, as in the next two checks: few applications need it.
    from analytics_middleware.reports.mail import read_mail

    return read_mail(key, value)


def _destinations(key: str, value: object) -> tuple[Any, ...]:
    if value == ():
        return ()
    from analytics_middleware.reports.destinations import read_destinations

    return read_destinations(f"analytics setting {key!r}", value)


def _alerts(key: str, value: object) -> tuple[Any, ...]:
    if value == ():
        return ()
    from analytics_middleware.reports.alert import read_alerts

    return read_alerts(key, value)


def check_mail(mail: object, destinations: Iterable[Any]) -> None:
    """Raise `ConfigurationError` if one of *destinations* is an e-mail address and the setting *mail* is not set."""
    for each in destinations:
        if mail is None and each.by_mail:
            raise _wrong("mail", None, f"{{'host': …, 'sender': …}}, for {each.id!r} is to get e-mail")


CHECKS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "collectors": _collectors,
    "data_dir": _directory,
    "store": _store,
    "store_key": _optional_secret,
    "retention_days": _optional_days,
    "enabled": _optional_bool,
    "trusted_proxies": _networks,
    "proxy_header": _header_name,
    "exclude": _exclusions,
    "classify": _synchronous,
    "track_all": _bool,
    "processors": _callables,
    "get_user_id": _synchronous,
    "visitor": _one_of("cookieless", "cookie", None),
    "cookie_name": _cookie_name,
    "privacy": _one_of("standard", "strict", "raw"),
    "keep_query": _names,
    "consent": _synchronous,
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
    "authorize": _callable,
    "authorize_changes": _callable,
    "read_token": _optional_secret,
    "secret_key": _optional_secret,
    "write_key": _public_key,
    "allowed_origins": _origins,
    "frame_ancestors": _ancestors,
    "api_path": _url_path,
    "dashboard_path": _url_path,
    "api_max_body": _positive_int,
    "api_rate_limit": _count,
    "mail": _mail,
    "report_to": _destinations,
    "alerts": _alerts,
}
