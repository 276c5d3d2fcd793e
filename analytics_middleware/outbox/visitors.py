"""Salts and sessions in the outbox database, shared by all workers of a host."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta

from analytics_middleware.enrich.salts import PrivateSalts
from analytics_middleware.enrich.sessions import Session, follow
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.spill import FAILURES

_KEPT = 86400.0
"""Seconds that a session's record is kept after its last event."""


class SharedSessions:
    """See `SessionRecords`. Not synced to disk, because losing the last moments in a power cut does no harm."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def update(self, sightings: Sequence[tuple[str, float]], timeout: float) -> list[Session]:
        """See `SessionRecords.update`."""
        sessions: list[Session] = []
        # Read and write each visitor once, however often they were seen.
        latest: dict[str, Session | None] = {}
        with self._database.write(durable=False) as connection:
            for visitor, at in sightings:
                if visitor not in latest:
                    row = connection.execute(
                        "SELECT session_id, first, last FROM session WHERE visitor = ?", (visitor,)
                    ).fetchone()
                    latest[visitor] = None if row is None else Session(*row)
                known = latest[visitor]
                session = follow(known, at, timeout)
                sessions.append(session)
                if known is None or session.last >= known.last:
                    latest[visitor] = session
            connection.executemany(
                "INSERT OR REPLACE INTO session (visitor, session_id, first, last) VALUES (?, ?, ?, ?)",
                [(visitor, *session) for visitor, session in latest.items() if session is not None],
            )
        return sessions

    def active(self, visitors: Iterable[str], since: float) -> set[str]:
        """See `SessionRecords.active`."""
        try:
            with self._database.read() as connection:
                return {
                    visitor
                    for visitor in visitors
                    if connection.execute(
                        "SELECT 1 FROM session WHERE visitor = ? AND last > ?", (visitor, since)
                    ).fetchone()
                }
        except FAILURES:
            # Sessions can't be looked up now; that must not cost an event.
            return set()

    def forget(self, now: float) -> None:
        """See `SessionRecords.forget`."""
        with self._database.write(durable=False) as connection:
            connection.execute("DELETE FROM session WHERE last < ?", (now - _KEPT,))


class SharedSalts:
    """See `SaltRecords`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._private = PrivateSalts()

    def salt(self, day: date, fresh: Callable[[], bytes]) -> bytes:
        """See `SaltRecords.salt`. Forgotten salts are also removed from the file and its write-ahead log.

        While the database is unavailable, this process uses a salt of its own: its visitors count separately that day.
        """
        try:
            return self.shared(day, fresh)
        except FAILURES:
            return self._private.salt(day, fresh)

    def shared(self, day: date, fresh: Callable[[], bytes]) -> bytes:
        """See `SaltRecords.shared`. Raises the exceptions in `FAILURES`."""
        with self._database.read() as connection:
            row = connection.execute("SELECT value FROM salt WHERE day = ?", (day.isoformat(),)).fetchone()
        # Outside the transaction, because *fresh* may ask another host.
        made = fresh() if row is None else row[0]
        with self._database.write() as connection:
            gone = connection.execute(
                "DELETE FROM salt WHERE day < ?", ((day - timedelta(days=1)).isoformat(),)
            ).rowcount
            connection.execute("INSERT OR IGNORE INTO salt (day, value) VALUES (?, ?)", (day.isoformat(), made))
            (salt,) = connection.execute("SELECT value FROM salt WHERE day = ?", (day.isoformat(),)).fetchone()
        if gone:
            self._database.truncate()
        return bytes(salt)

    def forget(self, day: date) -> None:
        """See `SaltRecords.forget`."""
        with self._database.read() as connection:
            if not connection.execute("SELECT 1 FROM salt WHERE day < ?", (day.isoformat(),)).fetchone():
                return
        with self._database.write() as connection:
            connection.execute("DELETE FROM salt WHERE day < ?", (day.isoformat(),))
