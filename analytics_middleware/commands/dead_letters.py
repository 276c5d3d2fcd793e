"""``dead-letters``: lists the events that destinations refused for good, sends them once more, or discards them."""

import argparse

import msgspec

from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount, confirmed, instant, whole
from analytics_middleware.outbox.dead_letters import Letter, count_letters, letters, purge_letters, retry_letters
from analytics_middleware.plain_text import safe, table

NAME = "dead-letters"
HELP = "List what destinations refused for good, send it once more, or throw it away."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="list|retry|purge", required=True)
    listed = actions.add_parser("list", help="what was refused, when and why", allow_abbrev=False)
    retried = actions.add_parser("retry", help="send it once more, as if for the first time", allow_abbrev=False)
    purged = actions.add_parser("purge", help="throw it away; it counts as dropped", allow_abbrev=False)
    for each in (listed, retried, purged):
        target.add_arguments(each)
        each.add_argument("--collector", metavar="NAME", help="only this collector's; default: all")
    listed.add_argument("--json", action="store_true", help="one JSON object a line, with the whole event")
    listed.add_argument("--limit", type=whole, metavar="N", help="the oldest N; default: 50, with --json all")
    purged.add_argument("--yes", action="store_true", help="don't ask")


def run(arguments: argparse.Namespace) -> int:
    """List, retry or purge."""
    outbox = target.find(arguments).durable
    database = outbox.database
    consumer: str | None = arguments.collector
    total = count_letters(database, consumer)
    if consumer is not None and not total and consumer not in outbox.stats().consumers:
        raise CommandError(f"the outbox knows no collector {consumer!r}")
    if arguments.action == "list":
        if arguments.json:
            for letter in letters(database, consumer, arguments.limit):
                print(_json(letter))
        else:
            print(_listed(list(letters(database, consumer, arguments.limit or 50)), total))
        return 0
    if arguments.action == "purge":
        if not arguments.yes and not confirmed(f"Throw {amount(total, 'dead letter')} away for good?"):
            return 1
        with Progress("purging", total) as bar:
            gone = 0
            for count in purge_letters(database, consumer):
                gone += count
                bar.advance(count)
        print(f"{amount(gone, 'dead letter')} purged.")
        return 0
    with Progress("retrying", total) as bar:
        moved = left = 0
        for taken, stayed in retry_letters(database, consumer):
            moved += taken
            left += stayed
            bar.advance(taken + stayed)
    print(f"{amount(moved, 'dead letter')} will be sent once more.")
    if left:
        print(f"{left} stayed: their collector is no longer configured, or already has the event waiting.")
    return 0


def _listed(found: list[Letter], total: int) -> str:
    if not found:
        return "No dead letters."
    rows = [("refused at", "collector", "event", "of", "reason")]
    rows += [
        (
            instant(letter.at),
            letter.consumer,
            safe(_name(letter), 40),
            instant(letter.timestamp),
            safe(letter.reason, 100),
        )
        for letter in found
    ]
    more = f"\n… and {total - len(found)} more: --limit {total}" if total > len(found) else ""
    return table(rows) + more


def _name(letter: Letter) -> str:
    try:
        record = msgspec.json.decode(letter.payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return letter.kind
    return str(record.get("event_name") or record.get("action_name") or record.get("type") or letter.kind)


def _json(letter: Letter) -> str:
    line = {
        "id": letter.id,
        "collector": letter.consumer,
        "at": instant(letter.at),
        "reason": letter.reason,
        "kind": letter.kind,
        "record": msgspec.Raw(letter.payload),
    }
    return msgspec.json.encode(line).decode()
