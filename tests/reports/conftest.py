"""A loopback mail server and a loopback webhook, and events of the days before a known Wednesday."""

import socket
import ssl
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "collectors"))
sys.path.insert(0, str(Path(__file__).parent))

from destinations.server import Server
from smtp_server import TLS, SmtpServer


@pytest.fixture
def context() -> ssl.SSLContext:
    """The certificate of hooks.example, signed by an authority of the tests."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(TLS / "server.pem")
    return made


@pytest.fixture
def smtp(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., SmtpServer]]:
    """Starts mail servers, to which every name leads."""
    with ExitStack() as stack:

        def start(**options: Any) -> SmtpServer:
            server = stack.enter_context(SmtpServer(**options))
            found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))]
            monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_options: found)
            return server

        yield start


@pytest.fixture
def hook() -> Iterator[Server]:
    """A webhook that answers 200 until told otherwise."""
    with Server() as running:
        yield running
