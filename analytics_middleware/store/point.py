"""One consistent point: the contents of the catalogue and the log entries that are not sealed yet."""

from sqlite3 import Connection
from typing import NamedTuple

from analytics_middleware.outbox.records import decode_record
from analytics_middleware.store import catalogue
from analytics_middleware.store.catalogue import State
from analytics_middleware.store.segments import Segments
from analytics_middleware.store.tail import Tail


class Point(NamedTuple):
    """The contents at one instant."""

    state: State
    tail: Tail

    @property
    def has_erased(self) -> bool:
        """Whether files may contain erased events."""
        return bool(self.state.erased or self.tail.identities.erasures)


def read_point(connection: Connection, segments: Segments, now: int) -> Point:
    """Return the contents that a read transaction sees; *now* is in microseconds since 1970."""
    state = catalogue.read_state(connection)
    tail = Tail(connection, segments, state)
    log = connection.execute(
        "SELECT kind, payload FROM log WHERE seq > ? ORDER BY seq", (catalogue.read_cursor(connection),)
    ).fetchall()
    tail.take(
        connection, [record for kind, payload in log if (record := decode_record(kind, payload)) is not None], now
    )
    return Point(state, tail)
