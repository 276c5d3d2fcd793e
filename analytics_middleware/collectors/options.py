"""The options that HTTP collectors share, and how they are checked."""

import hashlib
import math
import re
from collections.abc import Collection, Mapping
from typing import Final, TypedDict

from analytics_middleware.errors import ConfigurationError
from analytics_middleware.event import Event
from analytics_middleware.outgoing.secret import Secret

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""A header's name, a token of RFC 9110 section 5.6.2."""
_FRAMING: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "transfer-encoding"}
)
"""Headers that the request itself determines."""


class HTTPOptions(TypedDict, total=False):
    """The options that every HTTP collector has; see `HTTPCollector`."""

    name: str
    timeout: float
    connect_timeout: float
    allow_http: bool
    allow_private: bool
    proxy: str | None
    ca_file: str | None
    properties: Collection[str] | None
    sample: float
    requires_consent: bool
    bots: bool
    max_age: float | None
    retry_ambiguous: bool
    debug_sends: bool


class VendorOptions(HTTPOptions, total=False):
    """The options of collectors for vendors, which have a host of their own."""

    base_url: str | None
    client_ip: bool


def missing(collector: object, option: str, value: object, form: str) -> ConfigurationError:
    """Return the error for an option that is missing or malformed; *form* says what would be right."""
    what = "is missing" if value in (None, "") else f"is {value!r}"
    return ConfigurationError(f"{type(collector).__name__}: {option} {what}; it must be {form}")


def in_sample(event: Event, share: float) -> bool:
    """Return whether the event's visitor is in the sample, a *share* of all; always the same visitors."""
    # The anonymous id goes first, because it stays the same when the visitor logs in.
    visitor = event.anon_id or event.user_id or event.event_id
    digest = hashlib.blake2b(visitor.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") < share * 2**64


def positive(option: str, value: float) -> float:
    """Return *value* of *option* as a number of seconds above 0. Raises `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise ConfigurationError(f"{option} is {value!r}; it must be a number of seconds above 0")
    return float(value)


def share(value: float) -> float:
    """Return *value* as a share from 0 to 1. Raises `ConfigurationError`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise ConfigurationError(f"sample is {value!r}; it must be a share of visitors from 0 to 1")
    return float(value)


def names(option: str, value: Collection[str]) -> Collection[str]:
    """Return *value* of *option*, a collection of names. Raises `ConfigurationError`."""
    if isinstance(value, str) or not all(isinstance(name, str) for name in value):
        raise ConfigurationError(f"{option} is {value!r}; it must be a collection of property names")
    return value


def checked_headers(collector: object, value: Mapping[str, str], reserved: Collection[str]) -> dict[str, Secret]:
    """Return the option ``headers`` with its values as secrets. Raises `ConfigurationError`, which repeats no value."""
    where = type(collector).__name__
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}: headers must be a dict of names and values")
    for name, text in value.items():
        if not isinstance(name, str) or not _TOKEN.fullmatch(name) or name.lower() in {*_FRAMING, *reserved}:
            raise ConfigurationError(f"{where}: headers has {name!r}, which is no header that can be set")
        if not isinstance(text, str) or not text.isascii() or not text.isprintable():
            raise ConfigurationError(f"{where}: the value of header {name!r} must be printable ASCII text")
    return {name: Secret(text) for name, text in value.items()}
