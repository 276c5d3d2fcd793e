"""Connections that keep to a deadline and go to addresses that were checked."""

import http.client
import io
import socket
import time
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from urllib3.connection import HTTPConnection, HTTPSConnection

from analytics_middleware.outgoing.address import SocketAddress

_PIECE: Final = 65_536
_INTERIM: Final = 20
"""Interim answers that may precede the final one."""


class _Timed(io.RawIOBase):
    """A socket's file that gives each read what is left of the time, where a time-out alone starts over each time."""

    def __init__(self, raw: io.RawIOBase, connection: "Connection") -> None:
        self._raw = raw
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.limit()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """Passes over interim answers (RFC 9110 section 15.2), of which http.client knows 100 alone."""

    def _read_status(self) -> tuple[str, int, str]:
        base: Any = super()
        for _ in range(_INTERIM):
            version, status, reason = base._read_status()
            if not 102 <= status <= 199:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("no final answer")


def _response(connection: "Connection", sock: Any, *args: Any, **options: Any) -> http.client.HTTPResponse:
    """Return the answer on *sock*, read within the connection's deadline however slowly it drips."""
    response = _Response(sock, *args, **options)
    file: Any = response.fp
    response.fp = io.BufferedReader(_Timed(file.detach(), connection))
    return response


class Connection(HTTPConnection):
    """A connection to one of *addresses*, under the name it was asked for, that keeps to *deadline*."""

    deadline: float = 0.0
    """Of ``time.monotonic``."""
    addresses: Sequence[SocketAddress] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # A factory stands where http.client expects a class: it only calls it.
        self.response_class: Any = partial(_response, self)

    def limit(self) -> None:
        """Give the next operation on the socket what is left of the time."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        if self.sock is not None:
            self.sock.settimeout(left)

    def send(self, data: Any) -> None:
        """Send *data* piece by piece: over TLS a time-out is for one piece and not for the whole."""
        for start in range(0, len(data), _PIECE):
            self.limit()
            super().send(data[start : start + _PIECE])

    def _new_conn(self) -> socket.socket:
        problem: OSError = OSError("no address")
        for index, (family, address) in enumerate(self.addresses):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # An address that swallows packets must leave time for the others.
                left = max(0.0, self.deadline - time.monotonic())
                sock.settimeout(max(left / (len(self.addresses) - index), 0.001))
                sock.connect(address)
                sock.settimeout(max(self.deadline - time.monotonic(), 0.001))
            except OSError as error:
                sock.close()
                problem = error
                continue
            except BaseException:
                sock.close()
                raise
            return sock
        raise problem


class Plain(Connection):
    """HTTP in the clear."""


class Secure(Connection, HTTPSConnection):
    """HTTP over TLS, the certificate verified for the host's name."""
