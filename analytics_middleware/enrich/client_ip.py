"""The visitor's address, read through the proxies that the site trusts and no others.

The rule is the one every server converged on: each proxy appends the address it saw, so only what trusted proxies
appended can be believed, and that is read from the right. Whatever stands left of the first untrusted address was
written by the visitor and may say anything.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from analytics_middleware.remembering import remembered
from analytics_middleware.request import Request

MAX_HEADER: Final = 2048
"""Characters read of the proxy header, counted from its right end."""
MAX_HOPS: Final = 32
"""Entries read of the proxy header, counted from its right end."""

_CACHED_CHAINS = 2048
_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# host, then optionally a port, which RFC 7239 section 6 lets a proxy obfuscate.
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::[\w.-]{0,32})?")
_IPV4_PORT = re.compile(r"([0-9.]+):[\w.-]{0,32}", re.ASCII)
_FOR = re.compile(r"\s*for\s*=\s*(.*?)\s*", re.IGNORECASE)


class ClientIP:
    """Finds the address a request came from: call it with a `Request`, get canonical text or None.

    *trusted_proxies* are the addresses and CIDR networks of the site's own proxies, and ``"unix"`` for a proxy
    that connects through a Unix socket and so has no address. *header* (lower case) is the one header those proxies
    write: ``x-forwarded-for``, ``forwarded`` (RFC 7239), or one with a single address, such as ``cf-connecting-ip``.
    No other header is looked at, because a proxy that writes one leaves the others as the visitor sent them.

    The peer is the answer unless it is trusted. Then the header, all its occurrences, is walked from the right to
    the first address that is not trusted. When all are trusted it is the leftmost; a hop that is no address
    (``unknown``, ``_hidden``) ends the walk at the hop before it.
    """

    def __init__(self, trusted_proxies: Sequence[str] = (), header: str = "x-forwarded-for") -> None:
        self._trusts_unix = "unix" in trusted_proxies
        self._networks = tuple(_network(entry) for entry in trusted_proxies if entry != "unix")
        self._header = header
        self._hops: Callable[[str], Iterator[str]] = _forwarded_for if header == "forwarded" else _hops
        # Not a decorated method: the cache belongs to this instance's networks and dies with it.
        self._resolve = remembered(_CACHED_CHAINS)(self._walk)
        self._trusted = lru_cache(_CACHED_CHAINS)(self._trusts_text)

    def __call__(self, request: Request) -> str | None:
        """Return the address *request* came from, in its canonical text form, or None when there is none."""
        peer = (request.peer or "")[:64]
        if not self._networks and not self._trusts_unix:
            return canonical(peer)
        chain = request.header(self._header)
        if chain is None:
            return canonical(peer)
        return self._resolve(peer, len(chain) > MAX_HEADER, chain[-MAX_HEADER:])

    def trusts_peer(self, request: Request) -> bool:
        """Whether *request* came through a trusted proxy, so that what that proxy writes can be believed."""
        peer = (request.peer or "")[:64]
        if not peer:
            return self._trusts_unix
        return bool(self._networks) and self._trusted(peer)

    def _trusts_text(self, peer: str) -> bool:
        address = _parse(peer)
        return address is not None and self._trusts(address)

    def _walk(self, peer: str, cut: bool, chain: str) -> str | None:
        address = _parse(peer)
        if not (self._trusts_unix if not peer else address is not None and self._trusts(address)):
            return _text(address)
        if cut:  # the first entry left may be the end of a longer one, and a valid address all the same
            chain = chain.partition(",")[2]
        for hop in self._hops(chain):
            found = _parse(hop)
            if found is None:
                break
            address = found
            if not self._trusts(found):
                break
        return _text(address)

    def _trusts(self, address: _Address) -> bool:
        # An address is never in a network of the other version.
        return any(address in network for network in self._networks)


@lru_cache(4096)
def canonical(text: str) -> str | None:
    """Return the address in *text* in canonical form (RFC 5952 for IPv6), or None when it is none.

    Ports, brackets and zone ids are dropped; an IPv4-mapped IPv6 address is its IPv4 address.
    """
    return _text(_parse(text))


def _text(address: _Address | None) -> str | None:
    return None if address is None else str(address)


def _parse(text: str) -> _Address | None:
    text = text.strip()
    if match := _BRACKETED.fullmatch(text) or _IPV4_PORT.fullmatch(text):
        text = match[1]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _hops(chain: str) -> Iterator[str]:
    """Yield the entries of a comma-separated *chain* from the right, empty ones left out (RFC 9110 section 5.6.1)."""
    for hop in reversed(chain.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
        if stripped := hop.strip():
            yield stripped


def _forwarded_for(chain: str) -> Iterator[str]:
    """Yield the ``for`` of each element of a Forwarded header from the right, ``""`` where there is none.

    Commas are not looked for inside quotes. An address has none, and a visitor's unbalanced quote must not swallow
    what the proxies appended behind it.
    """
    for element in _hops(chain):
        values = [match[1] for pair in element.split(";") if (match := _FOR.fullmatch(pair))]
        # An element with two of them was not written by a proxy.
        yield values[0].strip('"') if len(values) == 1 else ""


def _network(entry: str) -> _Network:
    network = ip_network(entry)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network
