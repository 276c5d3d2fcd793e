"""``tail``: prints events as they are written into the log, by whichever process."""

import argparse
import sys
import time

from analytics_middleware.collectors.stdout import StdoutCollector
from analytics_middleware.commands import target
from analytics_middleware.commands.text import when
from analytics_middleware.event import Event
from analytics_middleware.outbox.base import Entry
from analytics_middleware.outbox.reading import LogTail
from analytics_middleware.outbox.records import decode_record
from analytics_middleware.plain_text import safe

NAME = "tail"
HELP = "Print events as they come, whichever process records them and whether or not they can be delivered."

_POLL = 0.1


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line, as collectors get it")
    parser.add_argument(
        "--since",
        type=when,
        metavar="WHEN",
        help="begin with events since then that are still in the log (15m, 2026-01-31)",
    )
    parser.add_argument("--no-follow", action="store_true", help="end after printing the events that are there")


def run(arguments: argparse.Namespace) -> int:
    """Print events until somebody interrupts."""
    database = target.find(arguments).durable.database
    since = 0.0 if arguments.no_follow and arguments.since is None else arguments.since
    reader = LogTail(database, since)
    printer = StdoutCollector(pretty=not arguments.json)
    if not arguments.no_follow:
        print("Waiting for events; Ctrl-C ends it.", file=sys.stderr, flush=True)
    try:
        while True:
            entries = reader.read()
            for entry in entries:
                _print(entry, printer, as_json=arguments.json)
            printer.flush()
            if entries:
                continue
            if arguments.no_follow:
                return 0
            time.sleep(_POLL)
    finally:
        reader.close()


def _print(entry: Entry, printer: StdoutCollector, *, as_json: bool) -> None:
    if not entry.payload:
        # An erasure has deleted the content.
        return
    record = decode_record(entry.kind, entry.payload)
    if record is None:
        print(f"{entry.kind} {entry.record_id}: written by another version", file=sys.stderr)
    elif isinstance(record, Event):
        printer.collect(record)
    elif not as_json:
        at = time.strftime("%H:%M:%S", time.gmtime(entry.timestamp))
        print(f"{at} {entry.kind:<8} user={safe(record.user_id)}")
