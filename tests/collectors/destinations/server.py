"""A scripted HTTP server on loopback: it answers what it is told, or breaks in the way it is told."""

import contextlib
import gzip
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl


@dataclass
class Received:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    raw: bytes
    connection: int

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(self.target.partition("?")[2], keep_blank_values=True))

    @property
    def body(self) -> bytes:
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """A well-formed answer."""

    status: int = 200
    body: bytes | str | dict[str, Any] | list[Any] = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        body = self.body
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), **self.headers}
        lines = [f"HTTP/1.1 {self.status} Said", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


class Line:
    """What a fault may do to the connection a request came on."""

    def __init__(self, sock: socket.socket, closing: threading.Event) -> None:
        self._sock = sock
        self._closing = closing

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def reset(self) -> None:
        """Close so that the other side gets a reset and not an end."""
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._sock.close()

    def wait_for_the_other_end(self) -> None:
        """Say nothing until the client gives up."""
        while self._sock.recv(65536):
            pass

    def drip(self, data: bytes, seconds: float) -> None:
        """Send *data* a byte at a time, one each *seconds*, until the client gives up."""
        for index in range(len(data)):
            self._sock.sendall(data[index : index + 1])
            if self._closing.wait(seconds):
                return


Fault = Callable[[Received, Line], None]
Handler = Callable[[Received], Reply | Fault]


class Server:
    """Answers each request with what *handler* returns; keeps all `requests`."""

    def __init__(self, handler: Handler = lambda _request: Reply(), *, context: ssl.SSLContext | None = None) -> None:
        self.handler = handler
        self._context = context
        self.requests: list[Received] = []
        self.broken: list[BaseException] = []
        """What went wrong in the handler itself; a test that leaves something here fails."""
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self._listener.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        thread = threading.Thread(target=self._accept, name="loopback-accept")
        thread.start()
        self._threads.append(thread)
        return self

    def __exit__(self, *_exc: object) -> None:
        self._closing.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            sockets = list(self._sockets)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        assert not self.broken, self.broken[:2]

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.add(sock)
                self.connections += 1
                number = self.connections
            thread = threading.Thread(target=self._serve, args=(sock, number), name="loopback")
            self._threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        try:
            if self._context is not None:
                with self._lock:
                    self._sockets.discard(sock)
                    sock = self._context.wrap_socket(sock, server_side=True)
                    self._sockets.add(sock)
            with sock, sock.makefile("rb") as file:
                while (request := _read(file, number)) is not None:
                    with self._lock:
                        self.requests.append(request)
                        answer = self.handler(request)
                    if isinstance(answer, Reply):
                        sock.sendall(answer.encoded())
                        continue
                    answer(request, Line(sock, self._closing))
                    return
        except OSError:
            pass
        except BaseException as error:
            self.broken.append(error)
        finally:
            with self._lock:
                self._sockets.discard(sock)


def _read(file: Any, number: int) -> Received | None:
    line = file.readline()
    if not re.fullmatch(rb"[A-Z]+ \S+ HTTP/1\.[01]\r\n", line):
        return None
    method, target, _ = line.decode("latin-1").split(" ", 2)
    headers: dict[str, str] = {}
    while (line := file.readline().decode("latin-1").strip()) != "":
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = int(headers.get("content-length", "0"))
    body = file.read(length)
    return None if len(body) < length else Received(method, target, headers, body, number)


# Faults, each with the status or the silence that a network gives.


def tunnel(context: ssl.SSLContext, answer: Reply, seen: list[Received]) -> Fault:
    """As a proxy does: accept a CONNECT, and be the server at its other end, for one request."""

    def through(_request: Received, line: Line) -> None:
        line.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(line._sock, server_side=True) as inner, inner.makefile("rb") as file:
            request = _read(file, 0)
            if request is not None:
                seen.append(request)
                inner.sendall(answer.encoded())

    return through


def hang(_request: Received, line: Line) -> None:
    line.wait_for_the_other_end()


def hang_up(_request: Received, _line: Line) -> None:
    """Close without a word."""


def reset_without_answer(_request: Received, line: Line) -> None:
    line.reset()


def reset_mid_body(_request: Received, line: Line) -> None:
    line.send(b'HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"status": ')
    line.reset()


def slow_headers(_request: Received, line: Line) -> None:
    line.drip(b"HTTP/1.1 200 OK\r\n" + b"X-Slow: yes\r\n" * 1000, 0.02)


def slow_body(_request: Received, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10000\r\n\r\n")
    line.drip(b" " * 10000, 0.02)


def endless_body(_request: Received, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        line.send(b"1000\r\n" + b" " * 0x1000 + b"\r\n")


def giant_headers(_request: Received, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\n" + b"X-Giant: " + b"x" * 200_000 + b"\r\n\r\n")


def many_headers(_request: Received, line: Line) -> None:
    line.send(b"HTTP/1.1 200 OK\r\n" + b"X-Many: x\r\n" * 20_000 + b"\r\n")


def not_http(_request: Received, line: Line) -> None:
    line.send(b"SSH-2.0-OpenSSH_9.6\r\n")


def truncated_gzip(_request: Received, line: Line) -> None:
    body = gzip.compress(b'{"status": "ok"}' * 100)[:-20]
    line.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def gzip_bomb(_request: Received, line: Line) -> None:
    body = gzip.compress(b" " * 50_000_000)
    line.send(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def unused_port() -> int:
    """A port of loopback on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
