"""Country and city of an address, from the site's own MaxMind database; and the check of country codes."""

import importlib
import os
import threading
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Protocol, cast

from analytics_middleware.errors import ConfigurationError, MissingExtraError

RECHECK_SECONDS: Final = 60.0
"""Minimum number of seconds between checks for a newer database file."""

_CACHED_ADDRESSES = 8192
# ISO 3166-1 leaves both to users; CDNs send them for an unknown country.
_UNKNOWN = frozenset({"XX", "ZZ"})

Place = tuple[str | None, str | None]
"""ISO 3166-1 alpha-2 country code and English city name, None where unknown."""


class _Reader(Protocol):
    def get(self, ip_address: str) -> object: ...
    def close(self) -> None: ...


class GeoIP:
    """Looks addresses up in the MaxMind DB file at *path* (GeoLite2, GeoIP2, DB-IP, IPinfo; country or city).

    A newer file is noticed within a minute and used from then on. Replace the file by renaming, as geoipupdate
    does: it is mapped into memory and must not change while it is read.

    Raises `MissingExtraError` if maxminddb is not installed, and `ConfigurationError` if the file is missing or is
    not such a database.
    """

    def __init__(self, path: str | os.PathLike[str], *, clock: Callable[[], float] = time.monotonic) -> None:
        try:
            maxminddb: Any = importlib.import_module("maxminddb")
        except ImportError as error:
            raise MissingExtraError(
                'geoip_database needs the package maxminddb: pip install "analytics-middleware[geoip]"'
            ) from error
        self._open: Callable[[Path], _Reader] = maxminddb.open_database
        # What a look-up raises for a damaged file or an unknown kind of address.
        self._failures: tuple[type[Exception], ...] = (
            maxminddb.InvalidDatabaseError,
            ValueError,
            OSError,
            UnicodeError,
        )
        self._path = Path(path).expanduser()
        self._clock = clock
        self._lock = threading.Lock()
        self._signature: tuple[int, int, int]
        try:
            self._signature = self._stat()
            self._reader = self._open(self._path)
        except self._failures as error:
            raise ConfigurationError(
                f"geoip_database={str(self._path)!r} can't be read as a MaxMind database ({error}); "
                "give the path of a .mmdb file"
            ) from error
        self._checked = clock()
        self._lookup = lru_cache(_CACHED_ADDRESSES)(self._find)

    def locate(self, ip: str | None) -> Place:
        """Return country code and city of *ip*, each None if the database does not have it."""
        if not ip:
            return None, None
        if self._clock() - self._checked >= RECHECK_SECONDS:
            self._refresh()
        return self._lookup(ip)

    def close(self) -> None:
        """Release the file."""
        with self._lock:
            self._reader.close()

    def _find(self, ip: str) -> Place:
        try:
            record = self._reader.get(ip)
        except self._failures:
            return None, None
        return _place(record)

    def _refresh(self) -> None:
        with self._lock:
            self._checked = self._clock()
            try:
                signature = self._stat()
                if signature == self._signature:
                    return
                reader = self._open(self._path)
            except self._failures:
                return  # half-written, or missing for a moment: use the old one until the next check
            # The old reader is not closed: another thread may be using it. Its last reference closes it.
            self._reader, self._signature = reader, signature
            self._lookup.cache_clear()

    def _stat(self) -> tuple[int, int, int]:
        stat = self._path.stat()
        return stat.st_ino, stat.st_size, stat.st_mtime_ns


def _place(record: object) -> Place:
    fields = _mapping(record)
    country = fields.get("country")
    # IPinfo writes flat records: the code under country_code, in its older files under country.
    code = country_code(fields.get("country_code") or country) or country_code(_mapping(country).get("iso_code"))
    city = fields.get("city")
    name = city if isinstance(city, str) else _mapping(_mapping(city).get("names")).get("en")
    return code, name if isinstance(name, str) and name else None


def _mapping(value: object) -> dict[str, Any]:
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def country_code(value: object) -> str | None:
    """Return *value* as an ISO 3166-1 alpha-2 code in upper case, or None if it is not one or means "unknown"."""
    if not isinstance(value, str) or len(value) != 2 or not (value.isascii() and value.isalpha()):
        return None
    code = value.upper()
    return None if code in _UNKNOWN else code
