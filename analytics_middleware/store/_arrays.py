"""The optional libraries of the embedded store, and names for its array types."""

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

    # import_module returns Any: pyarrow has no complete type information.
    pa: Any = importlib.import_module("pyarrow")
    pc: Any = importlib.import_module("pyarrow.compute")
    pq: Any = importlib.import_module("pyarrow.parquet")
except ImportError as error:
    raise MissingExtraError(
        f"the embedded store needs {error.name}: pip install 'analytics-middleware[insights]'"
    ) from error

# pyarrow imports pandas, if installed, on its first conversion. Do it now, not in somebody's request.
pa.array([0]).to_numpy()

_THREADS: Final = min(4, os.cpu_count() or 1)

A = TypeVar("A")
B = TypeVar("B")

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
Codes = NDArray[np.integer[Any]]
"""Codes of values, in the smallest integer type that fits. Cast before doing arithmetic: it could overflow."""
Hashes = NDArray[np.uint64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

NEVER = np.iinfo(np.int64).max
"""Stands for a first time that does not exist."""
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
    """Return pyarrow.dataset, imported on first use because it is slow to import and rarely needed."""
    return importlib.import_module("pyarrow.dataset")


def ranges(starts: Rows, ends: Rows) -> Rows:
    """Return all indexes of the ranges ``[start, end)``, concatenated."""
    lengths = ends - starts
    total = int(lengths.sum())
    if not total:
        return np.zeros(0, np.intp)
    offsets: Rows = np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
    offsets += np.arange(total, dtype=np.intp)
    return offsets


def nobodies(who: Int32s) -> int:
    """Return the number of leading rows in the sorted *who* that belong to nobody (negative numbers)."""
    # A Python number would make NumPy copy the whole column as int64.
    return np.searchsorted(who, np.zeros(1, who.dtype)).item()


def side_by_side(work: Callable[[A], B], items: Sequence[A]) -> list[B]:
    """Return *work* applied to each of *items*, in threads: array libraries release the interpreter's lock."""
    if len(items) < 2:
        return [work(item) for item in items]
    # A copy of the context carries the question's time limit into each thread.
    with ThreadPoolExecutor(min(len(items), _THREADS)) as threads:
        running = [threads.submit(copy_context().run, work, item) for item in items]
        return [one.result() for one in running]


def narrowed(codes: Int32s, number: int) -> NDArray[Any]:
    """Return *codes*, all less than *number*, in the smallest integer type that holds them."""
    return codes.astype(np.uint8 if number <= 2**8 else np.uint16 if number <= 2**16 else np.int32, copy=False)


def changes(*keys: NDArray[Any]) -> Mask:
    """Return which rows differ from the row before in any of *keys*; the first row counts as different."""
    found = np.ones(len(keys[0]), np.bool_)
    if len(found):
        found[1:] = False
        for key in keys:
            found[1:] |= key[1:] != key[:-1]
    return found
