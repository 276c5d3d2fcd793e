"""What must go after a while goes, whether anybody visits or not, and leaves nothing behind in the database's files.

What is deleted is overwritten in the file (``secure_delete``), but SQLite's write-ahead log holds the pages as they
were until it is emptied: salts, sessions, and the addresses that collectors have read (https://sqlite.org/wal.html).
"""

import time
from collections.abc import Callable

from analytics_middleware.enrich.visit import Enricher
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.spill import FAILURES

EVERY = 60.0
"""Seconds that what was deleted may stay in the write-ahead log."""


class Housekeeping:
    """Cleans up once a minute, in the writer thread; again at the next opportunity if somebody was reading."""

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
                # Said already by whoever could not write an event.
                clean = True
            self._due = now + EVERY if clean else now

    def run(self) -> bool:
        """Clean up now; return whether nothing is left behind in the files."""
        now = self._clock()
        self._enricher.prepare(now)
        self._enricher.forget(now)
        return self._database is None or self._database.truncate()
