"""A collector for servers: one line per event, with the process that delivered it."""

import json
import os

from analytics_middleware.collectors.base import BaseCollector
from analytics_middleware.event import Event


class FileCollector(BaseCollector):
    """Appends to the file *path*; one write is one line, so workers can share it."""

    third_party = False
    bots = True
    needs = ("client_ip",)
    max_batch = 10_000

    def __init__(self, path: str, *, name: str = "file", linger: float = 0.0) -> None:
        self.name = name
        self.linger = linger
        self._path = path
        self._file = -1

    def start(self) -> None:
        self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def collect(self, event: Event) -> None:
        line = json.dumps({"pid": os.getpid(), "event": event.to_dict()}) + "\n"
        os.write(self._file, line.encode())

    def close(self) -> None:
        os.close(self._file)
