"""Plain facts of one HTTP request, the same for every protocol and framework."""

from collections.abc import Iterable

_WSGI_UNPREFIXED = {"content-type": "CONTENT_TYPE", "content-length": "CONTENT_LENGTH"}


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
        headers: Iterable[tuple[bytes, bytes]] | Iterable[tuple[str, str]] = (),
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
            headers = self._headers = {}
            for name, value in self._raw:
                key = name.decode("latin-1") if isinstance(name, bytes) else name
                text = value.decode("latin-1") if isinstance(value, bytes) else value
                headers.setdefault(key.lower(), []).append(text)
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


def wsgi_headers(environ: dict[str, object]) -> list[tuple[str, str]]:
    """Return the request headers of a WSGI *environ* (PEP 3333), which joins repeated ones with a comma."""
    headers = [
        (key[5:].replace("_", "-").lower(), value)
        for key, value in environ.items()
        if key.startswith("HTTP_") and isinstance(value, str)
    ]
    for name, key in _WSGI_UNPREFIXED.items():
        value = environ.get(key)
        if value and isinstance(value, str):
            headers.append((name, value))
    return headers
