"""Writes tables of events to an open file, in each of the formats."""

import importlib
from collections.abc import Callable
from typing import IO, Any, Final, Protocol

from analytics_middleware.exporting.cells import json_cell, to_cell
from analytics_middleware.store._arrays import pa, pc, pq
from analytics_middleware.store.columns import COLUMNS, SCHEMA, events_of

_ROW_GROUP: Final = 65_536


class Writer(Protocol):
    """Writes events to one file."""

    def write(self, table: Any) -> None:
        """Write the rows of *table*, an Arrow table of the store's columns."""
        ...

    def close(self) -> None:
        """Write the rest and the end of the format; the file itself stays open."""
        ...


class ParquetWriter:
    """Parquet with the columns of the view ``events``."""

    def __init__(self, file: IO[bytes]) -> None:
        self._writer = pq.ParquetWriter(file, SCHEMA, compression="zstd")
        self._waiting: list[Any] = []

    def write(self, table: Any) -> None:
        """Write the rows of *table*. They are collected first, because large row groups compress better."""
        self._waiting.append(table)
        if sum(each.num_rows for each in self._waiting) >= _ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._waiting:
            self._writer.write_table(pa.concat_tables(self._waiting), row_group_size=_ROW_GROUP)
            self._waiting.clear()

    def close(self) -> None:
        """Write the rest and the footer."""
        self._flush()
        self._writer.close()


class CSVWriter:
    """CSV (RFC 4180) in UTF-8 with the same columns, safe to open in a spreadsheet; see `cells`."""

    def __init__(self, file: IO[bytes]) -> None:
        csv: Any = importlib.import_module("pyarrow.csv")
        # The byte-order mark makes Excel read UTF-8.
        file.write(b"\xef\xbb\xbf")
        options = csv.WriteOptions(quoting_style="all_valid")
        self._writer = csv.CSVWriter(file, pa.schema([(name, pa.string()) for name in COLUMNS]), write_options=options)

    def write(self, table: Any) -> None:
        """Write the rows of *table*."""
        columns = [_cells(name, table.column(name).combine_chunks()) for name in COLUMNS]
        self._writer.write_table(pa.table(columns, names=list(COLUMNS)))

    def close(self) -> None:
        """Write the rest."""
        self._writer.close()


def _cells(name: str, column: Any) -> Any:
    kind = column.type
    if pa.types.is_timestamp(kind):
        return pc.strftime(column, format="%Y-%m-%dT%H:%M:%SZ")
    if not pa.types.is_string(kind):
        return column.cast(pa.string())
    # Most values occur many times; each is converted once.
    encoded = column.dictionary_encode()
    made = json_cell if name == "properties" else to_cell
    values = pa.array([made(text) for text in encoded.dictionary.to_pylist()], pa.string())
    return pa.DictionaryArray.from_arrays(encoded.indices, values).cast(pa.string())


class JSONLinesWriter:
    """One JSON object per line, as a collector receives an event, without empty fields."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def write(self, table: Any) -> None:
        """Write the rows of *table*."""
        self._file.writelines(event.encode() + b"\n" for event in events_of(table))

    def close(self) -> None:
        """Nothing is left to write."""


WRITERS: Final[dict[str, Callable[[IO[bytes]], Writer]]] = {
    "parquet": ParquetWriter,
    "csv": CSVWriter,
    "jsonl": JSONLinesWriter,
}
"""The writer of each of the `FORMATS`."""
