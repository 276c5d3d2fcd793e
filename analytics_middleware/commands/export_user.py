"""``export --user``: all data about one user, for somebody who asks for theirs."""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TextIO

import msgspec

from analytics_middleware.commands import CommandError, other_holders, target
from analytics_middleware.commands.text import amount
from analytics_middleware.event import Erase, Event, Identify
from analytics_middleware.outbox.erasure import export_user


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``export`` that concern one user."""
    parser.add_argument(
        "--user", metavar="ID", help="everything that is held of this user; the id exactly as events carry it"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="with --user: write to this file, readable by you alone; default: standard output",
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the records, and who else may have some."""
    found = target.find(arguments)
    if not arguments.user:
        raise CommandError("--user is empty")
    count = 0
    opened: AbstractContextManager[TextIO] = nullcontext(sys.stdout)
    if arguments.output is not None:
        opened = os.fdopen(
            os.open(arguments.output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8"
        )
    with opened as file:
        for line in _lines(found, arguments.user):
            file.write(f"{msgspec.json.encode(line).decode()}\n")
            count += 1
    print(f"{amount(count, 'record')} of {arguments.user!r}.\n{other_holders.describe(found)}", file=sys.stderr)
    return 0


def _lines(found: target.Target, user_id: str) -> Iterator[dict[str, Any]]:
    for kept in export_user(found.durable.database, user_id):
        line = {"where": kept.where, "collector": kept.consumer or None, "record": msgspec.Raw(kept.payload)}
        yield line if kept.private is None else {**line, "private": msgspec.Raw(kept.private)}
    store = found.kept
    if store is None:
        return
    for record in _stored(store, user_id):
        encoded = record.encode() if isinstance(record, Event) else msgspec.json.encode(record)
        yield {"where": "store", "collector": None, "record": msgspec.Raw(encoded)}


def _stored(store: Any, user_id: str) -> Iterator[Event | Identify]:
    yield from store.events(user_id=user_id)
    people = list(store.people(user_id=user_id))
    # The record that an erasure leaves, by which the store refuses what comes late, tells nothing about the user.
    gone = [record.timestamp for record in people if isinstance(record, Erase)]
    for record in people:
        if isinstance(record, Identify) and all(record.timestamp > until for until in gone):
            yield record
