"""Entries that this process has just written into the log, kept so that delivery here need not read them back."""

import threading
from collections.abc import Sequence
from itertools import accumulate
from typing import Final

from analytics_middleware.outbox.base import Draft, Entry

_MOST: Final = 2000
_MOST_BYTES: Final = 2**22


class Recent:
    """The end of the log, as long as only this process writes it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._drafts: list[Draft] = []
        self._bytes = 0
        self._last = 0

    def note(self, drafts: Sequence[Draft], last: int) -> None:
        """Remember *drafts*, whose sequence numbers end with *last*."""
        with self._lock:
            if last - len(drafts) != self._last or len(self._drafts) > _MOST or self._bytes > _MOST_BYTES:
                # Another process wrote entries in between, or nobody here keeps up with reading.
                self._forget()
            self._drafts += drafts
            self._bytes += sum(len(draft.payload) for draft in drafts)
            self._last = last

    def after(self, cursor: int, limit: int, max_bytes: int, end: int, erased: float) -> list[Entry] | None:
        """Return at most *limit* entries and *max_bytes* after *cursor*, or None if they must be read from the log.

        *end* is the log's last sequence number, *erased* the time of the latest erasure: older entries may be erased.
        """
        with self._lock:
            start = cursor - (self._last - len(self._drafts))
            drafts = self._drafts[start : start + limit] if start >= 0 and end == self._last else []
        if not drafts or min(draft.timestamp for draft in drafts) <= erased:
            return None
        sizes = accumulate(len(draft.payload) for draft in drafts)
        fitting = max(1, sum(size <= max_bytes for size in sizes))
        return [Entry._make((seq, *draft, 0)) for seq, draft in enumerate(drafts[:fitting], cursor + 1)]

    def passed(self, cursor: int) -> None:
        """Forget everything if *cursor*, which all consumers here have passed, is the end of it."""
        with self._lock:
            if cursor >= self._last:
                self._forget()

    def _forget(self) -> None:
        self._drafts = []
        self._bytes = 0
