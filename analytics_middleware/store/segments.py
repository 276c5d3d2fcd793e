"""Segments as files: Parquet, written completely or not at all, each with the sorted hashes of its event ids."""

import os
import re
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from analytics_middleware.ids import uuid7
from analytics_middleware.store._arrays import Hashes, np, pa, pq
from analytics_middleware.store.columns import ACTOR, PROPERTY, SCHEMA, TEXTS, VISITOR

_ROW_GROUP: Final = 16_384
"""Rows per row group: to read a few of its rows, a whole one is decoded."""
_DELTAS: Final = ("timestamp", ACTOR, VISITOR)
_IDS: Final = ".ids"
_PARQUET: Final = ".parquet"
_OURS = re.compile(r"(?:recent|actors|month)-[\w-]+(?:\.parquet|\.ids)(?:\.part)?")


def _dictionaries(names: Iterable[str]) -> list[str]:
    return [name for name in names if name in TEXTS or name.startswith(PROPERTY)]


class Segments:
    """The directory of segments. Files never change; names are never reused."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, file: str) -> Path:
        """Return the path of *file*."""
        return self.directory / file

    def write(self, kind: str, tables: Iterable[Any], hashes: Hashes | None = None) -> str:
        """Durably write the rows of *tables* and the *hashes* of their event ids; return the new file's name."""
        name = f"{kind}-{uuid7()}{_PARQUET}"
        if hashes is not None:
            self._write(_ids(name), lambda path: path.write_bytes(np.sort(hashes).tobytes()))
        self._write(name, lambda path: _write_parquet(path, tables))
        return name

    def size(self, file: str) -> int:
        """Return the size in bytes of *file* and its hashes."""
        paths = (self.path(file), self.path(_ids(file)))
        return sum(path.stat().st_size for path in paths if path.exists())

    def open(self, file: str) -> Any:
        """Return *file* as a Parquet file with dictionary-encoded text. Raises `FileNotFoundError` if it is gone."""
        path = self.path(file)
        schema = pq.read_schema(path)
        return pq.ParquetFile(path, read_dictionary=_dictionaries(schema.names), memory_map=True)

    def read(self, file: str, columns: Iterable[str] | None = None) -> Any:
        """Return *columns* of *file*, by default those that every segment has."""
        return self.open(file).read(columns=list(SCHEMA.names if columns is None else columns))

    def hashes(self, file: str) -> Hashes:
        """Return the sorted hashes of the event ids in *file*, memory-mapped."""
        path = self.path(_ids(file))
        if not path.stat().st_size:
            return np.zeros(0, np.uint64)
        return np.memmap(path, np.uint64, mode="r")

    def known(self, file: str, hashes: Hashes) -> Any:
        """Return which of *hashes* belong to events in *file*."""
        stored = self.hashes(file)
        if not len(stored):
            return np.zeros(len(hashes), np.bool_)
        places = np.searchsorted(stored, hashes)
        return stored[np.minimum(places, len(stored) - 1)] == hashes

    def remove(self, file: str) -> None:
        """Delete *file* and its hashes, if they exist."""
        for name in (file, _ids(file)):
            self.path(name).unlink(missing_ok=True)

    def orphans(self, known: set[str], before: float) -> list[Path]:
        """Return our files not in *known* and last written before *before*: their writer died before finishing."""
        if not self.directory.exists():
            return []
        kept = known | {_ids(file) for file in known}
        # The directory may contain files that are not ours: lost+found, a backup's snapshots.
        ours = [path for path in self.directory.iterdir() if _OURS.fullmatch(path.name) and path.name not in kept]
        return [path for path in ours if path.is_file() and path.stat().st_mtime < before]

    def _write(self, name: str, write: Callable[[Path], object]) -> None:
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.path(f"{name}.part")
        try:
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT, 0o600))
            write(temporary)
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            temporary.rename(self.path(name))
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        # Without syncing the directory too, a crash could lose the new name.
        directory = os.open(self.directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _write_parquet(path: Path, tables: Iterable[Any]) -> None:
    with ExitStack() as stack:
        writer: Any = None
        for table in tables:
            if writer is None:
                writer = stack.enter_context(_writer(path, table.schema))
            # One row group at a time: Parquet would write the whole table's texts into each of them.
            groups = max(1, -(-table.num_rows // _ROW_GROUP))
            size = max(1, -(-table.num_rows // groups))
            for begin in range(0, max(table.num_rows, 1), size):
                writer.write_table(_used(table.slice(begin, size)))


def _writer(path: Path, schema: Any) -> Any:
    return pq.ParquetWriter(
        path,
        schema,
        compression="zstd",
        use_dictionary=[*_dictionaries(schema.names), "status_code"],
        column_encoding={name: "DELTA_BINARY_PACKED" for name in _DELTAS if name in schema.names},
        write_page_index=False,
    )


def _ids(file: str) -> str:
    return file.removesuffix(_PARQUET) + _IDS


def _used(table: Any) -> Any:
    """Return *table* with unused texts removed from its dictionaries, so that a file holds nothing of deleted rows."""
    for index, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            chunks = [_used_of(chunk) for chunk in table.column(index).chunks]
            table = table.set_column(index, field.name, pa.chunked_array(chunks, field.type))
    return table


def _used_of(column: Any) -> Any:
    texts = column.dictionary
    codes = column.indices.fill_null(len(texts)).to_numpy(zero_copy_only=False)
    if len(texts) > len(codes):
        # Few rows of a large table: to sort them takes less time than to go through all its texts.
        used, numbers = np.unique(codes, return_inverse=True)
        used = used[used < len(texts)]
    else:
        occurs = np.zeros(len(texts) + 1, np.bool_)
        occurs[codes] = True
        used, numbers = np.flatnonzero(occurs[:-1]), (np.cumsum(occurs) - 1)[codes]
        if len(used) == len(texts):
            return column
    indices = pa.array(numbers, column.type.index_type, mask=codes == len(texts))
    return pa.DictionaryArray.from_arrays(indices, texts.take(pa.array(used)))


def combined(tables: Iterable[Any]) -> Any:
    """Return the rows of *tables* as one table without chunks, its text in dictionaries without unused entries."""
    table = pa.concat_tables([_as_dictionaries(table) for table in tables])
    return _used(table.unify_dictionaries().combine_chunks())


def _as_dictionaries(table: Any) -> Any:
    for index, name in enumerate(table.column_names):
        if name in TEXTS and not pa.types.is_dictionary(table.schema.field(name).type):
            table = table.set_column(index, name, table.column(name).dictionary_encode())
    return table
