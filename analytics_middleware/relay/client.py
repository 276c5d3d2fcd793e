"""The web process's end: groups of facts go to the worker, and what it does not answer for is recorded here."""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from analytics_middleware.counters import Counters, logger
from analytics_middleware.ids import first_of_many
from analytics_middleware.relay import facts, wire

if TYPE_CHECKING:
    from analytics_middleware.pipeline import Handed

_PATIENCE = 1.0
"""Seconds that the worker may take to record a group; then it is recorded here."""
_PAUSE = 5.0
"""Seconds until a worker that has not answered is tried again."""


class Relay:
    """A connection to the worker of *directory*, if there is one. Used by the writer thread, but for `preparing`."""

    def __init__(self, directory: Path, counters: Counters, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._directory = directory
        self._counters = counters
        self._monotonic = monotonic
        self._connection: socket.socket | None = None
        self._try_at = 0.0
        self._closed = False
        self.last_seq = 0
        """The log's last sequence number, as the worker told it."""

    def preparing(self, put: "Callable[[Handed | bytes], None]") -> "Callable[[Handed], None]":
        """Return what hands an item to *put* ready to be sent, or as it is when there is no worker or it can't travel.

        Called in the request: one object of bytes keeps its memory warm, where a request's many objects, kept for
        another thread, do not. It saves more than it costs.
        """
        encode = facts.encode

        def prepare(item: "Handed") -> None:
            if self._connection is not None:
                try:
                    put(encode(item))
                except Exception:  # noqa: BLE001 - headers that are no list, text that is no UTF-8: it is recorded here
                    put(item)
            else:
                put(item)

        return prepare

    @property
    def up(self) -> bool:
        """Whether a worker records what is sent."""
        return self._connection is not None

    def look(self) -> None:
        """Connect to the worker unless that is done, or was tried in vain a moment ago."""
        if self._connection is None and not self._closed and self._monotonic() >= self._try_at:
            try:
                self._connection = self._connected()
            except (FileNotFoundError, ConnectionRefusedError):
                # There is none, or one was killed; to look is cheap.
                return
            except OSError as error:
                self._failed(error)

    def send(self, items: "Sequence[Handed | bytes]") -> "list[Handed]":
        """Have the worker record *items*; return those that are to be recorded here."""
        prepared = [item for item in items if isinstance(item, bytes)]
        rest = [item for item in items if not isinstance(item, bytes)]
        if prepared:
            first_id = first_of_many()
            if not self._answered(wire.frame(first_id, prepared)):
                rest = [*facts.decode_each(first_id, prepared, self._counters), *rest]
        return rest

    def close(self) -> None:
        """End the connection for good, from any thread: who waits for an answer waits no longer."""
        self._closed = True
        if (connection := self._connection) is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        self._disconnect()

    def abandon(self) -> None:
        """In a forked child: leave the connection to the parent."""
        self._closed = True
        self._disconnect()

    def _answered(self, frame: bytes) -> bool:
        connection = self._connection
        if connection is None:
            return False
        try:
            connection.sendall(frame)
            (last,) = wire.ANSWER.unpack(_read(connection, wire.ANSWER.size))
        except OSError as error:
            # It may have them all the same: then they are in the log twice, under the same ids.
            self._failed(error)
            return False
        self.last_seq = max(self.last_seq, last)
        return True

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_PATIENCE)
            with wire.address(self._directory) as address:
                connection.connect(address)
            if _read(connection, len(wire.GREETING)) != wire.GREETING:
                raise ConnectionError("it is of another version")
        except BaseException:
            connection.close()
            raise
        return connection

    def _failed(self, error: OSError) -> None:
        self._disconnect()
        if not isinstance(error, ConnectionError):
            # Not one that has ended and may be followed at once, but one that is slow.
            self._try_at = self._monotonic() + _PAUSE
        self._counters.log(
            "relay", logger.info, "analytics: the worker does not record for this process, which does so: %s", error
        )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _read(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionError("it has ended the connection")
        received += part
    return received
