"""``erase``: deletes everything about a user, for good."""

import argparse

from analytics_middleware.commands import CommandError, other_holders, target
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount, confirmed
from analytics_middleware.erasing import erase_record
from analytics_middleware.outbox.base import STORE, Erased
from analytics_middleware.outbox.erasure import rows_to_search

NAME = "erase"
HELP = "Forget everything about a user: in the log, retries, dead letters, the store and traits."

_REWRITTEN = "The store has forgotten the user, too: events and traits. Files that held any of it have been replaced."
_FOLLOWS = (
    "The store hides the user's events and traits within a second; within an hour, the process that looks after its "
    "files replaces those that hold any of them."
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    parser.add_argument("--user", required=True, metavar="ID", help="the user id, exactly as events carry it")
    parser.add_argument("--yes", action="store_true", help="don't ask")


def run(arguments: argparse.Namespace) -> int:
    """Erase, and say where else the user must be erased."""
    found = target.find(arguments)
    outbox = found.writable
    try:
        user_id, record = erase_record(arguments.user)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if not arguments.yes and not confirmed(f"Forget the user {user_id!r} for good?"):
        return 1
    store = None if found.analytics is None else found.analytics.store
    if store is not None:
        # A store that reads the log for the first time begins at its end, so it must start before the erasure.
        store.start()
    with Progress("erasing", rows_to_search(outbox.database)) as bar:
        erased = outbox.erase(user_id, record, bar.advance)
    print(_said(user_id, erased))
    rewritten = None if store is None else store.maintain()
    # With the directory alone, the log's consumers tell whether there is a store.
    if rewritten is not None or (found.analytics is None and STORE in outbox.stats().consumers):
        print(_REWRITTEN if rewritten else _FOLLOWS)
    if store is not None:
        store.close()
    print(other_holders.describe(found))
    return 0


def _said(user_id: str, erased: Erased) -> str:
    what = f"{amount(erased.log, 'record')} in the log, {erased.retry} waiting for a retry"
    lines = [f"The user {user_id!r} is forgotten: {what}, {amount(erased.dead, 'dead letter')}."]
    if erased.anonymous_ids:
        lines.append(f"So are the anonymous records of {amount(len(erased.anonymous_ids), 'browser')}.")
    lines.append("Records of the user from before now that come back by retry, replay or import are refused.")
    if not erased.clean:
        lines.append(
            "Another process was reading the database all the time, so its write-ahead log could not be emptied; "
            "run the command once more to empty it."
        )
    return "\n".join(lines)
