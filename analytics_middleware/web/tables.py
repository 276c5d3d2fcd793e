"""Tables, as on a page, behind a chart, and in a CSV file."""

import csv
import dataclasses
import io
import unicodedata
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from analytics_middleware.exporting.cells import begins_formula

Cell = str | int | float | datetime | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """Rows under named columns. The first column names what a row is about, the second has its figure."""

    name: str
    """In URLs: ``?format=csv&table=NAME``."""
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    field: str | None = None
    """The field whose values are in the first column; a click on one filters by it."""
    page: str | None = None
    """Or the page with details of a row, which gets the row's key as its parameter `field`."""
    keys: tuple[str, ...] | None = None
    """The key of each row, if it is not the first column."""


def table(
    name: str, title: str, columns: Sequence[str], rows: Iterable[Sequence[Cell]], field: str | None = None
) -> Table:
    """Return a table; a click on a row filters by *field*."""
    return Table(name=name, title=title, columns=tuple(columns), rows=tuple(tuple(row) for row in rows), field=field)


def csv_of(table: Table) -> bytes:
    """Return *table* as a CSV file (RFC 4180) that no spreadsheet takes for a program."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([_plain(column) for column in table.columns])
    writer.writerows([[_plain(cell) for cell in row] for row in table.rows])
    # Excel reads UTF-8 only after a byte order mark.
    return out.getvalue().encode("utf-8-sig", "replace")


def _plain(cell: Cell) -> str:
    if cell is None:
        return ""
    if isinstance(cell, datetime):
        return cell.isoformat()
    if not isinstance(cell, str):
        return str(cell)
    # One line: some readers may take a further line for a cell of its own. Control characters become spaces, so that
    # none can hide the beginning of a formula.
    text = "".join(" " if unicodedata.category(each) in ("Cc", "Zl", "Zp") else each for each in cell)
    return f"'{text}" if begins_formula(text) or begins_formula(cell) else text


def shown(value: Any) -> Any:
    """Return *value* as a cell: lists and objects are text."""
    return value if value is None or isinstance(value, (str, int, float, datetime)) else str(value)
