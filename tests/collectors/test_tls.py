"""TLS: names are verified although connections go to an address; what is not trusted gets nothing."""

import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from destinations.server import Received, Reply, Server, slow_headers, tunnel
from destinations.vendor import numbered

from analytics_middleware import DeliveryError
from analytics_middleware.collectors import WebhookCollector
from analytics_middleware.outgoing import address

# A certificate for hooks.example and the authority that signed it, made for these tests alone.
FILES = Path(__file__).parent / "tls"


@pytest.fixture
def context() -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(FILES / "server.pem")
    return made


@pytest.fixture
def secure(context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A TLS server that every name leads to."""
    with Server(context=context) as running:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", running.port))]
        monkeypatch.setattr(address.socket, "getaddrinfo", lambda *_args, **_options: found)
        yield running


def hook(host: str, **options: Any) -> WebhookCollector:
    given: dict[str, Any] = {"allow_private": True, "ca_file": str(FILES / "ca.pem"), "timeout": 2.0, **options}
    return WebhookCollector(f"https://{host}/in", **given)


def test_the_name_is_asked_for_and_verified(secure: Server, context: ssl.SSLContext) -> None:
    """SNI and Host carry the name, the connection goes to the address that was checked, and is kept."""
    asked: list[str | None] = []
    context.sni_callback = lambda _sock, name, _context: asked.append(name)
    collector = hook("hooks.example")
    for _ in range(2):
        collector.collect(numbered(1))
        collector.flush()
    collector.close()
    assert asked == ["hooks.example"]
    assert [request.headers["host"] for request in secure.requests] == ["hooks.example"] * 2


@pytest.mark.parametrize(
    ("host", "options"), [("other.example", {}), ("hooks.example", {"ca_file": None})], ids=["name", "authority"]
)
def test_an_unverified_server_gets_nothing(secure: Server, host: str, options: dict[str, Any]) -> None:
    """Neither another name nor an unknown authority; the events wait."""
    collector = hook(host, **options)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError, match="certificate") as caught:
        collector.flush()
    collector.close()
    assert not caught.value.ambiguous
    assert not caught.value.permanent
    assert secure.requests == []


def test_a_server_that_speaks_no_tls_gets_nothing(server: Server) -> None:
    """Nothing is sent in the clear instead."""
    collector = WebhookCollector(f"https://127.0.0.1:{server.port}/", allow_private=True, timeout=2.0)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError) as caught:
        collector.flush()
    collector.close()
    assert not caught.value.ambiguous
    assert server.requests == []


def test_time_is_bounded_over_tls_too(secure: Server) -> None:
    """Headers that drip are given up at the time-out."""
    secure.handler = lambda _request: slow_headers
    collector = hook("hooks.example", timeout=0.5)
    collector.collect(numbered(1))
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="time-out") as caught:
        collector.flush()
    collector.close()
    assert caught.value.ambiguous
    assert time.monotonic() - began < 3


def test_a_large_body_goes_through(secure: Server) -> None:
    """In pieces, over one connection."""
    collector = hook("hooks.example", timeout=10.0)
    events = [numbered(index, properties={f"k{key}": "v" * 4000 for key in range(60)}) for index in range(8)]
    for event in events:
        collector.collect(event)
    collector.flush()
    collector.close()
    assert secure.requests[0].json == [event.to_dict() for event in events]


def test_a_proxy_sees_a_tunnel_and_no_event(server: Server, context: ssl.SSLContext) -> None:
    """The destination's certificate is verified through it."""
    seen: list[Received] = []
    server.handler = lambda _request: tunnel(context, Reply(204), seen)
    collector = hook("hooks.example", proxy=server.url)
    collector.collect(numbered(1))
    collector.flush()
    collector.close()
    assert [request.target for request in server.requests] == ["hooks.example:443"]
    assert [request.target for request in seen] == ["/in"]
