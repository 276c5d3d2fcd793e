"""The optional libraries the embedded store is built on, and names for its arrays."""

import importlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, Final, TypeVar

from analytics_middleware.errors import MissingExtraError

try:
    import duckdb
    import numpy as np
    from numpy.typing import NDArray

    # Imported by name: pyarrow has no complete types of its own.
    pa: Any = importlib.import_module("pyarrow")
    pc: Any = importlib.import_module("pyarrow.compute")
    pq: Any = importlib.import_module("pyarrow.parquet")
except ImportError as error:
    raise MissingExtraError(
        f"the embedded store needs {error.name}: pip install 'analytics-middleware[insights]'"
    ) from error

# Where pandas is installed, Arrow imports it for the first conversion: better now than in somebody's request.
pa.array([0]).to_numpy()

_THREADS: Final = min(4, os.cpu_count() or 1)

A = TypeVar("A")
B = TypeVar("B")

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Codes = NDArray[np.integer[Any]]
"""Of values: as wide as their number asks for, so that arithmetic with them has to say its own width."""
Hashes = NDArray[np.uint64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

NEVER = np.iinfo(np.int64).max
"""Of a first time: there was none."""
ALWAYS = np.iinfo(np.int64).min

__all__ = [
    "ALWAYS",
    "NEVER",
    "Codes",
    "Floats",
    "Hashes",
    "Int32s",
    "Int64s",
    "Mask",
    "NDArray",
    "Rows",
    "changes",
    "duckdb",
    "narrowed",
    "nobodies",
    "np",
    "pa",
    "pc",
    "pq",
    "pyarrow_dataset",
    "ranges",
    "side_by_side",
]


def pyarrow_dataset() -> Any:
    """Return Arrow's module of datasets, which takes long to import and which few need."""
    return importlib.import_module("pyarrow.dataset")


def ranges(starts: Rows, ends: Rows) -> Rows:
    """Return all indexes of the ranges ``[start, end)``, one after the other."""
    lengths = ends - starts
    total = int(lengths.sum())
    if not total:
        return np.zeros(0, np.intp)
    offsets: Rows = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    offsets += np.arange(total, dtype=np.intp)
    return offsets


def nobodies(who: Int32s) -> int:
    """Return how many of the sorted *who* are nobody, who has a number below zero: the place of the first visitor."""
    # A Python number would have the whole column copied as int64.
    return np.searchsorted(who, np.zeros(1, who.dtype)).item()


def side_by_side(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """Return what *work* makes of each of *items*, some at a time: what libraries do to arrays holds no lock."""
    if len(items) < 2:
        return [work(item) for item in items]
    # Each has what this thread's context says, of how long a question may take.
    with ThreadPoolExecutor(min(len(items), _THREADS)) as threads:
        running = [threads.submit(copy_context().run, work, item) for item in items]
        return [one.result() for one in running]


def narrowed(codes: Int32s, number: int) -> NDArray[Any]:
    """Return *codes*, all less than *number*, as the smallest unsigned numbers that hold them."""
    return codes.astype(np.uint8 if number <= 2**8 else np.uint16 if number <= 2**16 else np.int32, copy=False)


def changes(*keys: NDArray[Any]) -> Mask:
    """Return where any of *keys* differs from the row before; the first row does."""
    found = np.ones(len(keys[0]), np.bool_)
    if len(found):
        found[1:] = False
        for key in keys:
            found[1:] |= key[1:] != key[:-1]
    return found
