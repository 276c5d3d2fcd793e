"""Where a request may go: URLs parsed strictly, host names resolved once, every address checked.

A URL from a settings file or a user may point to something only this host can reach: the cloud's metadata service, a
database, an admin page. The rule is that of the Standard Webhooks specification (section "SSRF"): refuse a name with an
address in an internal range, and connect to an address that was checked.
"""

import ipaddress
import re
import socket
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote_plus, urlsplit

from analytics_middleware.errors import ConfigurationError
from analytics_middleware.outgoing.secret import Secret

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
SocketAddress = tuple[int, tuple[Any, ...]]
"""The address family and the address for ``socket.connect``."""

# RFC 6052 section 2.1: the well-known prefix that a NAT64 gateway maps onto IPv4.
_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")
# RFC 6890 section 2.1: protocol assignments; older Pythons consider some of them global.
_ASSIGNMENTS: Final = ipaddress.ip_network("192.0.0.0/24")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?")
# The characters that RFC 3986 allows in a path and a query, percent-encoding included; no spaces or controls.
_TARGET = re.compile(r"[!$%&'()*+,./0-9:;=?@A-Z_a-z~-]*")

_TOKEN_SIZE: Final = 8
"""The minimum length of a path segment that may be a token."""


class AddressRefusedError(OSError):
    """Requests must not go to the host's address."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """The base of a destination's URLs."""

    scheme: str
    host: str
    """Lower case; an IPv6 address without its brackets."""
    port: int
    path: str
    query: str

    @property
    def origin(self) -> str:
        """Scheme, host and any non-default port. Safe to print: tokens are in paths and queries."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        own = {"https": 443, "http": 80}[self.scheme]
        return f"{self.scheme}://{host}" + ("" if self.port == own else f":{self.port}")

    def secrets(self) -> tuple[Secret, ...]:
        """Return the parts of path and query that may be secrets, the whole before its parts."""
        path, query = self.path.rstrip("/"), self.query
        # Short segments are ordinary words; masking them would make messages unreadable.
        parts = [each for each in path.split("/") if len(each) >= _TOKEN_SIZE]
        values = [each.partition("=")[2] or each for each in query.split("&")]
        found = dict.fromkeys([path, query, *sorted(parts + values, key=len, reverse=True)])
        return tuple(Secret(form) for each in found if each for form in dict.fromkeys((each, unquote_plus(each))))

    def __repr__(self) -> str:
        return f"<Endpoint {self.origin}>"


def read_url(option: str, url: str, *, allow_http: bool = False, allow_private: bool = False) -> Endpoint:
    """Parse *url*, the value of *option*.

    Raises `ConfigurationError`, which never repeats the URL's path or query, unless it is an https URL (or http with
    *allow_http*) without user name or fragment, and not an address literal in a private range (*allow_private*).
    """
    if not isinstance(url, str) or not url:
        raise ConfigurationError(f"{option} is missing; give a URL such as 'https://example.com/events'")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigurationError(f"{option} is not a URL") from None
    host = (parts.hostname or "").lower()
    if parts.scheme not in ("https", "http") or not host:
        raise ConfigurationError(f"{option} must be an absolute URL such as 'https://example.com/events'")
    if parts.scheme == "http" and not allow_http:
        raise ConfigurationError(f"{option} ({host}) must use https; events and keys travel in the clear otherwise "
                                 "(allow_http=True permits it)")  # fmt: skip
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise ConfigurationError(f"{option} ({host}) must have no user name, password or fragment")
    if not (_HOST.fullmatch(host) or ":" in host) or not _TARGET.fullmatch(parts.path + parts.query):
        raise ConfigurationError(f"{option} has characters that a URL can't have; percent-encode them")
    literal = _literal(host)
    if literal is not None and not allow_private and not is_public(literal):
        raise ConfigurationError(f"{option} points at the private address {host}; allow_private=True permits it")
    own = 443 if parts.scheme == "https" else 80
    return Endpoint(parts.scheme, host, port or own, parts.path, parts.query)


def is_public(address: IPAddress) -> bool:
    """Whether *address*, and any IPv4 address embedded in it, is on the public Internet.

    ``ipaddress`` considers NAT64 and, before Python 3.13, 6to4 addresses global although they lead to the IPv4 address
    embedded in them.
    """
    if isinstance(address, ipaddress.IPv6Address):
        # Site-local addresses are deprecated (RFC 3879) but internal; `ipaddress` considers them global.
        if address.teredo is not None or address.is_site_local:
            return False
        inner = address.ipv4_mapped or address.sixtofour
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not (
        address in _ASSIGNMENTS
        or address.is_multicast
        or address.is_reserved
        or address.is_loopback
        or address.is_unspecified
    )


def resolve(host: str, port: int, *, allow_private: bool) -> list[SocketAddress]:
    """Return the addresses of *host* to connect to, in the resolver's order.

    Raises `AddressRefusedError` if any of them is private: an attacker may use a name with one public and one private
    address. Raises `OSError` if there is none.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses: list[SocketAddress] = []
    for family, _, _, _, address in found:
        if family.name not in ("AF_INET", "AF_INET6"):
            continue
        # Only link-local addresses have a zone (%eth0).
        if not allow_private and not is_public(ipaddress.ip_address(str(address[0]).partition("%")[0])):
            raise AddressRefusedError(f"{host} has the private address {address[0]}; allow_private=True permits it")
        addresses.append((family, address))
    if not addresses:
        raise OSError(f"{host} has no address")
    return addresses


def _literal(host: str) -> IPAddress | None:
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not host.replace(".", "").replace("x", "").isalnum() or not host[:1].isdigit():
        return None
    try:
        # 127.1, 0177.0.0.1, 2130706433 and 0x7f.1 are all 127.0.0.1 to inet_aton, and so to getaddrinfo.
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
