"""The web process's end: groups of facts go to the worker, and what it does not answer for is recorded here."""

import select
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from analytics_middleware.counters import Counters, logger
from analytics_middleware.ids import first_of_many
from analytics_middleware.relay import facts, wire

if TYPE_CHECKING:
    from analytics_middleware.pipeline import Submission

_PATIENCE = 0.15
"""Seconds that the writer thread waits for the worker. Then it records here, until the worker has answered.

What is complete for 250 ms is to survive a kill of both: this leaves time to write it.
"""
_GIVE_UP = 30.0
"""Seconds after which a worker that has not answered is left."""
_PAUSE = 5.0
"""Seconds until a worker that has not answered is tried again."""
_MAX_GREETING = 200


class Group(NamedTuple):
    """Items to record here. One with an id was sent to the worker, which may write it as well; see `append_groups`."""

    id: str | None
    items: "list[Submission]"


class _Sent(NamedTuple):
    """What the worker has not answered for yet. There are no items any more once they are recorded here."""

    first_id: str
    items: list[bytes]
    at: float


class Relay:
    """A connection to the worker of *directory*, if there is one. Used by the writer thread, but for `preparing`."""

    def __init__(self, directory: Path, greeting: bytes, counters: Counters) -> None:
        self._directory = directory
        self._greeting = greeting
        self._counters = counters
        self._connection: socket.socket | None = None
        self._unanswered: _Sent | None = None
        self._answer = b""
        self._try_at = 0.0
        self._closed = False
        self.last_seq = 0
        """The log's last sequence number, as the worker told it."""

    def preparing(self, put: "Callable[[Submission | bytes], None]") -> "Callable[[Submission], None]":
        """Return what hands an item to *put* ready to be sent, or as it is when there is no worker or it can't travel.

        Called in the request: one object of bytes keeps its memory warm, where a request's many objects, kept for
        another thread, do not. It saves more than it costs.
        """
        encode = facts.encode

        def prepare(item: "Submission") -> None:
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
        return self._connection is not None and not self._closed

    @property
    def waiting(self) -> bool:
        """Whether something was sent that is not known to be in the log."""
        return self._unanswered is not None and bool(self._unanswered.items)

    def connect_if_due(self) -> None:
        """Connect to the worker unless connected already, or the last try failed a moment ago."""
        if self._connection is None and not self._closed and time.monotonic() >= self._try_at:
            try:
                self._connection = self._connected()
            except (FileNotFoundError, ConnectionRefusedError):
                # There is none, or one was killed; to look is cheap.
                return
            except OSError as error:
                self._failed(error)

    def send(self, items: "Sequence[Submission | bytes]") -> list[Group]:
        """Have the worker record *items*; return what to record here, perhaps of an earlier call."""
        prepared = [item for item in items if isinstance(item, bytes)]
        rest = [item for item in items if not isinstance(item, bytes)]
        here = self._settled(0.0)
        if prepared:
            first_id = first_of_many()
            if self._unanswered is None and self._sent(wire.frame(first_id, prepared)):
                self._unanswered = _Sent(first_id, prepared, time.monotonic())
                here += self._settled(_PATIENCE)
            else:
                # The worker is slow or gone.
                rest += facts.decode_each(first_id, prepared, self._counters)
        return [*here, Group(None, rest)]

    def end(self, patience: float) -> list[Group]:
        """End the connection for good; return what was not answered for within *patience* seconds."""
        here = self._settled(patience)
        self._closed = True
        self._disconnect()
        self._unanswered = None
        return here

    def stop_waiting(self) -> None:
        """From another thread: end what the writer thread waits for. What it waits for is recorded there then."""
        self._closed = True
        if (connection := self._connection) is not None:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def abandon(self) -> None:
        """In a forked child: leave the connection to the parent, and what was sent."""
        self._closed = True
        self._unanswered = None
        self._disconnect()

    def _settled(self, patience: float) -> list[Group]:
        """Wait for the answer; return what to record here, because none has come."""
        sent = self._unanswered
        if sent is None:
            return []
        try:
            if self._answered(patience):
                self._unanswered = None
                return []
            if time.monotonic() - sent.at >= _GIVE_UP:
                raise TimeoutError("it does not answer")
            # The next group is not sent before this one is answered.
            self._unanswered = sent._replace(items=[])
        except OSError as error:
            self._unanswered = None
            self._failed(error)
        # Now, for both processes may be killed. Whoever writes it second finds that it is there.
        return (
            [Group(sent.first_id, facts.decode_each(sent.first_id, sent.items, self._counters))] if sent.items else []
        )

    def _answered(self, patience: float) -> bool:
        connection = self._connection
        if connection is None:
            raise ConnectionError("it has gone")
        if not _readable(connection, patience):
            return False
        self._answer += _received(connection, wire.ANSWER.size - len(self._answer))
        if len(self._answer) < wire.ANSWER.size:
            return False
        (last,) = wire.ANSWER.unpack(self._answer)
        self._answer = b""
        self.last_seq = max(self.last_seq, last)
        return True

    def _sent(self, frame: bytes) -> bool:
        connection = self._connection
        if connection is None:
            return False
        try:
            connection.sendall(frame)
        except OSError as error:
            # Part of a frame is none: nobody records it.
            self._failed(error)
            return False
        return True

    def _connected(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(_PATIENCE)
            with wire.address(self._directory) as address:
                connection.connect(address)
            greeting = b""
            while not greeting.endswith(b"\n") and len(greeting) < _MAX_GREETING:
                greeting += _received(connection, _MAX_GREETING)
            if greeting != self._greeting:
                raise OSError("it runs another version, or with other settings that events depend on")
        except BaseException:
            connection.close()
            raise
        return connection

    def _failed(self, error: OSError) -> None:
        self._disconnect()
        if not isinstance(error, ConnectionError):
            # Not one that has ended and may be followed at once, but one that is slow, or another version.
            self._try_at = time.monotonic() + _PAUSE
        self._counters.log(
            "relay", logger.info, "analytics: this process records by itself, because the worker does not: %s", error
        )

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        self._answer = b""
        if connection is not None:
            connection.close()


def _readable(connection: socket.socket, seconds: float) -> bool:
    # Not select(2), which knows descriptors up to 1023 only.
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _received(connection: socket.socket, size: int) -> bytes:
    part = connection.recv(size)
    if not part:
        raise ConnectionError("it has ended the connection")
    return part
