"""``import``: reads files of `export`, access logs, and exports of Plausible and Umami into the store."""

import argparse
import math
import re
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount, moment
from analytics_middleware.exporting import PEOPLE
from analytics_middleware.importing import FORMATS
from analytics_middleware.outbox.tombstones import read_tombstones
from analytics_middleware.plain_text import safe
from analytics_middleware.settings import Settings

if TYPE_CHECKING:
    from analytics_middleware.importing.applying import Tally

NAME = "import"
HELP = "Take files of events into the store: exports of this package, access logs, Plausible's and Umami's exports."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    parser.epilog = (
        "Events go straight into the store and to no collector. An event that the store already has counts once, so "
        "an import that was interrupted can be run again."
    )
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a file, also gzipped, or a directory")
    parser.add_argument("--format", choices=FORMATS, help="the files' format; default: recognised by their content")
    parser.add_argument(
        "--hostname", type=_hostname, metavar="NAME", help="access logs: the site's name, such as shop.example"
    )
    parser.add_argument("--from", dest="start", type=moment, metavar="WHEN", help="only events from then on")
    parser.add_argument("--to", dest="end", type=moment, metavar="WHEN", help="only events before then")


def run(arguments: argparse.Namespace) -> int:
    """Import the files, and say what became of their lines."""
    found = target.find(arguments)
    store = found.portable
    from analytics_middleware.importing.applying import Importer
    from analytics_middleware.importing.enriching import Enrichment
    from analytics_middleware.importing.formats import Reading
    from analytics_middleware.importing.records import FileError
    from analytics_middleware.store import DuckDBStore

    settings = Settings() if found.analytics is None else found.analytics.settings
    reading = Reading(Enrichment(settings), hostname=arguments.hostname, timezone=settings.timezone)
    with found.writable.database.read() as connection:
        tombstones = read_tombstones(connection, -math.inf)
    importer = Importer(store, tombstones, start=arguments.start, end=arguments.end)
    files = _files(arguments.files)
    failed = 0
    with Progress("importing", sum(file.stat().st_size for file in files)) as bar:
        done = 0
        for file in files:
            try:
                importer.add(reading.items(file, arguments.format, partial(_reach, bar, done)))
            except FileError as error:
                failed += 1
                print(safe(str(error), 300), file=sys.stderr)
            done += file.stat().st_size
            bar.reach(done)
        importer.finish()
        if found.analytics is not None and isinstance(store, DuckDBStore):
            # Without the application it is not known whether the log's events belong into this store.
            store.maintain()
        store.close()
    print(_said(importer.tally, tells=isinstance(store, DuckDBStore)))
    return 1 if failed else 0


def _reach(bar: Progress, before: int, at: int) -> None:
    bar.reach(before + at)


def _hostname(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a host name such as shop.example")
    return text.lower()


def _files(paths: list[Path]) -> list[Path]:
    """Return the files, those of a directory in order of name; what is known of users comes after all events."""
    found = [each for path in paths for each in (_within(path) if path.is_dir() else [_readable(path)])]
    return sorted(found, key=lambda each: each.name == PEOPLE)


def _within(directory: Path) -> list[Path]:
    """Return the files of *directory*, except hidden ones."""
    return [each for each in sorted(directory.iterdir()) if each.is_file() and not each.name.startswith(".")]


def _readable(path: Path) -> Path:
    """Return *path*. Raises `CommandError` unless it is a file that can be read."""
    if not path.exists():
        raise CommandError(f"there is no file {str(path)!r}")
    if not path.is_file():
        # Opening a pipe would block until somebody writes into it.
        raise CommandError(f"{str(path)!r} is not a regular file; write the output of a pipe into a file first")
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise CommandError(f"{str(path)!r} can't be read: {error.strerror}") from None
    return path


def _said(tally: "Tally", *, tells: bool) -> str:
    known = f", {tally.known} known already." if tells else "; those that the store knew count once."
    lines = [f"{amount(tally.imported, 'event')} imported{known}"]
    if tally.people:
        lines.append(f"{amount(tally.people, 'record')} of people taken.")
    for what, counts in (("make no event", tally.left), ("refused", tally.refused)):
        if counts:
            lines.append(f"{counts.total()} {what}: {_listed(counts)}.")
    return "\n".join(lines)


def _listed(counts: "Counter[str]") -> str:
    return ", ".join(f"{count} {safe(reason)}" for reason, count in counts.most_common())
