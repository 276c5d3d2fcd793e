"""Events in a file, one JSON object a line, rotated by size."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from analytics_middleware.collectors.base import BatchCollector
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.event import Event


class JSONLinesCollector(BatchCollector):
    """Appends each event as a line of JSON to *path*: ``JSONLinesCollector("/var/log/shop/events.jsonl")``.

    **Written:** the whole event as `Event.encode` writes it; the client's raw address only with ``client_ip=True``.
    Nothing leaves the machine. A new file is readable and writable by its owner alone.

    When the file would grow beyond *max_bytes* it is renamed to ``events.jsonl.1``, an older one to ``.2``, and so on
    up to *keep* files; the oldest is removed. If logrotate renames the file, a new one is opened. A batch is on disk
    (fsync) before it counts as delivered, and is written whole or not at all: a part that a full disk cut off is
    removed again. One process of a host writes at a time. Lines are repeated only after a crash between write and
    commit; ``event_id`` identifies them.
    """

    third_party = False
    bots = True
    dedupes = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        max_bytes: int = 100_000_000,
        keep: int = 5,
        fsync: bool = True,
        client_ip: bool = False,
        name: str = "jsonl",
    ) -> None:
        super().__init__()
        if not os.fspath(path):
            raise ConfigurationError("JSONLinesCollector: path is missing; give the file to write to")
        if not isinstance(keep, int) or keep < 1 or not isinstance(max_bytes, int) or max_bytes < 1:
            raise ConfigurationError(f"JSONLinesCollector: max_bytes {max_bytes!r} and keep {keep!r} must be 1 or more")
        self.name = name
        self.needs = ("client_ip",) if client_ip else ()
        self._path = Path(path).expanduser().absolute()
        self._rotate_at = max_bytes
        self._keep = keep
        self._fsync = fsync
        self._file: BinaryIO | None = None

    def start(self) -> None:
        """Make the directory and open the file, so that errors show early."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._opened()

    def send(self, events: Sequence[Event]) -> None:
        """Write *events*, all of them or, on a failure, none."""
        data = b"".join(event.encode() + b"\n" for event in events)
        file = self._opened()
        size = file.seek(0, os.SEEK_END)
        if size and size + len(data) > self._rotate_at:
            self._rotate()
            file = self._opened()
            size = file.seek(0, os.SEEK_END)
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
            # A process that died while writing left part of a line. End that line, or the next one is lost with it.
            data = b"\n" + data
        try:
            written = 0
            while written < len(data):
                written += file.write(data[written:]) or 0
            if self._fsync:
                os.fsync(file.fileno())
        except OSError:
            file.truncate(size)
            raise

    def close(self) -> None:
        """Close the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _opened(self) -> BinaryIO:
        """Return the file that is now at *path*; it may have been renamed or removed since it was opened."""
        if self._file is not None:
            try:
                same = os.path.samestat(os.fstat(self._file.fileno()), self._path.stat())
            except OSError:
                same = False
            if same:
                return self._file
            self.close()
        descriptor = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        # Unbuffered, because data left in a buffer by a failed write would be written later.
        self._file = os.fdopen(descriptor, "ab", buffering=0)
        return self._file

    def _rotate(self) -> None:
        self.close()
        for index in range(self._keep - 1, 0, -1):
            older = self._numbered(index)
            if older.exists():
                older.replace(self._numbered(index + 1))
        self._path.replace(self._numbered(1))

    def _numbered(self, index: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{index}")
