"""Divides events into months, in UTC."""

from collections.abc import Iterable, Iterator
from itertools import groupby, pairwise
from operator import itemgetter
from typing import Any

from analytics_middleware.store._arrays import np
from analytics_middleware.store._months import month_name, month_numbers
from analytics_middleware.store._sources import numbers_of


def by_month(tables: Iterable[Any]) -> Iterator[tuple[str, Iterator[Any]]]:
    """Yield the name of each month (``2025-03``) with its part of *tables*, whose rows must be in order of time.

    Read a month's tables before asking for the next month.
    """
    parts = (part for table in tables for part in _divided(table))
    for month, group in groupby(parts, itemgetter(0)):
        yield month, (table for _, table in group)


def _divided(table: Any) -> Iterator[tuple[str, Any]]:
    months = month_numbers(numbers_of(table.column("timestamp"), "timestamp"))
    starts = [0, *(np.flatnonzero(np.diff(months)) + 1).tolist(), table.num_rows]
    for start, end in pairwise(starts):
        if start < end:
            yield month_name(int(months[start])), table.slice(start, end - start)
