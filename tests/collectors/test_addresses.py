"""Where requests may go: public addresses, looked up once, each of them checked."""

import ipaddress
import socket
from typing import Any

import pytest
from destinations.server import Server
from destinations.vendor import numbered

from analytics_middleware import ConfigurationError, DeliveryError
from analytics_middleware.collectors.webhook import WebhookCollector
from analytics_middleware.outgoing import address
from analytics_middleware.outgoing.address import AddressRefusedError, is_public, read_url, resolve

PRIVATE = [
    "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.0.8",
    "198.18.0.1", "240.0.0.1", "::1", "::", "fe80::1",
    "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::", "2002:a00:1::", "64:ff9b:1::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
    "::127.0.0.1", "fec0::1", "feff::1",
]  # fmt: skip
PUBLIC = ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111", "64:ff9b::101:101", "2002:101:101::", "::ffff:1.1.1.1"]


@pytest.mark.parametrize("text", PRIVATE)
def test_addresses_inside_are_not_public(text: str) -> None:
    """Also those that embed one: IPv4-mapped, 6to4, NAT64, Teredo."""
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_of_the_internet_are(text: str) -> None:
    """With what they embed."""
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize(
    "url",
    [
        "https://127.0.0.1/",
        "https://127.1/",
        "https://0177.0.0.1/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:10.0.0.1]/",
        "https://169.254.169.254/latest/meta-data",
    ],
)
def test_private_literals_are_refused_when_configured(url: str) -> None:
    """In every notation that a resolver would understand."""
    with pytest.raises(ConfigurationError, match="private"):
        read_url("url", url)


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("", "missing"),
        ("example.com/hook", "absolute"),
        ("ftp://example.com/", "absolute"),
        ("http://example.com/", "https"),
        ("https://user:hunter2@example.com/", "password"),
        ("https://example.com/#part", "fragment"),
        ("https://example.com/a b", "characters"),
        ("https://example.com/\r\nX: y", "characters"),
        ("https://exa mple.com/", "characters"),
        ("https://example.com:99999/", "not a URL"),
    ],
)
def test_a_url_is_read_strictly(url: str, word: str) -> None:
    """The error names the option and repeats neither path nor password."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        read_url("url", url)
    assert "url" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_one_private_address_among_public_ones_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name with both is what an attacker would make."""
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (ip, 443)) for ip in ("93.184.215.14", "127.0.0.1")]
    monkeypatch.setattr(address.socket, "getaddrinfo", lambda *_args, **_options: found)
    with pytest.raises(AddressRefusedError):
        resolve("example.com", 443, allow_private=False)
    assert len(resolve("example.com", 443, allow_private=True)) == 2


def test_a_name_that_turns_private_gets_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is of the address that is connected to, each time; events wait."""
    looked_up: list[str] = []

    def lookup(host: str, port: int, **_options: Any) -> list[Any]:
        looked_up.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

    monkeypatch.setattr(address.socket, "getaddrinfo", lookup)
    collector = WebhookCollector(f"http://hooks.example:{server.port}/x", allow_http=True)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError, match="private") as caught:
        collector.flush()
    assert not caught.value.permanent
    assert looked_up == ["hooks.example"]
    assert server.requests == []


def test_the_host_keeps_its_name(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The connection goes to the checked address, the Host header has the name; it is looked up once."""
    looked_up: list[str] = []

    def lookup(host: str, port: int, **_options: Any) -> list[Any]:
        looked_up.append(host)
        dead = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))
        return [dead, (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]

    monkeypatch.setattr(address.socket, "getaddrinfo", lookup)
    collector = hook(server, url=f"http://hooks.example:{server.port}/x")
    for _ in range(2):
        collector.collect(numbered(1))
        collector.flush()
    collector.close()
    assert server.requests[0].headers["host"] == f"hooks.example:{server.port}"
    assert looked_up == ["hooks.example"]
    assert server.connections == 1


def hook(server: Server, url: str | None = None, **options: Any) -> WebhookCollector:
    return WebhookCollector(url or f"{server.url}/x", **{"allow_http": True, "allow_private": True, **options})
