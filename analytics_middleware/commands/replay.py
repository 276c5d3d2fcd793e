"""``replay``: sends a collector once more what is still there from a given time on."""

import argparse

from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.collectors import named
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount, instant, when
from analytics_middleware.outbox.reading import count_passed, replay_log

NAME = "replay"
HELP = "Send a collector once more what is still in the log since a given time."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser, directory=False)
    parser.add_argument("--collector", required=True, metavar="NAME", help="which collector gets it")
    parser.add_argument(
        "--since", required=True, type=when, metavar="WHEN", help="from when on (15m, 2d, 2026-01-31, …T12:00:00Z)"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say how many events it would be")


def run(arguments: argparse.Namespace) -> int:
    """Hand the events over to delivery, which paces and retries them as any others."""
    found = target.find(arguments)
    collector = named(found.configured.collectors, arguments.collector)
    if not getattr(collector, "accepts_history", True):
        why = getattr(collector, "history_note", "") or "it dates events by their arrival"
        raise CommandError(f"{collector.name} can't take events of the past: {why}")
    outbox = found.durable
    if collector.name not in outbox.stats().consumers:
        raise CommandError(f"{collector.name} has not been started yet, so nothing has passed it")
    # The log is the one source so far; a store that keeps history can be another one here.
    total = count_passed(outbox.database, collector.name, arguments.since)
    since = instant(arguments.since)
    if arguments.dry_run:
        print(f"{amount(total, 'event')} since {since} would be sent to {collector.name} once more.")
        return 0
    sent = 0
    with Progress("replaying", total) as bar:
        for count in replay_log(outbox.database, collector.name, arguments.since):
            sent += count
            bar.advance(count)
    print(f"{amount(sent, 'event')} since {since} will be sent to {collector.name} once more.")
    if sent and not getattr(collector, "dedupes", False):
        print(f"{collector.name} does not recognise an event that it has already: it counts them once more.")
    if not sent:
        print("The log keeps only what some collector still waits for.")
    return 0
