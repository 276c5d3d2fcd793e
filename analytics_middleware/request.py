"""Plain facts of one HTTP request, the same for every protocol and framework."""

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from analytics_middleware.properties import clean_text

RawHeaders = Iterable[tuple[bytes, bytes]] | dict[str, str]
"""Headers as servers give them: ASGI's pairs, or the ``HTTP_`` keys of a WSGI environ."""


class HeaderNames:
    """A set of header names (lower case), prepared so that `Request.has_any` checks them all in one operation."""

    __slots__ = ("in_asgi", "in_wsgi")

    def __init__(self, *names: str) -> None:
        self.in_asgi = frozenset(name.encode() for name in names)
        self.in_wsgi = frozenset(_environ_key(name) for name in names)


class Request:
    """The facts of a request and its response. Read-only by convention."""

    __slots__ = (
        "_index",
        "_wsgi",
        "content_type",
        "host_fallback",
        "method",
        "path",
        "peer",
        "query",
        "scheme",
        "status",
    )

    def __init__(
        self,
        method: str = "GET",
        scheme: str = "http",
        path: str = "/",
        query: str = "",
        peer: str | None = None,
        headers: RawHeaders = (),
        status: int | None = None,
        content_type: str = "",
        host_fallback: str = "",
    ) -> None:
        self.method = method
        self.scheme = scheme
        self.path = path
        self.query = query
        self.peer = peer
        self.status = status
        self.content_type = content_type
        self.host_fallback = host_fallback
        self._wsgi = type(headers) is dict
        given: Any = headers
        self._index: dict[Any, Any] = given if self._wsgi else _indexed(given)

    def has_any(self, names: HeaderNames) -> bool:
        """Whether one of *names* was sent."""
        # A dict's key view iterates over the shorter side; a set's isdisjoint would go through all headers.
        return not self._index.keys().isdisjoint(names.in_wsgi if self._wsgi else names.in_asgi)

    def header(self, name: str) -> str | None:
        """The value of header *name* (lower case), all its occurrences joined with a comma, or None."""
        if self._wsgi:
            text: str | None = self._index.get(_environ_key(name))
            return text
        value = self._index.get(name.encode())
        if value is None:
            return None
        return value.decode("latin-1") if type(value) is bytes else ", ".join(self.values(name))

    def values(self, name: str) -> list[str]:
        """The values of header *name* (lower case), one for each occurrence, in the order received."""
        if self._wsgi:
            text = self._index.get(_environ_key(name))
            return [] if text is None else [text]
        value = self._index.get(name.encode(), [])
        return [each.decode("latin-1") for each in ([value] if type(value) is bytes else value)]

    @property
    def headers(self) -> dict[str, list[str]]:
        """Every header's values by lower-case name."""
        if self._wsgi:
            return {_header_name(key): [value] for key, value in self._index.items()}
        return {name: self.values(name) for name in (key.decode("latin-1") for key in self._index)}

    def cookie(self, name: str) -> str | None:
        """The value of the first cookie called *name*, without surrounding quotes, or None."""
        for header in self.values("cookie"):
            for pair in header.split(";"):
                key, found, value = pair.partition("=")
                if found and key.strip() == name:
                    return value.strip().strip('"')
        return None

    @property
    def host(self) -> str:
        """The Host header, or what the server calls itself."""
        return self.header("host") or self.host_fallback

    def __repr__(self) -> str:
        return f"<Request {self.method} {self.path} {self.status}>"


# RFC 3986 section 3.2.2, and raw UTF-8.
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[\w.-]{1,255})(?::[0-9]{1,5})?")


def site_host(host: str, fallback: str) -> str:
    """Return the Host header *host*, or *fallback* if it is no valid host name: visitors can send anything."""
    return host if _HOST.fullmatch(host) else fallback


def hostname(host: str) -> str | None:
    """Return *host* in lower case without its port, None if nothing is left; IPv6 literals keep their brackets."""
    name = host[: host.rfind("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return clean_text(name.lower(), 255) or None


def wsgi_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return the request's headers in a WSGI *environ* (PEP 3333), for a `Request`.

    A copy: the environ also holds the server's sockets, which must not outlive the request in a queue.
    """
    return {key: value for key, value in environ.items() if key[:5] == "HTTP_"}


def _indexed(headers: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes | list[bytes]]:
    pairs = headers if isinstance(headers, list) else list(headers)
    # Usually no header repeats and servers send lower-case names; then this is all.
    index: dict[bytes, bytes | list[bytes]] = dict(pairs)
    if len(index) != len(pairs) or not b"".join(index).islower():
        index = {}
        for name, value in pairs:
            key = name.lower()
            known = index.get(key)
            if known is None:
                index[key] = value
            else:
                index[key] = [*known, value] if isinstance(known, list) else [known, value]
    return index


@lru_cache(1024)
def _environ_key(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


def _header_name(key: str) -> str:
    return key[5:].replace("_", "-").lower()
