"""Deletes expired private data on time, with or without traffic, and leaves none of it in the database's files.

Deleted data is overwritten in the database file (``secure_delete``), but SQLite's write-ahead log keeps the old pages
until it is emptied: salts, sessions, and addresses that collectors have read (https://sqlite.org/wal.html).
"""

import time
from collections.abc import Callable

from analytics_middleware.enrich.visit import Enricher
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.spill import FAILURES

EVERY = 60.0
"""Seconds that deleted data may stay in the write-ahead log."""


class Housekeeping:
    """Cleans up once a minute, in the writer thread; at every tick while readers keep the log from being emptied."""

    def __init__(
        self,
        enricher: Enricher,
        database: Database | None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._enricher = enricher
        self._database = database
        self._clock = clock
        self._monotonic = monotonic
        self._due = monotonic() + EVERY

    def tick(self) -> None:
        """Clean up if it is time to."""
        now = self._monotonic()
        if now >= self._due:
            try:
                clean = self.run()
            except FAILURES:
                # Already logged when an event could not be written.
                clean = True
            self._due = now + EVERY if clean else now

    def run(self) -> bool:
        """Clean up now; return whether nothing is left behind in the files."""
        now = self._clock()
        self._enricher.prepare(now)
        self._enricher.forget(now)
        return self._database is None or self._database.truncate()
