"""What reading a file yields: records, and the reasons why lines make none."""

import uuid
from collections import OrderedDict
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import blake2b
from typing import Final, NamedTuple

from analytics_middleware.errors import AnalyticsError
from analytics_middleware.event import Erase, Event, Identify
from analytics_middleware.store import FirstSeen

_REMEMBERED: Final = 100_000


class Refused(NamedTuple):
    """A line that is wrong."""

    reason: str


class Left(NamedTuple):
    """One or more valid lines that make no event."""

    reason: str
    events: int = 1


Item = Event | Identify | Erase | FirstSeen | Refused | Left
Items = Iterator[Item]


class FileError(AnalyticsError):
    """A file can't be read, or not to its end; the message says why."""


def derived_id(at: datetime, *parts: str | bytes) -> str:
    """Return an event id, in the form of a UUIDv7, that is always the same for the same time and *parts*."""
    digest = blake2b(digest_size=10)
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big") + data)
    millis = int(at.astimezone(UTC).timestamp() * 1000) & 0xFFFF_FFFF_FFFF
    low = int.from_bytes(digest.digest(), "big") & ((1 << 74) - 1)
    high, rest = low >> 62, low & ((1 << 62) - 1)
    return str(uuid.UUID(int=millis << 80 | 7 << 76 | high << 64 | 2 << 62 | rest))


class Repetitions:
    """Counts identical lines, such as two hits within a second, so that each gets an id of its own."""

    def __init__(self) -> None:
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def number(self, line: bytes) -> str:
        """Return how often *line* came before, among the last lines."""
        key = blake2b(line, digest_size=16).digest()
        count = self._counts.pop(key, -1) + 1
        self._counts[key] = count
        if len(self._counts) > _REMEMBERED:
            self._counts.popitem(last=False)
        return str(count)
