"""Plain facts of one HTTP request, the same for every protocol and framework."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, cast

RawHeaders = Iterable[tuple[bytes, bytes]] | dict[str, str]
"""Headers as servers give them: ASGI's pairs, or the ``HTTP_`` keys of a WSGI environ."""


class Request:
    """What a server said about a request, and what was answered. Read-only by convention."""

    __slots__ = (
        "_index",
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
        self._index: dict[bytes, bytes | list[bytes]] | None = None

    def values(self, name: str) -> list[str]:
        """The values of header *name* (lower case), one for each occurrence, in the order received."""
        raw = self._raw
        if type(raw) is dict:
            text = cast("Mapping[str, str]", raw).get(_environ_key(name))
            return [] if text is None else [text]
        found = self._indexed().get(name.encode())
        if found is None:
            return []
        if type(found) is list:
            return [value.decode("latin-1") for value in found]
        return [cast("bytes", found).decode("latin-1")]

    def header(self, name: str) -> str | None:
        """The value of header *name* (lower case), all its occurrences joined with a comma, or None."""
        raw = self._raw
        if type(raw) is dict:
            return cast("Mapping[str, str]", raw).get(_environ_key(name))
        index = self._index
        found = (self._indexed() if index is None else index).get(name.encode())
        if found is None:
            return None
        return found.decode("latin-1") if type(found) is bytes else ", ".join(self.values(name))

    @property
    def headers(self) -> dict[str, list[str]]:
        """Every header's values by lower-case name."""
        raw = self._raw
        if type(raw) is dict:
            return {_header_name(key): [value] for key, value in cast("Mapping[str, str]", raw).items()}
        names = [name.decode("latin-1") for name in self._indexed()]
        return {name: self.values(name) for name in names}

    def _indexed(self) -> dict[bytes, bytes | list[bytes]]:
        index = self._index
        if index is None:
            pairs = cast("list[tuple[bytes, bytes]]", self._raw if type(self._raw) is list else list(self._raw))
            # A request seldom repeats a header, and servers send lower-case names; then this is all.
            index = dict[bytes, bytes | list[bytes]](pairs)
            if len(index) != len(pairs) or not b"".join(index).islower():
                index = {}
                for name, value in pairs:
                    key = name.lower()
                    known = index.get(key)
                    if known is None:
                        index[key] = value
                    else:
                        index[key] = [*known, value] if isinstance(known, list) else [known, value]
            self._index = index
        return index

    def cookie(self, name: str) -> str | None:
        """The value of the first cookie called *name*, unquoted as sent, or None."""
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


def wsgi_headers(environ: Mapping[str, Any]) -> dict[str, str]:
    """Return what a WSGI *environ* (PEP 3333) has of the request's headers, for a `Request`.

    A copy: the environ also holds the server's sockets, which must not outlive the request in a queue.
    """
    return {key: value for key, value in environ.items() if key[:5] == "HTTP_"}


@lru_cache(1024)
def _environ_key(name: str) -> str:
    return "HTTP_" + name.upper().replace("-", "_")


@lru_cache(1024)
def _header_name(key: str) -> str:
    return key[5:].replace("_", "-").lower()
