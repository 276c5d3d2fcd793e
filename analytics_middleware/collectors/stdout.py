"""Events on standard output, for people and for log shippers."""

import sys
from typing import TextIO

from analytics_middleware.collectors.base import BaseCollector
from analytics_middleware.event import Event
from analytics_middleware.plain_text import ESCAPED, printable


class StdoutCollector(BaseCollector):
    """Prints each event as a JSON object on one line, or as a readable line with ``pretty=True``.

    It prints everything an event holds; the raw client address only with ``client_ip=True``.
    It is first-party, so it prints in debug too.
    """

    third_party = False
    bots = True
    linger = 0.0

    def __init__(
        self, *, pretty: bool = False, client_ip: bool = False, name: str = "stdout", stream: TextIO | None = None
    ) -> None:
        self.name = name
        self.needs = ("client_ip",) if client_ip else ()
        self._pretty = pretty
        self._stream = stream

    def collect(self, event: Event) -> None:
        """Write one line."""
        line = _readable(event) if self._pretty else event.encode().decode()
        # Looked up at each call, because tests and servers replace sys.stdout.
        stream = self._stream or sys.stdout
        try:
            stream.write(line + "\n")
        except UnicodeEncodeError:
            # A server's locale may be ASCII, and strangers write names and paths.
            stream.write(line.encode(stream.encoding, ESCAPED).decode(stream.encoding) + "\n")

    def flush(self) -> None:
        """Flush the stream."""
        (self._stream or sys.stdout).flush()


def _readable(event: Event) -> str:
    parts = [f"{event.timestamp:%H:%M:%S}", f"{event.type.value:<8}"]
    if event.event_name or event.action_name:
        parts.append(event.name)
    if event.method:
        parts.append(f"{event.method} {event.path}")
    if event.matched_pattern and event.matched_pattern != event.path:
        parts.append(f"({event.matched_pattern})")
    if event.status_code is not None:
        parts.append(str(event.status_code))
    if event.duration is not None:
        parts.append(f"{event.duration * 1000:.1f} ms")
    if event.user_id:
        parts.append(f"user={event.user_id}")
    if event.locale:
        parts.append(event.locale)
    if event.revenue is not None:
        parts.append(str(event.revenue))
    parts += [f"{key}={value!r}" for key, value in event.properties.items()]
    # Strangers wrote the names, paths and values.
    return printable(" ".join(parts))
