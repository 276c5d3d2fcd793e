"""``replay``: sends past events to a collector, from the embedded store or from what is still in the log."""

import argparse
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import NamedTuple

from analytics_middleware.analytics import Analytics
from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.collectors import named
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount, instant, positive, reasons, when
from analytics_middleware.delivery.replay import History, Replay
from analytics_middleware.delivery.withhold import only_logs
from analytics_middleware.enrich.visit import flags_of
from analytics_middleware.errors import DeliveryError
from analytics_middleware.outbox.base import ConsumerStats, Draft
from analytics_middleware.outbox.records import draft_of
from analytics_middleware.outbox.replaying import (
    ReplayedMeanwhile,
    Span,
    count_logged,
    forget_spans,
    logged_history,
    missing_spans,
    registered_at,
)
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.plain_text import safe
from analytics_middleware.store.base import Portable

NAME = "replay"
HELP = "Send past events to a collector: from before it was configured, or that it has lost."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser, directory=False)
    parser.add_argument("--collector", required=True, metavar="NAME", help="the collector that gets them")
    parser.add_argument(
        "--since",
        required=True,
        type=when,
        metavar="WHEN",
        help="only events from then on (15m, 2d, 2026-01-31, …T12:00:00Z)",
    )
    parser.add_argument(
        "--until",
        type=when,
        metavar="WHEN",
        help="only events before then; default: when the collector was first configured, or now if --since is later",
    )
    parser.add_argument("--rate", type=positive, metavar="N", help="events a second; default: as fast as it takes them")
    parser.add_argument("--again", action="store_true", help="also events that were replayed to it before")
    parser.add_argument("--dry-run", action="store_true", help="only say how many events there are")


def run(arguments: argparse.Namespace) -> int:
    """Queue the events for delivery, and deliver them."""
    found = target.find(arguments)
    analytics, outbox = found.working, found.writable
    collector = named(analytics.collectors, arguments.collector)
    _refuse(collector, debug=analytics.settings.debug)
    known = collector.name in outbox.stats().consumers
    if not known and not arguments.dry_run:
        # From now on it gets new events like every collector.
        outbox.register(collector.name, reads_private=bool(option(collector, "needs")))
    source = _source(analytics, outbox, collector)
    registered = registered_at(outbox.database, collector.name) if known else time.time()
    whole, until = _range(arguments, collector, source, registered)
    if arguments.again and not arguments.dry_run:
        forget_spans(outbox.database, collector.name, whole)
    spans = [whole] if arguments.again else missing_spans(outbox.database, collector.name, whole)
    total = sum(source.amount_of(each) for each in spans)
    what = f"{amount(total, 'event')} from {instant(whole.start / 1_000_000)} up to {until}"
    if arguments.dry_run:
        print(f"{what} would be sent to {collector.name}.")
        return 0
    before = outbox.stats().consumers[collector.name]
    replay = Replay(collector, outbox, source.history, rate=arguments.rate, debug=analytics.settings.debug)
    try:
        with Progress(f"replaying to {collector.name}", total) as bar:
            for done in replay.run(whole):
                bar.reach(done)
    except DeliveryError as error:
        raise CommandError(f"{safe(str(error), 500)}; run the same command again to go on") from None
    except ReplayedMeanwhile:
        raise CommandError(f"another process is replaying the same events to {collector.name}") from None
    print(f"{what} went to {collector.name}: {_became(before, outbox.stats().consumers[collector.name])}.")
    if not total:
        print(_nothing(source, collector, new=spans == [whole], until=arguments.until))
    elif not option(collector, "dedupes") and whole.stop > (registered or 0.0) * 1_000_000 + 1:
        print(f"{collector.name} does not recognise duplicates: it counts events that it already has once more.")
    return 0


def _nothing(source: "_Source", collector: Collector, *, new: bool, until: float | None) -> str:
    """Return why there was nothing to replay. *new* says whether nothing of that time was replayed before."""
    if not source.fills:
        return "Without a store there is only the log, which keeps only what some collector still waits for."
    if not new:
        return "All that the store has was replayed to it before; --again sends it once more."
    if until is None:
        return f"The store has nothing older; {collector.name} got later events as they happened (see --until)."
    return "The store has no events of that time."


class _Source(NamedTuple):
    """Where past events come from."""

    history: History
    amount_of: Callable[[Span], int]
    fills: bool
    """Whether it has events from before a collector was configured."""


def _source(analytics: Analytics, outbox: SqliteOutbox, collector: Collector) -> _Source:
    name, database = collector.name, outbox.database
    store = analytics.store
    if store is None or not isinstance(store, Portable):
        return _Source(
            partial(logged_history, database, name),
            partial(count_logged, database, name),
            fills=False,
        )

    def history(span: Span) -> Iterator[Draft]:
        for event in store.events(start=_moment(span.start), end=_moment(span.stop)):
            yield draft_of(event, flags=flags_of(event))

    def count(span: Span) -> int:
        points = analytics.insights.volume(
            start=_moment(span.start), end=_moment(span.stop), bucket="month", tz="UTC", bots=True
        )
        return sum(point.count for point in points)

    return _Source(history, count, fills=True)


def _range(
    arguments: argparse.Namespace, collector: Collector, source: _Source, registered: float | None
) -> tuple[Span, str]:
    """Return the time to replay, and its end in words."""
    now = time.time()
    since, until = arguments.since, arguments.until
    max_age: float | None = option(collector, "max_age")
    if max_age is not None and since < now - max_age:
        since = now - max_age
        print(f"{collector.name} takes no event older than {instant(since)}: older ones are left out.")
    if until is None and source.fills and registered is not None and since < registered:
        until, called = registered, f"{instant(registered)}, since when it gets all events"
    else:
        until = min(now if until is None else until, now)
        called = instant(until)
    if since >= until:
        raise CommandError(f"--since {instant(since)} is not before {called}")
    return Span(round(since * 1_000_000), round(until * 1_000_000)), called


def _refuse(collector: Collector, *, debug: bool) -> None:
    if not option(collector, "accepts_history"):
        why = option(collector, "history_note") or "it dates events by their arrival"
        raise CommandError(f"{collector.name} can't take past events: {why}")
    if only_logs(collector, debug=debug):
        raise CommandError(f"{collector.name} is a third party and gets nothing in debug; debug_sends=True permits it")


def _became(before: ConsumerStats, after: ConsumerStats) -> str:
    """Return in words what became of the events sent between *before* and *after*."""
    dropped = {
        reason: number
        for reason, count in after.dropped.items()
        if (number := count - before.dropped.get(reason, 0)) > 0
    }
    said = [f"{after.delivered - before.delivered} delivered"]
    if dropped:
        said.append(f"{sum(dropped.values())} dropped ({reasons(dropped)})")
    if after.dead > before.dead:
        said.append(f"{amount(after.dead - before.dead, 'dead letter')}")
    return ", ".join(said)


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at // 1_000_000, UTC).replace(microsecond=at % 1_000_000)
