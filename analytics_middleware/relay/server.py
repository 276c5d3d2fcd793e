"""The worker's end: takes what web processes of the host hand over, and answers when it is in the log."""

import fcntl
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from analytics_middleware.counters import Counters, logger
from analytics_middleware.relay import facts, wire

if TYPE_CHECKING:
    from analytics_middleware.pipeline import Submission

_LOCK = "worker.lock"
_LOOK_EVERY = 1.0
"""Seconds until a second worker asks again whether the first has gone."""
_REST = 0.05
_CHUNK = 1 << 18


class RelayServer:
    """Listens in *directory* and gives what comes to *record*, from a thread of its own.

    *record* takes groups by their ids and returns the log's last sequence number once they are there; it raises when
    they can't be written. Of several workers of a directory one listens, and another takes over when it ends.
    """

    def __init__(
        self,
        directory: Path,
        greeting: bytes,
        record: "Callable[[Mapping[str, Sequence[Submission]]], int]",
        counters: Counters,
    ) -> None:
        self._directory = directory
        self._greeting = greeting
        self._record = record
        self._counters = counters
        self._stopping = False
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._identity: tuple[int, int] | None = None
        self._lock: int | None = None
        self._thread = threading.Thread(target=self._run, name="analytics-relay", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """Record what has arrived, and end within *timeout* seconds; the others find that out and go on alone."""
        self._stopping = True
        with suppress(OSError):
            self._wake.send(b"x")
        self._thread.join(timeout)

    def abandon(self) -> None:
        """In a forked child: leave it to the parent, and let go of what would outlive it here."""
        if self._lock is not None:
            os.close(self._lock)
        self._close_all()

    def _close_all(self) -> None:
        # There is none any more once the thread has ended.
        for key in list((self._selector.get_map() or {}).values()):
            _close(key.fileobj)
        self._selector.close()
        self._wake.close()

    def _run(self) -> None:
        try:
            while not self._stopping:
                if self._listener is not None and self._identity != self._present():
                    # Somebody emptied the directory, or replaced it.
                    self._withdraw()
                if self._listener is None:
                    self._listen()
                self._serve(_LOOK_EVERY)
            self._withdraw()
            # What was sent before the others could know.
            self._serve(0.0)
        except Exception:  # noqa: BLE001 - the others record by themselves then
            self._counters.log("relay", logger.error, "analytics: recording for others has ended", exc_info=True)
        finally:
            self._withdraw()
            self._close_all()

    def _listen(self) -> None:
        try:
            if self._lock is None:
                self._lock = os.open(self._directory / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._listener = self._opened()
        except BlockingIOError:
            # Another worker does it.
            return
        except OSError as error:
            self._counters.log(
                "relay", logger.warning, "analytics: no socket, so web processes record by themselves: %s", error
            )
            return
        self._identity = self._present()
        self._selector.register(self._listener, selectors.EVENT_READ)

    def _present(self) -> tuple[int, int] | None:
        """Return what tells the socket that stands in the directory from any other."""
        try:
            found = (self._directory / wire.SOCKET).lstat()
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _opened(self) -> socket.socket:
        listener = socket.socket(socket.AF_UNIX)
        try:
            with wire.address(self._directory) as address:
                # Of one that was killed.
                with suppress(FileNotFoundError):
                    os.unlink(address)  # noqa: PTH108 - it may go through a descriptor
                listener.bind(address)
                # Nobody can connect before `listen`.
                os.chmod(address, 0o600)  # noqa: PTH101
            listener.listen(64)
            listener.setblocking(False)
        except BaseException:
            listener.close()
            raise
        return listener

    def _withdraw(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None
            # Not another worker's, which took the place.
            if self._present() == self._identity:
                with suppress(OSError):
                    (self._directory / wire.SOCKET).unlink()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _serve(self, timeout: float) -> None:
        frames: list[tuple[_Connection, tuple[str, list[Submission]]]] = []
        for key, _ in self._selector.select(timeout):
            if key.fileobj is self._listener:
                self._accept()
            elif isinstance(key.data, _Connection):
                try:
                    frames += [(key.data, facts.decode(frame, self._counters)) for frame in key.data.frames()]
                except Exception as error:  # noqa: BLE001 - whatever it sent, the others' is recorded
                    self._leave(key.data, error)
        if frames:
            self._take(frames)

    def _take(self, frames: "list[tuple[_Connection, tuple[str, list[Submission]]]]") -> None:
        try:
            # One transaction for whatever came together, from all processes.
            last = self._record(dict(group for _, group in frames))
        except Exception as error:  # noqa: BLE001 - who gets no answer records by itself
            for connection, _ in frames:
                self._leave(connection, error)
            return
        for connection, _ in frames:
            try:
                connection.answer(last)
            except OSError as error:
                self._leave(connection, error)

    def _accept(self) -> None:
        if self._listener is None:
            return
        try:
            accepted, _ = self._listener.accept()
        except OSError:
            # Gone again, or no descriptor is free: then it would be asked for over and over.
            time.sleep(_REST)
            return
        connection = _Connection(accepted)
        self._selector.register(accepted, selectors.EVENT_READ, connection)
        try:
            connection.greet(self._greeting)
        except OSError as error:
            self._leave(connection, error)

    def _leave(self, connection: "_Connection", error: Exception) -> None:
        if not isinstance(error, OSError):
            self._counters.log(
                "relay", logger.warning, "analytics: what a process sent can't be recorded here: %r", error
            )
        with suppress(KeyError, ValueError):
            self._selector.unregister(connection.socket)
        connection.socket.close()


class _Connection:
    """One web process."""

    def __init__(self, accepted: socket.socket) -> None:
        accepted.setblocking(False)
        self.socket = accepted
        self._received = bytearray()

    def greet(self, greeting: bytes) -> None:
        self.socket.sendall(greeting)

    def answer(self, last: int) -> None:
        self.socket.sendall(wire.ANSWER.pack(last))

    def frames(self) -> list[bytes]:
        """Return what is complete. Raises `OSError` when the other side has gone, `ValueError` for noise."""
        try:
            part = self.socket.recv(_CHUNK)
        except BlockingIOError:
            return []
        if not part:
            raise ConnectionResetError("it has gone")
        received = self._received
        received += part
        frames: list[bytes] = []
        head = wire.LENGTH.size
        while len(received) >= head:
            (length,) = wire.LENGTH.unpack_from(received)
            if length > wire.MAX_FRAME:
                raise ValueError(f"a frame of {length} bytes")
            if len(received) < head + length:
                break
            frames.append(bytes(received[head : head + length]))
            del received[: head + length]
        return frames


def _close(each: object) -> None:
    if isinstance(each, socket.socket):
        each.close()
