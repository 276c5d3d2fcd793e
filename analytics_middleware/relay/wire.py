"""How both ends talk: a Unix socket in the data directory, frames of what was handed off, an answer to each.

The worker begins with a `greeting`. Processes whose own differs leave it alone: an event must not depend on who
records it, neither during a rolling deploy nor when two applications share a directory.
"""

import hashlib
import os
import struct
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final, cast

from analytics_middleware import __version__
from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.settings import Settings

SOCKET: Final = "worker.sock"
LENGTH: Final = struct.Struct("!I")
"""Before a frame: its bytes."""
ANSWER: Final = struct.Struct("!Q")
"""To a frame that is in the log: the log's last sequence number."""
MAX_FRAME: Final = 64 * 1024 * 1024
"""Bytes; longer ones are nobody's."""

_SHAPING: Final = (
    "classify",
    "consent",
    "cookie_name",
    "country_header",
    "environment",
    "exclude",
    "geoip_database",
    "keep_query",
    "privacy",
    "processors",
    "proxy_header",
    "session_timeout",
    "timezone",
    "track_all",
    "trusted_proxies",
    "visitor",
)
"""Settings that events depend on."""
_MAX_ADDRESS = 100
"""Bytes of a path that sun_path takes on every system, rounded down (unix(7): 108)."""
_PAIR = struct.Struct("!BBB36sBI")


def greeting(settings: Settings, collectors: Sequence[Collector]) -> bytes:
    """Return the line that a worker begins with: the version, and a digest of what events depend on.

    Functions count by their names and by the source of their modules, so that new code of a processor is not left to a
    worker that still runs the old one.
    """
    shaping = [(name, _plain(getattr(settings, name))) for name in _SHAPING]
    needs = sorted((need, bool(option(each, "third_party"))) for each in collectors for need in option(each, "needs"))
    digest = hashlib.sha256(repr((shaping, needs)).encode()).hexdigest()[:16]
    return f"analytics-middleware relay {__version__} {digest}\n".encode()


def _plain(value: object) -> object:
    if isinstance(value, tuple):
        return [_plain(each) for each in cast("tuple[object, ...]", value)]
    if value is None or isinstance(value, (str, int, float)):
        return value
    if isinstance(value, Path):
        return str(value)
    kind = type(value)
    module = str(getattr(value, "__module__", kind.__module__))
    return module, getattr(value, "__qualname__", kind.__qualname__), _source(module)


@cache
def _source(module: str) -> str:
    """Return a digest of the source of *module*, as it was when this process first asked: near the time it ran it."""
    try:
        source = Path(sys.modules[module].__file__ or "").read_bytes()
    except (KeyError, AttributeError, OSError):
        return ""
    return hashlib.sha256(source).hexdigest()


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
