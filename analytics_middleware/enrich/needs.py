"""Private facts of a request that collectors need besides the event, and how only those collectors get them."""

from collections.abc import Collection
from typing import Any, NamedTuple

import msgspec

from analytics_middleware.errors import ConfigurationError
from analytics_middleware.event import Event
from analytics_middleware.request import Request

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, Any]).decode


def check_needs(name: str, needs: Collection[str]) -> frozenset[str]:
    """Return *needs* of collector *name* as a set.

    Raises `ConfigurationError` for a need other than "client_ip", "header:NAME" and "cookie:NAME".
    """
    for need in needs:
        kind, _, what = need.partition(":")
        if need != "client_ip" and (kind not in ("header", "cookie") or not what):
            raise ConfigurationError(
                f"collector {name!r} needs {need!r}; a need is 'client_ip', 'header:NAME' or 'cookie:NAME'"
            )
    return frozenset(needs)


class NeededFacts(NamedTuple):
    """Which private facts of a request to keep besides the event, by kind."""

    address: bool
    headers: tuple[str, ...]
    cookies: tuple[str, ...]

    @classmethod
    def of(cls, needs: Collection[str]) -> "NeededFacts":
        """Return the facts that *needs* name."""
        pairs = [need.partition(":") for need in sorted(needs)]
        headers, cookies = (tuple(name for what, _, name in pairs if what == kind) for kind in ("header", "cookie"))
        return cls("client_ip" in needs, headers, cookies)

    def facts(self, address: str | None, request: Request | None) -> bytes | None:
        """Return those facts of *request*, encoded for `reveal`, or None if there are none."""
        found: dict[str, Any] = {}
        if self.address and address is not None:
            found["client_ip"] = address
        if request is not None and self.headers:
            found["headers"] = {name: value for name in self.headers if (value := request.header(name)) is not None}
        if request is not None and self.cookies:
            found["cookies"] = {name: value for name in self.cookies if (value := request.cookie(name)) is not None}
        found = {kind: value for kind, value in found.items() if value}
        return _encode(found) if found else None


def reveal(event: Event, private: bytes | None, needs: Collection[str]) -> Event:
    """Add the *private* facts that *needs* name to *event*: ``client_ip``, and headers and cookies in ``request``."""
    if private is None or not needs:
        return event
    facts = _decode(private)
    if "client_ip" in needs and "client_ip" in facts:
        event.client_ip = facts["client_ip"]
    headers = [
        (name.encode(), value.encode("latin-1", "replace"))
        for name, value in facts.get("headers", {}).items()
        if f"header:{name}" in needs
    ]
    cookies = [f"{name}={value}" for name, value in facts.get("cookies", {}).items() if f"cookie:{name}" in needs]
    if cookies:
        headers.append((b"cookie", "; ".join(cookies).encode("latin-1", "replace")))
    if headers:
        event.request = Request(method=event.method or "GET", path=event.path or "/", headers=headers)
    return event
