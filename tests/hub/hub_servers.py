"""Hosts and a hub as uvicorn processes, each with a data directory that outlives it."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from ports import own_port

from analytics_middleware.outbox.base import OutboxStats
from analytics_middleware.outbox.sqlite import SqliteOutbox

DEADLINE = 40.0
KEY = "the-key-of-the-hub-for-tests"
SERVER = {"authorization": f"Bearer {KEY}"}
BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
_HERE = Path(__file__).parent


class Instance:
    """One server of the site; `start` and `kill` as often as wanted, always on the same port."""

    def __init__(self, directory: Path, **settings: Any) -> None:
        self.directory = directory
        self.settings = {"data_dir": str(directory / "data"), "secret_key": KEY, **settings}
        self.port = own_port()
        self._process: subprocess.Popen[bytes] | None = None
        directory.mkdir()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api/analytics"

    def start(self, workers: int = 1) -> None:
        with (self.directory / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "uvicorn", "--factory", "hub_site:app", "--host", "127.0.0.1"),
                    *("--port", str(self.port), "--workers", str(workers), "--log-level", "warning"),
                ],
                cwd=self.directory,
                env={**os.environ, "PYTHONPATH": str(_HERE), "HUB_SETTINGS": json.dumps(self.settings)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until(self._answers)

    def kill(self) -> None:
        """End it at once, with its workers."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(DEADLINE)
            self._process = None

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", path, headers=headers or {})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def visit(self, path: str, times: int = 1) -> None:
        """Ask for a page as one and the same browser does, through whatever balances the load between hosts."""
        for _ in range(times):
            headers = {"host": "shop.example", "user-agent": BROWSER, "accept": "text/html"}
            assert self.get(path, headers) == (200, b"page")

    def ask(self, question: str, **parameters: Any) -> Any:
        status, body = self.get(f"/api/analytics/{question}?{urlencode(parameters)}", SERVER)
        assert status == 200, body
        return json.loads(body)["data"]

    def stats(self) -> OutboxStats:
        outbox = SqliteOutbox(self.directory / "data")
        try:
            return outbox.stats()
        finally:
            outbox.close()

    def delivered(self) -> int:
        """Events that the hub has confirmed."""
        consumer = self.stats().consumers.get("store")
        return 0 if consumer is None else consumer.delivered

    def pending(self) -> int:
        """Events in the log that it has not."""
        consumer = self.stats().consumers.get("store")
        return 0 if consumer is None else consumer.pending

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "server.log").read_text()[-3000:]
        try:
            return self.get("/api/analytics/analytics.js")[0] == 200
        except OSError:
            return False


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.05)
