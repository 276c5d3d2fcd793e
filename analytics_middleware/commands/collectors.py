"""``collectors``: lists the collectors, or sends a test event through one."""

import argparse
import sys
from collections.abc import Callable
from typing import Any, cast

from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.text import listing
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event
from analytics_middleware.plain_text import safe, table

NAME = "collectors"
HELP = "List the collectors, or send one marked event straight to one of them and show its answer."

TEST_EVENT = "analytics_middleware.test"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="list|test", required=True)
    listed = actions.add_parser("list", help="what each collector is", allow_abbrev=False)
    tested = actions.add_parser("test", help="send one marked event and show the answer", allow_abbrev=False)
    tested.add_argument("name", metavar="NAME", help="the collector's name")
    for each in (listed, tested):
        target.add_arguments(each, directory=False)


def run(arguments: argparse.Namespace) -> int:
    """List the collectors, or test one."""
    analytics = target.find(arguments).configured
    if arguments.action == "test":
        return _test(named(analytics.collectors, arguments.name))
    rows = [("collector", "class", "third party", "needs", "history", "duplicates")]
    rows += [
        (
            collector.name,
            type(collector).__name__,
            "yes" if option(collector, "third_party") else "no",
            listing(option(collector, "needs")),
            "yes" if option(collector, "accepts_history") else "no",
            "recognised" if option(collector, "dedupes") else "kept",
        )
        for collector in analytics.collectors
    ]
    print(table(rows) if len(rows) > 1 else "No collectors are configured.")
    return 0


def named(collectors: Any, name: str) -> Collector:
    """Return the collector called *name*. Raises `CommandError` if there is none."""
    for collector in collectors:
        if collector.name == name:
            return cast("Collector", collector)
    raise CommandError(f"there is no collector {name!r}; there are: {listing(each.name for each in collectors)}")


def _test(collector: Collector) -> int:
    event = Event(
        event_name=TEST_EVENT,
        user_id="analytics-middleware-test",
        hostname="localhost",
        url="http://localhost/analytics-middleware-test",
        path="/analytics-middleware-test",
        properties={"test": True},
    )
    # It goes straight to the collector: not into the log, and whatever debug, consent and sampling say.
    print(f"Sending {TEST_EVENT} with the id {event.event_id} to {collector.name} …", flush=True)
    try:
        collector.start()
        try:
            said = _sent(collector, event)
        finally:
            collector.close()
    except DeliveryError as error:
        print(f"{collector.name} did not take it: {_explained(error, event.event_id)}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - the collector's code; its failure is the answer
        print(f"{collector.name} failed: {type(error).__name__}: {safe(str(error), 500)}", file=sys.stderr)
        return 1
    print(f"{collector.name} took it." if said is None else f"{collector.name} took it: {safe(said, 500)}")
    return 0


def _sent(collector: Collector, event: Event) -> str | None:
    """Send *event* and return what the destination answered, or None if the collector can't tell."""
    probe: Callable[[Event], str] | None = getattr(collector, "probe", None)
    if probe is not None:
        return probe(event)
    collector.collect(event)
    collector.flush()
    return None


def _explained(error: DeliveryError, event_id: str) -> str:
    text = safe(error.rejected.get(event_id) or str(error), 500)
    if error.permanent or event_id in error.rejected:
        return f"{text} (for good)"
    if error.ambiguous or event_id in error.uncertain:
        return f"{text} (but it may have arrived)"
    wait = "" if error.retry_after is None else f", in {error.retry_after:g} s at the earliest"
    return f"{text} (delivery would try again{wait})"
