"""Warming: after a compaction the columns that the overview reads go to disk before anybody opens a page."""

from collections.abc import Callable
from typing import Final

from analytics_middleware.store._base import Base
from analytics_middleware.store._np_visits import all_visits
from analytics_middleware.store.parameters import SESSION_TIMEOUT
from analytics_middleware.store.snapshot import FrameReader

_FIELDS: Final = (
    "is_bot",
    "type",
    "name",
    "status_code",
    "currency",
    "matched_pattern",
    "source",
    "channel",
    "referrer",
    "country",
    "device",
    "browser",
)


def warm(new_reader: Callable[[], FrameReader]) -> None:
    """Compute the columns of compacted segments that an overview reads, and return once they are on disk.

    It uses a reader of its own, so that a process that answers no questions keeps none of them in memory.
    """
    reader = new_reader()
    if not reader.keeps_columns():
        return
    try:
        frame = reader.frame()
        for table in frame.tables:
            if isinstance(table.source, Base):
                for field in _FIELDS:
                    table.source.codes(field)
                table.source.numbers("revenue_minor")
                _ = table.quarters
                all_visits(frame, table, SESSION_TIMEOUT, bots=False)
                table.source.disk.wait()
    finally:
        reader.close()
