"""Sorting more events than fit into memory: rows are divided by time into files, and each is sorted alone."""

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any, Final

from analytics_middleware.store._arrays import Int64s, np, pa
from analytics_middleware.store._sources import numbers_of
from analytics_middleware.store.columns import SCHEMA

_BATCH: Final = 10_000
_MAX_PARTS: Final = 256
"""Maximum number of open files."""


def sorted_tables(batches: Iterable[Any], times: Int64s, directory: Path, *, at_once: int = 65_536) -> Iterator[Any]:
    """Yield the rows of *batches*, tables of `SCHEMA`, in order of time and event id, a few thousand at a time.

    *times* are those of all rows, or more: they determine where to divide so that *at_once* rows, about ten MB, are in
    memory. The others wait in unnamed files in *directory*, which a crash can't leave behind.
    """
    with ExitStack() as stack:
        bounds = _bounds(times, at_once)
        if not len(bounds):
            yield from _sorted(pa.concat_tables([SCHEMA.empty_table(), *batches]))
            return
        files = [stack.enter_context(tempfile.TemporaryFile(dir=directory)) for _ in range(len(bounds) + 1)]
        _distribute(batches, bounds, files)
        for file in files:
            file.seek(0)
            yield from _sorted(pa.ipc.open_stream(file).read_all())
            file.close()


def _distribute(batches: Iterable[Any], bounds: Int64s, files: Sequence[IO[bytes]]) -> None:
    """Write each row of *batches* to the one of *files* for its time."""
    with ExitStack() as stack:
        writers = [stack.enter_context(pa.ipc.new_stream(file, SCHEMA)) for file in files]
        for table in batches:
            parts = np.searchsorted(bounds, numbers_of(table.column("timestamp"), "timestamp"), "right")
            for number in np.unique(parts).tolist():
                writers[number].write_table(table.filter(pa.array(parts == number)))


def _bounds(times: Int64s, at_once: int) -> Int64s:
    """Return the times that divide the rows into parts of about the same size."""
    parts = min(-(-len(times) // at_once), _MAX_PARTS)
    if parts <= 1:
        return np.zeros(0, np.int64)
    places = np.arange(1, parts) * len(times) // parts
    return np.unique(np.partition(times, places)[places])


def _sorted(table: Any) -> Iterator[Any]:
    table = table.sort_by([("timestamp", "ascending"), ("event_id", "ascending")])
    for start in range(0, table.num_rows, _BATCH):
        yield table.slice(start, _BATCH)
