"""Ways to make a request: through the protocol in this process, noting every word that the application says, and raw
over a socket."""

import asyncio
import contextvars
import io
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_to_bytes
from wsgiref.util import FileWrapper

from contract.pages import DEADLINE

Message = MutableMapping[str, Any]


@dataclass(frozen=True)
class Request:
    """A request as it stands on the wire."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass
class Exchange:
    """What the application answered: everything it said to the server, in order."""

    said: list[object] = field(default_factory=list)
    status: int | None = None
    body: bytes = b""
    error: BaseException | None = None

    @property
    def comparable(self) -> list[object]:
        return [*self.said, (type(self.error).__name__, str(self.error))]


class ClientGoneError(OSError):
    """What a server's send raises when there is nobody to send to (ASGI 2.4)."""


OnBody = Callable[[int], Awaitable[None]]


def scope_of(request: Request, spec: str = "2.4") -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": spec},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": unquote_to_bytes(request.path).decode(),
        "raw_path": request.path.encode(),
        "query_string": request.query.encode(),
        "root_path": "",
        "headers": [
            (b"host", b"shop.example"),
            *((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers),
            *([(b"content-length", str(len(request.body)).encode())] if request.body else []),
        ],
        "client": ("203.0.113.9", 5000),
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def ask_asgi(
    app: Any, request: Request, *, spec: str = "2.4", on_body: OnBody | None = None, gone: asyncio.Event | None = None
) -> Exchange:
    """Make *request* as a server would. *on_body* is awaited within each send of a body part, numbered from 1: the
    server's back-pressure. Once *gone* is set, the client has left.
    """
    exchange = Exchange()
    half = len(request.body) // 2
    incoming: list[Message] = [{"type": "http.request", "body": request.body[half:], "more_body": False}]
    if half:
        incoming.insert(0, {"type": "http.request", "body": request.body[:half], "more_body": True})
    gone = gone or asyncio.Event()
    parts = 0

    async def receive() -> Message:
        if incoming:
            return incoming.pop(0)
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        nonlocal parts
        noted = {**message}
        if "headers" in noted:
            noted["headers"] = [tuple(header) for header in noted["headers"]]
        exchange.said.append(noted)
        if message["type"] == "http.response.start":
            exchange.status = message["status"]
            return
        exchange.body += message.get("body", b"")
        if message.get("body"):
            parts += 1
            if on_body is not None:
                await on_body(parts)
        if not message.get("more_body", False):
            gone.set()

    try:
        await asyncio.wait_for(app(scope_of(request, spec), receive, send), DEADLINE)
    except (Exception, asyncio.CancelledError) as error:
        exchange.error = error
    return exchange


def environ_of(request: Request) -> dict[str, Any]:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        # PEP 3333: the bytes of the path, as Latin-1.
        "PATH_INFO": unquote_to_bytes(request.path).decode("latin-1"),
        "QUERY_STRING": request.query,
        "RAW_URI": request.target,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.9",
        "HTTP_HOST": "shop.example",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(request.body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        "wsgi.file_wrapper": FileWrapper,
    }
    if request.body:
        environ["CONTENT_LENGTH"] = str(len(request.body))
    for name, value in request.headers:
        key = name.upper().replace("-", "_")
        environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = value
    return environ


def ask_wsgi(
    app: Any,
    request: Request,
    *,
    after_part: Callable[[int], None] | None = None,
    stop_after: int | None = None,
    same_context: bool = False,
) -> Exchange:
    """Make *request* as a server would: from an empty context, or with *same_context* as a worker that serves one
    request after another in its only thread. *after_part* is called after each body part, numbered from 1; after part
    *stop_after* the client has left, and the server closes the body.
    """
    exchange = Exchange()

    def write(part: bytes) -> None:
        exchange.said.append(("write", part))
        exchange.body += part

    def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
        # Two answers may be given in different seconds, which werkzeug says of files.
        exchange.said.append((status, [(name, "" if name == "Date" else value) for name, value in headers]))
        exchange.status = int(status[:3])
        return write

    def serve() -> None:
        body = app(environ_of(request), start_response)
        try:
            # Servers choose how to send by these two.
            exchange.said.append(("file", isinstance(body, FileWrapper)))
            exchange.said.append(("parts", len(body) if hasattr(body, "__len__") else None))
            for number, part in enumerate(body, 1):
                exchange.said.append(part)
                exchange.body += part
                if after_part is not None:
                    after_part(number)
                if number == stop_after:
                    break
        finally:
            close = getattr(body, "close", None)
            if close is not None:
                close()

    try:
        contextvars.Context().run(serve) if not same_context else serve()
    except Exception as error:
        exchange.error = error
    return exchange


# Raw, over a socket.


def wire(request: Request, *, close: bool = True) -> bytes:
    lines = [
        f"{request.method} {request.target} HTTP/1.1",
        "Host: shop.example",
        *(f"{name}: {value}" for name, value in request.headers),
    ]
    if request.body or request.method in ("POST", "PUT", "PATCH"):
        lines.append(f"Content-Length: {len(request.body)}")
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + request.body


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=DEADLINE)


def ask_socket(port: int, request: Request) -> bytes:
    """Return the whole answer as it came."""
    with connect(port) as connection:
        connection.sendall(wire(request))
        answer = bytearray()
        while part := connection.recv(65536):
            answer += part
    return bytes(answer)


def leave_early(port: int, request: Request) -> None:
    """Send *request*, read the beginning of the answer, and hang up with the rest unread."""
    with begun(port, request) as connection:
        # Reset at close, as when a browser's tab is closed with data unread.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextmanager
def begun(port: int, request: Request) -> Iterator[socket.socket]:
    """Give a connection on which the answer to *request* has begun, and cannot go on until it is read."""
    with socket.socket() as connection:
        connection.settimeout(DEADLINE)
        # A small window, so that the server soon waits for us.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16_384)
        connection.connect(("127.0.0.1", port))
        connection.sendall(wire(request))
        assert connection.recv(1)
        yield connection


def drain(connection: socket.socket) -> int:
    """Read to the end; return how many bytes there were."""
    buffer = bytearray(1 << 20)
    total = 0
    while count := connection.recv_into(buffer):
        total += count
    return total
