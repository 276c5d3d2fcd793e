"""``copy``: copies events and what is known of users from the embedded store into another one."""

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from analytics_middleware.assembly import build_hub, build_store
from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount
from analytics_middleware.errors import AnalyticsError
from analytics_middleware.outbox.shelf import SharedShelf
from analytics_middleware.plain_text import table
from analytics_middleware.settings import Settings

if TYPE_CHECKING:
    from analytics_middleware.store.base import Store
    from analytics_middleware.store.copying import Copy, Month

NAME = "copy"
HELP = "Copy what the embedded store holds into another store, and compare the counts."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    parser.add_argument(
        "--to", metavar="URL", help="the other store: clickhouse://…, or a hub's URL; default: the application's own"
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="start again from the beginning, not where the last copy to the same place ended",
    )


def run(arguments: argparse.Namespace) -> int:
    """Copy, then compare. Return 1 if the other store has fewer events of some month."""
    found = target.find(arguments)
    try:
        from analytics_middleware.store.copying import Copy
        from analytics_middleware.store.duckdb import DuckDBStore
    except ImportError as error:
        raise CommandError(f"the embedded store can't be read: {error}") from None
    destination, name, store = _destination(found, arguments.to)
    source = DuckDBStore(found.durable)
    if isinstance(store, DuckDBStore):
        raise CommandError("the application's store is the embedded one itself: give the other one with --to")
    copy = Copy(source, destination, SharedShelf(found.durable.database), name)
    if arguments.restart:
        copy.restart()
    try:
        return _copy(copy, store, name)
    finally:
        destination.close()


def _copy(copy: "Copy", store: "Store | None", name: str) -> int:
    now = datetime.now(UTC)
    position = copy.position
    done = 0 if position is None else position.copied
    if position is not None:
        print(f"Going on after {amount(done, 'event')}, the last of {position.at.isoformat()}.", flush=True)
    with Progress("copying", sum(month.here for month in copy.months(None, now))) as bar:
        bar.reach(done)
        copied = copy.events(bar.advance)
    people, first = copy.people(), copy.first_seen()
    print(f"{amount(copied, 'event')} and {amount(people, 'record')} of people copied to {name}.")
    if first is None:
        print("It does not take the first dates of users whose first events have been deleted here.")
    if store is None:
        print("It has confirmed each of them; compare its counts yourself.")
        return 0
    return _compare(copy.months(store, now))


def _compare(months: "list[Month]") -> int:
    missing = [month for month in months if month.there < month.here]
    total, there = sum(month.here for month in months), sum(month.there for month in months)
    if not missing:
        more = f"; it has {there - total} others as well" if there > total else ""
        print(f"All events of every month are there: {total}{more}.")
        return 0
    rows = [("month", "here", "there", "missing")]
    rows += [(f"{each.time:%Y-%m}", str(each.here), str(each.there), str(each.here - each.there)) for each in missing]
    print(table(rows))
    print("A copy that goes on misses events that arrived late with an earlier time: try --restart.")
    return 1


def _destination(found: target.Target, url: str | None) -> "tuple[Any, str, Store | None]":
    """Return where the copy goes, the name of that place, and the store to compare with."""
    if url is None:
        if found.analytics is None:
            raise CommandError("give the store with --to, or the application whose store it is with --app")
        hub, store = found.analytics.hub, found.analytics.store
    else:
        key = None if found.analytics is None else found.analytics.settings.store_key
        settings = Settings(store=url, store_key=key)
        hub = build_hub(settings)
        store = None if hub is not None else build_store(settings, found.durable)
    if hub is not None:
        return hub, hub.url, None
    if store is None:
        raise AnalyticsError("there is no store to copy to")
    return store, str(getattr(store, "address", type(store).__name__)), store
