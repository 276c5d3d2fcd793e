"""The address of ClickHouse: ``clickhouse://user:password@host:port/database?cluster=NAME``, parsed strictly."""

import re
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from analytics_middleware.errors import ConfigurationError
from analytics_middleware.outgoing.secret import Secret

SCHEMES: Final = ("clickhouse", "clickhouses", "chdb")
"""HTTP, HTTPS, and the engine embedded in this process."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_PORTS: Final = {"clickhouse": 8123, "clickhouses": 8443}
_OPTIONS: Final = {
    "clickhouse": ("cluster",),
    "clickhouses": ("cluster", "ca_cert", "verify"),
    "chdb": ("cluster", "database", "config_file"),
}
_EXAMPLE = "'clickhouse://user:password@host:8123/analytics'"


@dataclass(frozen=True, slots=True)
class Address:
    """A server or an embedded engine, its database, and the cluster that has the tables."""

    scheme: str
    host: str
    """For the embedded engine: the directory, or ``:memory:``."""
    port: int
    user: str
    password: Secret
    database: str
    cluster: str | None
    ca_cert: str | None = None
    verify: bool = True
    config_file: str | None = None

    def __str__(self) -> str:
        """Return a printable form without user and password."""
        place = self.host if self.scheme == "chdb" else f"{self.host}:{self.port}"
        return f"{self.scheme}://{place}/{self.database}"

    def options(self) -> dict[str, Any]:
        """Return the arguments of ``clickhouse_connect.get_client``. They include the password: don't keep them."""
        if self.scheme == "chdb":
            engine = {"config-file": self.config_file} if self.config_file else None
            return {"interface": "chdb", "path": self.host, "chdb_options": engine}
        secure = self.scheme == "clickhouses"
        return {
            "interface": "https" if secure else "http",
            "host": self.host,
            "port": self.port,
            "username": self.user,
            "password": self.password.reveal(),
            **({"verify": self.verify, "ca_cert": self.ca_cert} if secure else {}),
        }


def is_address(text: str) -> bool:
    """Whether *text* looks like the address of a ClickHouse."""
    return text.partition("://")[0] in SCHEMES


def read_address(text: str) -> Address:
    """Parse *text*. Raises `ConfigurationError`, which never repeats user or password."""
    try:
        parts = urlsplit(text)
        port = parts.port
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError:
        raise ConfigurationError(f"the store's address is not a URL such as {_EXAMPLE}") from None
    if parts.scheme not in SCHEMES or parts.fragment:
        raise ConfigurationError(f"the store's address must be a URL such as {_EXAMPLE}, or 'chdb:///directory'")
    for name in options:
        if name not in _OPTIONS[parts.scheme]:
            known = ", ".join(_OPTIONS[parts.scheme])
            raise ConfigurationError(f"option {name!r} of the store's address is unknown; known options: {known}")
    cluster = _name("cluster", options["cluster"]) if "cluster" in options else None
    if parts.scheme == "chdb":
        return _embedded(parts, options, cluster)
    if not parts.hostname:
        raise ConfigurationError(f"the store's address names no host; give a URL such as {_EXAMPLE}")
    verify = options.get("verify", "true")
    if verify not in ("true", "false"):
        raise ConfigurationError(f"option 'verify' of the store's address is {verify!r}; it must be true or false")
    return Address(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or _PORTS[parts.scheme],
        user=unquote(parts.username or "default"),
        password=Secret(unquote(parts.password or "")),
        database=_name("database", unquote(parts.path.strip("/")) or "analytics"),
        cluster=cluster,
        ca_cert=options.get("ca_cert"),
        verify=verify == "true",
    )


def _embedded(parts: SplitResult, options: dict[str, str], cluster: str | None) -> Address:
    path = unquote(parts.netloc + parts.path)
    if not path or "@" in path:
        raise ConfigurationError("the store's address names no directory; give 'chdb:///directory' or 'chdb://memory'")
    return Address(
        scheme="chdb",
        host=":memory:" if path == "memory" else path,
        port=0,
        user="",
        password=Secret(""),
        database=_name("database", options.get("database", "analytics")),
        cluster=cluster,
        config_file=options.get("config_file"),
    )


def _name(what: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{what} {name!r} of the store's address must be a name of letters, digits, '_', '-' and '.'"
        )
    return name
