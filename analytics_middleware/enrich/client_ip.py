"""The client's address, also behind the proxies that the site trusts.

The rule is the one every server converged on: each proxy appends the address it saw, so the header is read from the
right, as far as trusted proxies have written it. Whatever is left of the first untrusted address was sent by the
client and may say anything.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from analytics_middleware.remembering import remembered
from analytics_middleware.request import Request

MAX_HEADER: Final = 2048
"""Characters read of the proxy header, from its right end."""
MAX_HOPS: Final = 32
"""Entries read of the proxy header, from its right end."""

_CACHED_CHAINS = 2048
_Address = IPv4Address | IPv6Address
_Network = IPv4Network | IPv6Network

# host, then optionally a port, which RFC 7239 section 6 lets a proxy obfuscate.
_BRACKETED = re.compile(r"\[([^\[\]]*)\](?::[\w.-]{0,32})?")
_IPV4_PORT = re.compile(r"([0-9.]+):[\w.-]{0,32}", re.ASCII)
_FOR = re.compile(r"\s*for\s*=\s*(.*?)\s*", re.IGNORECASE)


class ClientIP:
    """Finds the client's address: call it with a `Request`, and it returns canonical text or None.

    *trusted_proxies* are the addresses and CIDR networks of the site's own proxies, and ``"unix"`` for a proxy
    that connects through a Unix socket and so has no address. *header* (lower case) is the one header those proxies
    write: ``x-forwarded-for``, ``forwarded`` (RFC 7239), or one with a single address, such as ``cf-connecting-ip``.
    No other header is read, because a proxy that writes one leaves the others as the client sent them.

    The result is the peer unless it is trusted. Otherwise it is the first address from the right, in all occurrences
    of the header, that is not trusted, or the leftmost if all are trusted. An entry that is no address (``unknown``,
    ``_hidden``) ends the search; the result is then the entry to its right.
    """

    def __init__(self, trusted_proxies: Sequence[str] = (), header: str = "x-forwarded-for") -> None:
        self._trusts_unix = "unix" in trusted_proxies
        self._networks = tuple(_network(entry) for entry in trusted_proxies if entry != "unix")
        self._header = header
        self._hops: Callable[[str], Iterator[str]] = _forwarded_for if header == "forwarded" else _hops
        # Not a decorated method: the cache is valid for this instance's networks only and must die with it.
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
        """Whether *request* came from a trusted proxy, so that the headers which that proxy writes can be believed."""
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
        if cut:  # the first entry may be the end of a longer one and still be a valid address
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
        # An address of one IP version is never in a network of the other; Python answers False.
        return any(address in network for network in self._networks)


@lru_cache(4096)
def canonical(text: str) -> str | None:
    """Return the address in *text* in canonical form (RFC 5952 for IPv6), or None if it is not an address.

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

    A comma separates elements even inside quotes: no address contains one, and an unbalanced quote that a client sent
    must not swallow what the proxies appended after it.
    """
    for element in _hops(chain):
        values = [match[1] for pair in element.split(";") if (match := _FOR.fullmatch(pair))]
        # An element with two of them does not come from a proxy.
        yield values[0].strip('"') if len(values) == 1 else ""


def _network(entry: str) -> _Network:
    network = ip_network(entry)
    mapped = network.network_address.ipv4_mapped if isinstance(network, IPv6Network) else None
    if mapped is not None and network.prefixlen >= 96:
        return IPv4Network((mapped, network.prefixlen - 96))
    return network
