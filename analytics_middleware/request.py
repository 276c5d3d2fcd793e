"""Plain facts of one HTTP request, the same for every protocol and framework."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

RawHeaders = Iterable[tuple[bytes, bytes]] | Mapping[str, str]
"""Headers as servers give them: ASGI's pairs, or the ``HTTP_`` keys of a WSGI environ."""


class Request:
    """What a server said about a request, and what was answered. Read-only by convention.

    `headers` holds every occurrence in the order received, names in lower case. It is made on first use: most
    requests need three of them.
    """

    __slots__ = (
        "_headers",
        "_raw",
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
        *,
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
        self._raw = headers
        self._headers: dict[str, list[str]] | None = None

    @property
    def headers(self) -> dict[str, list[str]]:
        """Every header's values by lower-case name."""
        headers = self._headers
        if headers is None:
            raw = self._raw
            headers = dict[str, list[str]]()
            if isinstance(raw, Mapping):
                for key, text in cast("Mapping[str, str]", raw).items():
                    headers[_header_name(key)] = [text]
            else:
                for name, value in raw:
                    headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
            self._headers = headers
        return headers

    def header(self, name: str) -> str | None:
        """The value of header *name* (lower case), all its occurrences joined with a comma, or None."""
        values = self.headers.get(name)
        if values is None:
            return None
        return values[0] if len(values) == 1 else ", ".join(values)

    def cookie(self, name: str) -> str | None:
        """The value of the first cookie called *name*, unquoted as sent, or None."""
        for header in self.headers.get("cookie", ()):
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


def wsgi_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return what a WSGI *environ* (PEP 3333) has of the request's headers, for a `Request`.

    A copy: the environ also holds the server's sockets, which must not outlive the request in a queue.
    """
    return {key: value for key, value in environ.items() if key[:5] == "HTTP_"}


@lru_cache(1024)
def _header_name(key: str) -> str:
    return key[5:].replace("_", "-").lower()
