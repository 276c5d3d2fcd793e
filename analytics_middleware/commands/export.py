"""``export``: writes the store's events as Parquet, CSV or JSON Lines, or with ``--user`` all data of one user."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from analytics_middleware.commands import CommandError, export_user, target
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount, moment
from analytics_middleware.event import Identify
from analytics_middleware.exporting import FORMATS, PEOPLE
from analytics_middleware.exporting.files import new_file

if TYPE_CHECKING:
    from analytics_middleware.store.base import Portable

NAME = "export"
HELP = "Write the store's events to files, or everything that is held of a user."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--parquet", metavar="PATH", help="a file, or a directory: one file for each month, and what is known of users"
    )
    what.add_argument("--csv", metavar="PATH", help="the same as CSV, safe for spreadsheets; - for standard output")
    what.add_argument("--jsonl", metavar="PATH", help="the same, one JSON object a line; - for standard output")
    parser.add_argument(
        "--from", dest="start", type=moment, metavar="WHEN", help="only events from then (2d, 2026-01-31)"
    )
    parser.add_argument("--to", dest="end", type=moment, metavar="WHEN", help="only events before then")
    parser.add_argument("--force", action="store_true", help="overwrite existing files")
    export_user.configure(parser)


def run(arguments: argparse.Namespace) -> int:
    """Write the events, or with ``--user`` let `export_user` do its part."""
    chosen = [(name, getattr(arguments, name)) for name in FORMATS if getattr(arguments, name) is not None]
    if arguments.user is not None:
        if chosen or arguments.start is not None or arguments.end is not None:
            raise CommandError("--user can be combined with --output only")
        return export_user.run(arguments)
    if not chosen:
        raise CommandError("give --parquet, --csv or --jsonl with a path, or --user")
    [(extension, place)] = chosen
    if place == "-" and extension == "parquet":
        raise CommandError("Parquet can't be written to standard output: name a file")
    if place.endswith(".gz"):
        raise CommandError(f"{place!r} would not be compressed: write to - and pipe it through gzip")
    if arguments.start is not None and arguments.end is not None and arguments.end <= arguments.start:
        raise CommandError("--to must be after --from")
    store = target.find(arguments).portable
    span = {"start": arguments.start, "end": arguments.end}
    path = Path(place)
    if place.endswith("/"):
        path.mkdir(mode=0o700, exist_ok=True)
    if place == "-":
        with os.fdopen(os.dup(sys.stdout.fileno()), "wb") as file:
            count = _write(store, extension, nullcontext(file), span)
    elif path.is_dir():
        count = _write_months(store, extension, path, span, force=arguments.force)
    else:
        count = _write(store, extension, new_file(path, force=arguments.force), span)
    print(f"{amount(count, 'event')} exported.", file=sys.stderr)
    return 0


def _write(store: "Portable", extension: str, opened: Any, span: dict[str, Any]) -> int:
    from analytics_middleware.exporting.writers import WRITERS

    with opened as file:
        writer = WRITERS[extension](file)
        count = 0
        for table in _shown(store, span):
            writer.write(table)
            count += table.num_rows
        writer.close()
    return count


def _write_months(store: "Portable", extension: str, directory: Path, span: dict[str, Any], *, force: bool) -> int:
    """Write one file for each month, and one with what is known of users."""
    from analytics_middleware.exporting.months import by_month
    from analytics_middleware.exporting.writers import WRITERS

    count = 0
    for month, tables in by_month(_shown(store, span)):
        with new_file(directory / f"events-{month}.{extension}", force=force) as file:
            writer = WRITERS[extension](file)
            for table in tables:
                writer.write(table)
                count += table.num_rows
            writer.close()
    with new_file(directory / PEOPLE, force=force) as file:
        for record in store.people():
            kind = "identify" if isinstance(record, Identify) else "erase"
            file.write(msgspec.json.encode({kind: record}) + b"\n")
        for seen in store.first_seen():
            file.write(msgspec.json.encode({"first_seen": seen._asdict()}) + b"\n")
    return count


def _shown(store: "Portable", span: dict[str, Any]) -> Iterator[Any]:
    from analytics_middleware.exporting.tables import read, size

    with Progress("exporting", size(store)) as bar:
        for table in read(store, **span):
            yield table
            bar.advance(table.num_rows)
