"""``sql``: runs one SELECT statement over all events and prints a table, CSV or JSON."""

import argparse
import sys
from typing import Any

import msgspec

from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.text import whole
from analytics_middleware.plain_text import safe, table
from analytics_middleware.properties import clean_value
from analytics_middleware.web.tables import csv_of, shown
from analytics_middleware.web.tables import table as csv_table

NAME = "sql"
HELP = "Run one SELECT statement over the view events of the store; it can change nothing."

_MAX_ROWS = 10_000


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    parser.add_argument("query", help="such as: SELECT path, count(*) FROM events GROUP BY path ORDER BY 2 DESC")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--csv", action="store_true", help="CSV, safe for spreadsheets")
    how.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--limit", type=whole, default=_MAX_ROWS, metavar="N", help=f"rows at most; default: {_MAX_ROWS}"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the statement and print its rows."""
    store = target.find(arguments).store
    from analytics_middleware.store.sql import SqlError

    try:
        found = store.sql(arguments.query, max_rows=arguments.limit)
    except SqlError as error:
        # Only the message, without DuckDB's excerpt of the statement with a marker under the error.
        raise CommandError(" ".join(str(error).partition("\n\n")[0].split())) from None
    if arguments.csv:
        rows = csv_table("sql", "", found.columns, [[shown(cell) for cell in row] for row in found.rows])
        print(csv_of(rows).decode("utf-8-sig").replace("\r\n", "\n"), end="")
    elif arguments.json:
        for row in found.rows:
            cells = {name: _json(cell) for name, cell in zip(found.columns, row, strict=True)}
            print(msgspec.json.encode(cells, enc_hook=str).decode())
    else:
        print(
            table([[safe(column) for column in found.columns], *([_text(cell) for cell in row] for row in found.rows)])
        )
    if found.truncated:
        print(f"There are more rows than {arguments.limit}; --limit shows more.", file=sys.stderr)
    return 0


def _text(cell: Any) -> str:
    return "" if cell is None else safe(str(cell))


def _json(cell: Any) -> Any:
    # Numbers that readers of JSON would round or refuse become text.
    return clean_value(cell) if isinstance(cell, int) else cell
