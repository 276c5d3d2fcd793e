"""How both ends talk: a Unix socket in the data directory, frames of what was handed off, an answer to each.

The worker begins with `GREETING`, so that two versions side by side in a rolling deploy leave each other alone.
"""

import os
import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from analytics_middleware import __version__

SOCKET: Final = "worker.sock"
GREETING: Final = f"analytics-middleware relay {__version__}\n".encode()
LENGTH: Final = struct.Struct("!I")
"""Before a frame: its bytes."""
ANSWER: Final = struct.Struct("!Q")
"""To a frame that is in the log: the log's last sequence number."""
MAX_FRAME: Final = 64 * 1024 * 1024
"""Bytes; longer ones are nobody's."""

_MAX_ADDRESS = 100
"""Bytes of a path that sun_path takes on every system, rounded down (unix(7): 108)."""
_PAIR = struct.Struct("!BBB36sBI")


def frame(first_id: str, items: Sequence[bytes]) -> bytes:
    """Return a frame of *items*, each encoded in MessagePack: an array of their first id, and an array of them.

    The requests among them have no ids of their own; see `successor`.
    """
    body = b"".join((_PAIR.pack(0x92, 0xD9, 36, first_id.encode(), 0xDD, len(items)), *items))
    return LENGTH.pack(len(body)) + body


@contextmanager
def address(directory: Path) -> Generator[str]:
    """Give the socket's address in *directory*, which may be longer than an address can be. Raises `OSError`."""
    path = str(directory / SOCKET)
    if len(os.fsencode(path)) <= _MAX_ADDRESS:
        yield path
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Where there is no /proc the system says that there is no such path.
        yield f"/proc/self/fd/{descriptor}/{SOCKET}"
    finally:
        os.close(descriptor)
