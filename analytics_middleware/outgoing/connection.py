"""Connections that obey a deadline and connect only to checked addresses."""

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
"""Maximum number of interim answers before the final one."""


class _Timed(io.RawIOBase):
    """A socket's file that limits each read to the remaining time; a socket's time-out starts anew with each read."""

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
    """Skips all interim answers (RFC 9110 section 15.2); http.client only skips 100."""

    def _read_status(self) -> tuple[str, int, str]:
        base: Any = super()
        for _ in range(_INTERIM):
            version, status, reason = base._read_status()
            if not 102 <= status <= 199:
                return version, status, reason
            http.client.parse_headers(self.fp)
        raise http.client.HTTPException("no final answer")


def _response(connection: "Connection", sock: Any, *args: Any, **options: Any) -> http.client.HTTPResponse:
    """Return the answer on *sock*, read within the connection's deadline even if it arrives byte by byte."""
    response = _Response(sock, *args, **options)
    file: Any = response.fp
    response.fp = io.BufferedReader(_Timed(file.detach(), connection))
    return response


class Connection(HTTPConnection):
    """A connection to one of *addresses*, using the original host name, that obeys *deadline*."""

    deadline: float = 0.0
    """In seconds of ``time.monotonic``."""
    addresses: Sequence[SocketAddress] = ()

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # http.client expects a class here but only calls it.
        self.response_class: Any = partial(_response, self)

    def limit(self) -> None:
        """Limit the next operation on the socket to the remaining time."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        if self.sock is not None:
            self.sock.settimeout(left)

    def send(self, data: Any) -> None:
        """Send *data* in pieces: with TLS a time-out applies to one piece, not to the whole."""
        for start in range(0, len(data), _PIECE):
            self.limit()
            super().send(data[start : start + _PIECE])

    def _new_conn(self) -> socket.socket:
        problem: OSError = OSError("no address")
        for index, (family, address) in enumerate(self.addresses):
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # An address that never answers must leave time for the others.
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
    """Unencrypted HTTP."""


class Secure(Connection, HTTPSConnection):
    """HTTP over TLS; the certificate is verified for the host's name."""
