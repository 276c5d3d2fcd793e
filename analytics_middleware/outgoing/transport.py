"""One HTTP request and its answer, within a deadline: connection reuse, limited answers, classified failures.

urllib3 makes the connections (TLS with verified names, proxies). The pool is our own because it matters *when* a
request failed: one that was never sent completely may safely be sent again; one that was sent but not answered may
have arrived. Also, urllib3's pool logs each URL, and some destinations put their secret there.
"""

import http.client
import os
import ssl
import threading
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from urllib3.util.ssl_ import create_urllib3_context
from urllib3.util.wait import wait_for_read

from analytics_middleware.outgoing.address import Endpoint, resolve
from analytics_middleware.outgoing.connection import Connection, Plain, Secure

MAX_ANSWER: Final = 65_536
"""Maximum bytes of an answer's body, before and after decompression."""
_BODY_TIME: Final = 5.0
"""Seconds to wait for an answer's body once its status is known: the status matters most."""
_IDLE: Final = 15.0
"""Seconds after which an idle connection is not reused: servers close idle ones, and a request sent at that moment may
or may not have arrived."""
_KEPT: Final = 8


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A request. Its repr shows no headers, query or body, which contain keys and personal data."""

    method: str
    target: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    def __repr__(self) -> str:
        return f"<Outgoing {self.method}, {len(self.body)} bytes>"


@dataclass(frozen=True, slots=True)
class Answer:
    """A server's answer. *complete* is False if the body was cut, too long, too slow or garbled; then it is empty."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name; repeated headers are joined with a comma."""
    body: bytes = field(default=b"", repr=False)
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer. *sent* says whether the whole request may have arrived."""

    text: str
    sent: bool


class Transport:
    """Sends requests to one endpoint, from any thread. Each takes at most *timeout* seconds, excluding name look-up."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        timeout: float,
        connect_timeout: float,
        allow_private: bool,
        proxy: Endpoint | None = None,
        ca_file: str | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._connect_timeout = connect_timeout
        self._allow_private = allow_private
        self._proxy = proxy
        self._ca_file = ca_file
        self._context: ssl.SSLContext | None = None
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._idle: list[tuple[Connection, float]] = []

    def exchange(self, request: Outgoing) -> Answer | Failure:
        """Send *request*; return the answer or the failure. Never raises."""
        deadline = time.monotonic() + self._timeout
        try:
            connection = self._take(deadline)
        except Exception as error:  # noqa: BLE001 - any error here means that nothing was sent
            return Failure(f"no connection: {_said(error)}", sent=False)
        connection.deadline = deadline
        answer = _exchange(connection, request)
        if isinstance(answer, Answer) and answer.complete and connection.sock is not None:
            self._keep(connection)
        else:
            connection.close()
        return answer

    def close(self) -> None:
        """Close idle connections. The next request opens a new one."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection, _ in idle:
            connection.close()

    def _take(self, deadline: float) -> Connection:
        if self._pid != os.getpid():
            # The parent still uses its connections; this only closes our copies of the descriptors.
            inherited = self._idle
            self._reset()
            for connection, _ in inherited:
                connection.close()
        while True:
            with self._lock:
                if not self._idle:
                    break
                connection, since = self._idle.pop()
            # Readable before a request means that the server closed it or sent something unexpected.
            if time.monotonic() - since < _IDLE and connection.sock and not wait_for_read(connection.sock, timeout=0.0):
                return connection
            connection.close()
        return self._open(deadline)

    def _keep(self, connection: Connection) -> None:
        with self._lock:
            if len(self._idle) < _KEPT and self._pid == os.getpid():
                self._idle.append((connection, time.monotonic()))
                return
        connection.close()

    def _open(self, deadline: float) -> Connection:
        target, first = self._endpoint, self._proxy or self._endpoint
        private = self._allow_private or self._proxy is not None
        if target.scheme == "https":
            if self._context is None:
                self._context = _tls_context(self._ca_file)
            connection: Connection = Secure(first.host, first.port, ssl_context=self._context)
        else:
            connection = Plain(first.host, first.port)
        connection.addresses = resolve(first.host, first.port, allow_private=private)
        if self._proxy is not None:
            connection.set_tunnel(target.host, target.port)
        connection.deadline = min(deadline, time.monotonic() + self._connect_timeout)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        return connection


def _exchange(connection: Connection, request: Outgoing) -> Answer | Failure:
    """Send *request* over an open *connection* and read the answer."""
    try:
        connection.putrequest(request.method, request.target, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value)
        connection.putheader("Content-Length", str(len(request.body)))
        connection.endheaders(request.body)
    except (ConnectionError, ssl.SSLEOFError) as error:
        # The server stopped reading. It may have answered, for example with 413.
        answer = _read(connection)
        return (
            answer if isinstance(answer, Answer) else Failure(f"broken off while sending: {_said(error)}", sent=False)
        )
    except Exception as error:  # noqa: BLE001 - an incomplete request is not acted on
        return Failure(f"not sent: {_said(error)}", sent=False)
    return _read(connection)


def _read(connection: Connection) -> Answer | Failure:
    try:
        # Not urllib3's getresponse, which logs the URL when headers are malformed.
        response = http.client.HTTPConnection.getresponse(connection)
    except Exception as error:  # noqa: BLE001 - sent, but no readable answer
        return Failure(f"no answer: {_said(error)}", sent=True)
    with response:
        headers: dict[str, str] = {}
        for name, value in response.getheaders():
            key = name.lower()
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
        connection.deadline = min(connection.deadline, time.monotonic() + _BODY_TIME)
        try:
            body = response.read(MAX_ANSWER + 1)
            if response.length:
                raise http.client.IncompleteRead(body)
            body = _unpacked(body, headers.get("content-encoding", "identity"))
        except Exception:  # noqa: BLE001 - only the status matters
            connection.close()
            return Answer(response.status, headers, complete=False)
        if len(body) > MAX_ANSWER:
            connection.close()
            return Answer(response.status, headers, complete=False)
        if response.will_close or not response.isclosed():
            connection.close()
        return Answer(response.status, headers, body)


def _unpacked(body: bytes, encoding: str) -> bytes:
    """Return *body* decoded from content *encoding*: some servers compress without being asked to."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity") or not body:
        return body
    if encoding not in ("gzip", "x-gzip", "deflate"):
        raise ValueError("an encoding that was not asked for")
    unpack = zlib.decompressobj(wbits=47 if encoding != "deflate" else 15)
    plain = unpack.decompress(body, MAX_ANSWER + 1)
    if not unpack.eof and len(plain) <= MAX_ANSWER:
        raise ValueError("cut short")
    return plain


def _said(error: Exception) -> str:
    """Describe *error* without anything from the request: some messages quote the URL."""
    if isinstance(error, TimeoutError):
        return "time-out"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS: {error.reason or 'failed'}"
    if isinstance(error, OSError) and not isinstance(error, http.client.HTTPException):
        return error.strerror or str(error) or type(error).__name__
    return type(error).__name__


def _tls_context(ca_file: str | None) -> ssl.SSLContext:
    context = create_urllib3_context()
    if ca_file is None:
        context.load_default_certs()
    else:
        context.load_verify_locations(ca_file)
    return context
