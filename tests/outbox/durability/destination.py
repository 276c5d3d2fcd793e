"""A destination on the loopback that can be up, refuse, fail, and break off after it has taken a batch."""

import http.client
import json
import socket
import threading
from collections import Counter, defaultdict
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from analytics_middleware.collectors.base import BatchCollector
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event

TIMEOUT = 5.0


class PostCollector(BatchCollector):
    """Posts a batch as JSON; the destination recognises an event_id that it has seen."""

    third_party = False
    bots = True
    dedupes = True
    linger = 0.0

    def __init__(self, url: str, name: str = "post") -> None:
        super().__init__()
        self.name = name
        self._url = urlsplit(url)

    def send(self, events: Sequence[Event]) -> None:
        connection = http.client.HTTPConnection(self._url.hostname or "", self._url.port, timeout=TIMEOUT)
        try:
            connection.request("POST", "/", json.dumps([event.to_dict() for event in events]))
            status = connection.getresponse().status
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryError(f"{type(error).__name__}", ambiguous=True) from None
        finally:
            connection.close()
        if status != 200:
            raise DeliveryError(f"status {status}")


class Destination:
    """Keeps what arrives: the ids under which each number arrived, once for each time."""

    def __init__(self) -> None:
        self.ids: dict[int, list[str]] = defaultdict(list)
        self.names: list[str] = []
        self.recorded_by: Counter[str] = Counter()
        self.batches = 0
        self.changed = threading.Condition()
        self._mode = "down"
        self._server: ThreadingHTTPServer | None = None
        # Taken and kept for as long as this lives, so that nobody else can listen there while it is down.
        self._reserved = socket.socket()
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self._reserved.bind(("127.0.0.1", 0))
        self.port: int = self._reserved.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/"

    def become(self, mode: str) -> None:
        """Be ``up``, ``down`` (refuse connections), ``failing`` (503) or ``torn`` (take the batch, break off)."""
        self._mode = mode
        if mode == "down" and self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None
        elif mode != "down" and self._server is None:
            self._server = _Server(("127.0.0.1", self.port), self._handler())
            threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.become("down")
        self._reserved.close()

    def wait_for(self, numbers: set[int], timeout: float) -> bool:
        """Wait until all of *numbers* have arrived."""
        with self.changed:
            return self.changed.wait_for(lambda: numbers <= self.ids.keys(), timeout)

    def _take(self, events: list[dict]) -> None:
        with self.changed:
            self.batches += 1
            for event in events:
                self.ids[event.get("properties", {}).get("n", -1)].append(event["event_id"])
                self.names.append(event.get("event_name", ""))
                self.recorded_by[event.get("properties", {}).get("recorded by", "")] += 1
            self.changed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        destination = self

        class Handler(BaseHTTPRequestHandler):
            timeout = TIMEOUT

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                mode = destination._mode
                if mode in ("up", "torn"):
                    destination._take(json.loads(body))
                if mode == "torn":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                self.send_response(200 if mode == "up" else 503)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_port = True

    def handle_error(self, request: object, client_address: object) -> None:
        """A worker that was killed in the middle of a request is what happens here."""
