"""Reads the events of any store as Arrow tables."""

from collections.abc import Iterator
from datetime import datetime
from itertools import islice
from typing import Any, Final

from analytics_middleware.store import DuckDBStore
from analytics_middleware.store.base import Portable
from analytics_middleware.store.columns import table_of

_BATCH: Final = 10_000


def read(store: Portable, *, start: datetime | None, end: datetime | None) -> Iterator[Any]:
    """Yield the events of ``[start, end)`` in order of time and event id, some thousands at a time."""
    if isinstance(store, DuckDBStore):
        yield from store.tables(start=start, end=end)
        return
    events = store.events(start=start, end=end)
    while batch := list(islice(events, _BATCH)):
        yield table_of(batch)


def size(store: Portable) -> int:
    """Return roughly how many events *store* has, or 0 if that is unknown."""
    return sum(segment.rows for segment in store.sealer.state().segments) if isinstance(store, DuckDBStore) else 0
