"""``erase``: everything about a user is forgotten, for good."""

import argparse

from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount, confirmed
from analytics_middleware.erasing import erase_record, holders
from analytics_middleware.outbox.base import Erased
from analytics_middleware.outbox.erasure import rows_to_search

NAME = "erase"
HELP = "Forget everything about a user: in the log, retries and dead letters now, in the store next."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    parser.add_argument("--user", required=True, metavar="ID", help="the user id, exactly as events carry it")
    parser.add_argument("--yes", action="store_true", help="don't ask")


def run(arguments: argparse.Namespace) -> int:
    """Erase, and say what is left to be done elsewhere."""
    found = target.find(arguments)
    outbox = found.durable
    try:
        user_id, record = erase_record(arguments.user)
    except ValueError as error:
        raise CommandError(str(error)) from None
    if not arguments.yes and not confirmed(f"Forget the user {user_id!r} for good?"):
        return 1
    with Progress("erasing", rows_to_search(outbox.database)) as bar:
        erased = outbox.erase(user_id, record, bar.advance)
    print(_said(user_id, erased))
    print(_elsewhere(found))
    return 0


def _said(user_id: str, erased: Erased) -> str:
    what = f"{amount(erased.log, 'record')} in the log, {erased.retry} waiting for a retry"
    lines = [f"The user {user_id!r} is forgotten: {what}, {amount(erased.dead, 'dead letter')}."]
    if erased.anonymous_ids:
        lines.append(f"With it the anonymous records of {amount(len(erased.anonymous_ids), 'browser')}.")
    lines.append("What comes back of it from up to now, by retry or replay, is refused.")
    if not erased.clean:
        lines.append(
            "Somebody was reading the database all the time, so its write-ahead log could not be emptied yet; "
            "say it once more to have that done."
        )
    return "\n".join(lines)


def _elsewhere(found: target.Target) -> str:
    if found.analytics is None:
        names = [name for name in found.durable.stats().consumers if name != "store"]
        if not names:
            return "No collector has had any event."
        return (
            f"Events have been sent to {', '.join(names)}. Third parties among these must be asked on their own; "
            "with --app this can tell which."
        )
    vendors, own = holders(found.analytics.collectors)
    lines: list[str] = []
    if vendors:
        lines.append("These may hold events of the user and must be asked on their own:")
        lines += [f"- {each.name} ({type(each).__name__})" for each in vendors]
    if own:
        lines.append(f"Your own systems that got events, too: {', '.join(each.name for each in own)}.")
    return "\n".join(lines) or "No collector is configured, so nobody else has had the user's events."
