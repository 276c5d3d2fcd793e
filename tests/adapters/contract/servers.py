"""Real servers in processes of their own: each is started, asked everything, and told to end, once."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from analytics_middleware import Event
from contract.drivers import Request, ask_socket, begun, drain, leave_early
from contract.pages import DEADLINE
from contract.rows import ROWS, Row

_HERE = Path(__file__).parent.parent
_WORKERS = 2
_BURST = 60
_MAX_CALLS = 1000
"""Calls after which a worker that has not answered yet never will."""

_UVICORN = ("uvicorn", "contract.serving:asgi", "--fd", "{fd}", "--log-level", "warning", "--no-access-log")
_GUNICORN = ("gunicorn", "contract.serving:wsgi", "--bind", "fd://{fd}", "--workers", str(_WORKERS), "--preload")
_GTHREAD = ("--worker-class", "gthread", "--threads", "4")


@dataclass(frozen=True)
class Server:
    stack: str
    command: tuple[str, ...]
    workers: int


SERVERS = {
    "bare ASGI on uvicorn": Server("bare ASGI", _UVICORN, 1),
    "Starlette on uvicorn": Server("Starlette", _UVICORN, 1),
    "FastAPI on uvicorn": Server("FastAPI", _UVICORN, 1),
    "Django ASGI on uvicorn": Server("Django ASGI", _UVICORN, 1),
    "bare WSGI on gunicorn": Server("bare WSGI", _GUNICORN, _WORKERS),
    "Flask on gunicorn threads": Server("Flask", (*_GUNICORN, *_GTHREAD), _WORKERS),
    "Django WSGI on gunicorn": Server("Django WSGI", _GUNICORN, _WORKERS),
}


@dataclass
class Run:
    """What came of a server's life."""

    plain: dict[str, bytes] = field(default_factory=dict)
    recorded: dict[str, bytes] = field(default_factory=dict)
    """Answers by row, without and with the middleware."""
    calls: list[int] = field(default_factory=list)
    """Numbers of the calls that were answered."""
    workers: set[int] = field(default_factory=set)
    """Processes that answered them."""
    last_bytes: int = 0
    """Length of the answer that was under way when the server was told to end."""
    log: str = ""
    events: list[tuple[int, Event]] = field(default_factory=list)
    """Delivered events, each with the process that delivered it."""
    patient: list[tuple[int, Event]] = field(default_factory=list)
    """The same of the collector that waits for the end."""

    def of(self, user_agent: str) -> list[Event]:
        return [event for _, event in self.events if event.user_agent == user_agent]


def row_agent(row: Row) -> str:
    """The user agent by which the events of *row* are told from others'."""
    return f"row/{ROWS.index(row)}"


def run(server: Server) -> Run:
    """Start *server*, ask it everything, end it with SIGTERM while an answer is under way, and read its events."""
    result = Run()
    with tempfile.TemporaryDirectory(prefix="contract-") as directory:
        events, log = Path(directory, "events"), Path(directory, "log")
        with _running(server, events, log) as (process, port):
            for row in ROWS:
                result.plain[row.id] = _masked(ask_socket(port, _tagged(row.request, "plain", ("X-Plain", "1"))))
                result.recorded[row.id] = _masked(ask_socket(port, _tagged(row.request, row_agent(row))))
            leave_early(port, _tagged(Request("GET", "/endless", (("Accept", "text/html"),)), "gone"))
            _call_until_all_workers_have_answered(server, port, result)
            with begun(port, _tagged(Request("GET", "/long", (("Accept", "text/html"),)), "last")) as connection:
                process.send_signal(signal.SIGTERM)
                result.last_bytes = drain(connection)
        result.log = log.read_text()
        result.events = _read(events)
        result.patient = _read(Path(f"{events}.patient"))
    return result


def _read(events: Path) -> list[tuple[int, Event]]:
    lines = events.read_text().splitlines() if events.exists() else []
    entries = [json.loads(line) for line in lines]
    return [(entry["pid"], Event.decode(json.dumps(entry["event"]))) for entry in entries]


def _call_until_all_workers_have_answered(server: Server, port: int, result: Run) -> None:
    def call(number: int) -> tuple[int, int]:
        request = Request("POST", f"/api/worker?n={number}", (("Content-Type", "text/plain"),), b"x")
        answer = ask_socket(port, _tagged(request, "caller"))
        return number, json.loads(answer[answer.index(b'{"pid"') : answer.index(b"}") + 1])["pid"]

    with ThreadPoolExecutor(8) as pool:
        while len(result.calls) < _MAX_CALLS and (not result.calls or len(result.workers) < server.workers):
            start = len(result.calls)
            for number, pid in pool.map(call, range(start, start + _BURST)):
                result.calls.append(number)
                result.workers.add(pid)


def _tagged(request: Request, agent: str, *headers: tuple[str, str]) -> Request:
    return replace(request, headers=(*request.headers, ("User-Agent", agent), *headers))


def _masked(answer: bytes) -> bytes:
    """Return *answer* without what is new every second."""
    return re.sub(rb"(?im)^date: [^\r]*", b"date: now", answer)


@contextmanager
def _running(server: Server, events: Path, log: Path) -> Iterator[tuple["subprocess.Popen[bytes]", int]]:
    """Give the process of the running server, which must be told to end, and its port."""
    # The socket listens before the server runs: connections wait for it, and no port can be taken meanwhile.
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening, log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(fd=listening.fileno()) for part in server.command)],
            cwd=log.parent,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(_HERE), os.environ.get("PYTHONPATH")])),
                # Where gunicorn keeps its control socket.
                "HOME": str(log.parent),
                "CONTRACT_STACK": server.stack,
                "CONTRACT_EVENTS": str(events),
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        port = listening.getsockname()[1]
        listening.close()
        try:
            yield process, port
            process.wait(DEADLINE)
        except BaseException as error:
            error.add_note(log.read_text()[-4000:])
            raise
        finally:
            if process.poll() is None:
                # Its own process group: the server and its workers.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
