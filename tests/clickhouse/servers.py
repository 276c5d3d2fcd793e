"""The bridge as a process: started, made to misbehave, killed, started again."""

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

from ports import own_port

DEADLINE = 60.0
PASSWORD = "the-password-for-tests"
_BRIDGE = Path(__file__).parent / "bridge.py"


class ClickHouse:
    """A server on a port of its own with the tables in *directory*, which outlive it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = own_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"clickhouse://default:{PASSWORD}@127.0.0.1:{self.port}/default"

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(_BRIDGE), str(self.directory), str(self.port)],
            env={**os.environ, "BRIDGE_PASSWORD": PASSWORD},
            stdin=subprocess.DEVNULL,
        )
        until(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self.ended()

    def ended(self) -> None:
        """Wait for the end of one that kills itself."""
        if self._process is not None:
            self._process.wait(DEADLINE)
            self._process = None

    def fault(self, do: str, on: str = "INSERT", **more: Any) -> None:
        """Have the next query that matches *on* go wrong.

        ``refuse`` says *said* and does nothing, ``slow`` waits *seconds* before it runs the query, ``late`` after it,
        ``hang_up`` runs it and closes the connection, ``die_before`` and ``die_after`` end the server.
        """
        assert self._ask("POST", "/fault", json.dumps({"do": do, "on": on, **more})) == 200

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the bridge ended"
        try:
            return self._ask("GET", "/ping") == 200
        except OSError:
            return False

    def _ask(self, method: str, path: str, body: str = "") -> int:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request(method, path, body)
            return connection.getresponse().status
        finally:
            connection.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "it never came to pass"
        time.sleep(0.05)
