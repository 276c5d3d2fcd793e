"""``export --user``: everything that is held of a user, as they may ask for it."""

import argparse
import os
import sys
from pathlib import Path

import msgspec

from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.text import amount
from analytics_middleware.outbox.erasure import export_user


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of this way to export."""
    parser.add_argument("--user", metavar="ID", help="only this user, exactly as events carry it: all that is held")
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="--user: write there, readable by you alone; default: standard output",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the records."""
    database = target.find(arguments).durable.database
    if not arguments.user:
        raise CommandError("--user is empty")
    lines = (
        msgspec.json.encode(
            {"where": kept.where, "collector": kept.consumer or None, "record": msgspec.Raw(kept.payload)}
        )
        for kept in export_user(database, arguments.user)
    )
    count = 0
    if arguments.output is None:
        for line in lines:
            print(line.decode())
            count += 1
    else:
        with os.fdopen(os.open(arguments.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for line in lines:
                file.write(line + b"\n")
                count += 1
    print(f"{amount(count, 'record')} of {arguments.user!r}.", file=sys.stderr)
    return 0
