"""Servers for the demo, each in a thread of this process: wsgiref for WSGI, uvicorn for ASGI."""

import socket
import threading
from collections.abc import Generator
from contextlib import contextmanager
from importlib import import_module
from io import StringIO
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import WSGIApplication

from analytics_middleware.errors import MissingExtraError


@contextmanager
def serve_wsgi(application: WSGIApplication, port: int) -> Generator[int]:
    """Serve *application* on 127.0.0.1:*port* (0: a free one) while the block runs; yield the port."""
    with _binding(port):
        server = _Server(("127.0.0.1", port), _Handler)
    with server:
        server.set_app(application)
        # Poll often, because the end of the block waits for a poll.
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="demo-server", daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()


@contextmanager
def serve_asgi(application: Any, port: int) -> Generator[int]:
    """Serve *application* on 127.0.0.1:*port* (0: a free one) while the block runs; yield the port.

    Raises `MissingExtraError` when uvicorn is not installed.
    """
    try:
        uvicorn: Any = import_module("uvicorn")
    except ImportError:
        raise MissingExtraError("serving an ASGI application needs uvicorn: pip install uvicorn") from None
    # The application sometimes fails on purpose, and its tracebacks would be printed between the events.
    config = uvicorn.Config(
        application, log_config=None, log_level="critical", access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with _binding(port):
            listener.bind(("127.0.0.1", port))
        # Listen before the server runs, so that early requests wait instead of being refused.
        listener.listen(128)
        bound: int = listener.getsockname()[1]
        thread = threading.Thread(target=server.run, args=([listener],), name="demo-server", daemon=True)
        thread.start()
        try:
            yield bound
        finally:
            server.should_exit = True
            thread.join(2.0)


@contextmanager
def _binding(port: int) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"port {port}: {error.strerror}; give another with --port, or none for a free one") from None


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    # Don't wait for requests in progress: they are few and short, and the demo should end at once.
    block_on_close = False
    request_queue_size = 128


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Log nothing: the events are printed instead."""

    def get_stderr(self) -> Any:
        # The application sometimes fails on purpose, and its tracebacks would be printed between the events.
        return StringIO()

    def address_string(self) -> str:
        return str(self.client_address[0])
