"""Servers in processes of their own, and clients that remember which answers were complete, from whom and when."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from ports import own_port

from analytics_middleware.relay import wire

DEADLINE = 30.0
_HERE = Path(__file__).parent.parent

COMMANDS = {
    "uvicorn": ("uvicorn", "--factory", "durability.app:asgi", "--host", "127.0.0.1", "--port", "{port}"),
    "django on uvicorn": (
        *("uvicorn", "--factory", "durability.app:django_asgi", "--host", "127.0.0.1", "--port", "{port}"),
    ),
    "gunicorn": ("gunicorn", "durability.app:wsgi()", "--bind", "127.0.0.1:{port}", "--worker-class", "gthread"),
}
QUIET = {
    "uvicorn": ("--log-level", "warning", "--no-access-log"),
    "django on uvicorn": ("--log-level", "warning", "--no-access-log"),
    "gunicorn": ("--threads", "4", "--log-level", "warning"),
}


def environment(data_dir: Path, url: str, home: Path, **settings: object) -> dict[str, str]:
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [str(_HERE), os.environ.get("PYTHONPATH")])),
        # Where gunicorn keeps its control socket.
        "HOME": str(home),
        "DURABILITY_DIR": str(data_dir),
        "DURABILITY_URL": url,
        "DURABILITY_SETTINGS": json.dumps(settings),
    }


@dataclass
class Server:
    process: "subprocess.Popen[bytes]"
    port: int
    log: Path

    def end(self) -> int:
        """End it with SIGTERM and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(DEADLINE)


@contextmanager
def running(name: str, tmp_path: Path, url: str, *, workers: int = 1, **settings: object) -> Iterator[Server]:
    """Start a server and wait until it answers; whatever is left of it at the end is killed."""
    port = own_port()
    log = tmp_path / "server.log"
    command = [*COMMANDS[name], "--workers", str(workers), *QUIET[name]]
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(port=port) for part in command)],
            cwd=tmp_path,
            env=environment(tmp_path / "data", url, tmp_path, **settings),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        _wait_until_it_answers(process, port)
        yield Server(process, port, log)
    except BaseException as error:
        error.add_note(log.read_text()[-4000:])
        raise
    finally:
        # Its own process group: the server and its workers.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(DEADLINE)


class Worker:
    """``analytics-middleware worker`` beside a server: killed and started again."""

    def __init__(self, tmp_path: Path, url: str, **settings: object) -> None:
        self.killed = 0
        self._command = [sys.executable, "-m", "analytics_middleware", "worker", "--app", "durability.app:asgi"]
        self._environment = environment(tmp_path / "data", url, tmp_path, **settings)
        self._data_dir = tmp_path / "data"
        self._log = tmp_path / "worker.log"

    def __enter__(self) -> "Worker":
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        return self

    def __exit__(self, *args: object) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)

    @property
    def records(self) -> bool:
        """Whether it has got so far that it records for the web processes."""
        try:
            with wire.address(self._data_dir) as address, socket.socket(socket.AF_UNIX) as connection:
                connection.connect(address)
        except OSError:
            return False
        return True

    def kill(self) -> None:
        """Kill it, and start the next one."""
        assert self._process.poll() is None, self._log.read_text()[-4000:]
        self.__exit__()
        self.killed += 1
        self.__enter__()


def _wait_until_it_answers(process: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + DEADLINE
    while True:
        assert process.poll() is None, "the server ended"
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.02)
        else:
            return


@dataclass(frozen=True)
class Answer:
    """A complete answer."""

    number: int
    pid: int
    """The worker that gave it."""
    at: float
    """When its last byte was here, monotonic."""


class Load:
    """Clients that ask one page after the other, each with a number of its own, and never a number twice."""

    def __init__(self, port: int, clients: int, pause: float) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._pause = pause
        self._numbers = count(1)
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(clients)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(DEADLINE)

    def _run(self) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.wait(self._pause):
            try:
                connection = connection or http.client.HTTPConnection("127.0.0.1", self._port, timeout=5.0)
                self.answers.append(ask(connection, next(self._numbers)))
            except (OSError, http.client.HTTPException):
                # The worker was killed, or none is there yet.
                if connection is not None:
                    connection.close()
                connection = None
        if connection is not None:
            connection.close()


def ask(connection: http.client.HTTPConnection, number: int) -> Answer:
    connection.request("GET", f"/?n={number}", headers={"Accept": "text/html", "User-Agent": "load"})
    response = connection.getresponse()
    body = response.read()
    at = time.monotonic()
    found = re.fullmatch(rb'<p data-pid="(\d+)">(\d+)</p>', body)
    assert found, body
    assert int(found[2]) == number
    return Answer(number, int(found[1]), at)


def ask_all(port: int, numbers: Sequence[int]) -> list[Answer]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE)
    try:
        return [ask(connection, number) for number in numbers]
    finally:
        connection.close()
