"""What each setting may be: `CHECKS` has a function for each, which returns the value in the form that is kept."""

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, cast

from analytics_middleware import setting_shapes as shapes
from analytics_middleware.enrich.visitor import is_cookie_name
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.exclusions import parse
from analytics_middleware.outgoing.secret import Guarded
from analytics_middleware.timezones import expected, zone

# RFC 6454 section 6.2, as browsers send it: scheme and host in lower case, and the port unless it is the default.
_ORIGIN = re.compile(r"https?://(?:[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?")
_URL_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


def _collectors(key: str, value: object) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable):
        raise shapes.wrong_unseen(key, cast("object", value), "a list")
    entries = cast("Iterable[Any]", value)
    return tuple(Guarded(cast("Mapping[str, Any]", each)) if isinstance(each, Mapping) else each for each in entries)


def _exclusions(key: str, value: object) -> tuple[str, ...]:
    entries = shapes.sequence(key, value)
    try:
        parse(entries)
    except ValueError as error:
        right = "a list of path patterns such as '/internal/*', 'ip:192.0.2.0/24', 'agent:curl/*' and 'staff'"
        raise shapes.wrong(key, value, f"{right}; {error.args[0]!r} is none") from None
    return entries


def _networks(key: str, value: object) -> tuple[str, ...]:
    entries = shapes.sequence(key, value)
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
            raise shapes.wrong(key, value, right) from None
    return entries


def _cookie_name(key: str, value: object) -> str:
    if not isinstance(value, str) or not is_cookie_name(value):
        raise shapes.wrong(key, value, "a cookie's name: letters, digits, '-' and '_'")
    return value


def _timeout(key: str, value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 60 <= value <= 86400:
        raise shapes.wrong(key, value, "a number of seconds from 60 to 86400")
    return float(value)


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
    raise shapes.wrong_unseen(
        key,
        value,
        "a Store such as MemoryStore(), 'clickhouse://user:password@host/database', a hub's URL 'https://…', "
        "'default' or None",
    )


def _zone(key: str, value: object) -> str:
    name = shapes.text(key, value)
    try:
        zone(name)
    except ValueError:
        raise shapes.wrong(key, value, expected()) from None
    return name


def _public_key(key: str, value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9_-]{8,128}", value)):
        raise shapes.wrong(key, value, "8 to 128 letters, digits, '-' and '_', or None")
    return value


def _origins(key: str, value: object) -> tuple[str, ...]:
    origins = shapes.sequence(key, value)
    for origin in origins:
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
            raise shapes.wrong(key, value, f"a list of origins such as 'https://shop.example'; {origin!r} is none")
    return origins


def _ancestors(key: str, value: object) -> tuple[str, ...]:
    ancestors = shapes.sequence(key, value)
    for each in ancestors:
        # They go into a response header, so nothing else may pass.
        if not isinstance(each, str) or (each != "self" and not _ORIGIN.fullmatch(each)):
            raise shapes.wrong(
                key, value, f"a list of 'self' and origins such as 'https://intranet.example'; {each!r} is none"
            )
    return ancestors


def _url_path(key: str, value: object) -> str:
    if not isinstance(value, str) or not _URL_PATH.fullmatch(value) or {".", ".."} & set(value.split("/")):
        raise shapes.wrong(key, value, "a path such as '/analytics', without a slash at its end")
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
            raise shapes.wrong("mail", None, f"{{'host': …, 'sender': …}}, for {each.id!r} is to get e-mail")


CHECKS: Final[Mapping[str, Callable[[str, object], Any]]] = {
    "collectors": _collectors,
    "data_dir": shapes.directory,
    "store": _store,
    "store_key": shapes.optional_secret,
    "retention_days": shapes.optional_positive_integer,
    "enabled": shapes.optional_boolean,
    "trusted_proxies": _networks,
    "proxy_header": shapes.header_name,
    "exclude": _exclusions,
    "classify": shapes.synchronous_function,
    "track_all": shapes.boolean,
    "processors": shapes.functions,
    "get_user_id": shapes.synchronous_function,
    "visitor": shapes.one_of("cookieless", "cookie", None),
    "cookie_name": _cookie_name,
    "privacy": shapes.one_of("standard", "strict", "raw"),
    "keep_query": shapes.names,
    "consent": shapes.synchronous_function,
    "session_timeout": _timeout,
    "geoip_database": shapes.file,
    "country_header": shapes.optional_header_name,
    "environment": shapes.optional_text,
    "debug": shapes.boolean,
    "background": shapes.boolean,
    "flush_on_response": shapes.boolean,
    "queue_size": shapes.positive_integer,
    "max_pending": shapes.positive_integer,
    "max_bytes": shapes.positive_integer,
    "shutdown_timeout": shapes.seconds,
    "timezone": _zone,
    "authorize": shapes.function,
    "authorize_changes": shapes.function,
    "read_token": shapes.optional_secret,
    "secret_key": shapes.optional_secret,
    "write_key": _public_key,
    "allowed_origins": _origins,
    "frame_ancestors": _ancestors,
    "api_path": _url_path,
    "dashboard_path": _url_path,
    "api_max_body": shapes.positive_integer,
    "api_rate_limit": shapes.count,
    "mail": _mail,
    "report_to": _destinations,
    "alerts": _alerts,
}
