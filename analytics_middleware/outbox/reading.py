"""Following the log without being a consumer."""

import time
from sqlite3 import Connection
from typing import Final
from uuid import uuid4

from analytics_middleware.outbox.base import Entry
from analytics_middleware.outbox.counting import last_seq
from analytics_middleware.outbox.database import Database

TTL: Final = 10.0
"""Seconds that entries are kept for a reader that doesn't come back."""
_RENEW = 3.0
_CHUNK = 500
_ENTRY = "seq, kind, record_id, timestamp, payload, NULL, flags"


class LogTail:
    """Reads each new entry of the log once; with *since*, also existing ones from the first one after that time on.

    Unread entries are not pruned meanwhile. Reading affects no consumer and no counter.
    """

    def __init__(self, database: Database, since: float | None = None) -> None:
        self._database = database
        self._name = uuid4().hex
        with database.write(durable=False) as connection:
            self._cursor = last_seq(connection)
            if since is not None:
                (first,) = connection.execute("SELECT min(seq) FROM log WHERE timestamp >= ?", (since,)).fetchone()
                self._cursor = self._cursor if first is None else first - 1
            self._hold(connection)
        self._since = since

    def read(self) -> list[Entry]:
        """Return new entries since the last call, in several calls if there are many."""
        with self._database.read() as connection:
            rows = connection.execute(
                f"SELECT {_ENTRY} FROM log WHERE seq > ? ORDER BY seq LIMIT ?",  # noqa: S608 - our own names
                (self._cursor, _CHUNK),
            ).fetchall()
        entries = [Entry(*row) for row in rows]
        if entries:
            self._cursor = entries[-1].seq
        if time.monotonic() - self._renewed > _RENEW:
            with self._database.write(durable=False) as connection:
                self._hold(connection)
        since = self._since
        return entries if since is None else [entry for entry in entries if entry.timestamp >= since]

    def close(self) -> None:
        """Stop keeping entries for this reader."""
        with self._database.write(durable=False) as connection:
            connection.execute("DELETE FROM reader WHERE name = ?", (self._name,))

    def _hold(self, connection: Connection) -> None:
        """Keep entries after the cursor from being pruned for some more seconds."""
        self._renewed = time.monotonic()
        now = time.time()
        connection.execute("DELETE FROM reader WHERE until < ?", (now,))
        connection.execute(
            "INSERT OR REPLACE INTO reader (name, cursor, until) VALUES (?, ?, ?)",
            (self._name, self._cursor, now + TTL),
        )
