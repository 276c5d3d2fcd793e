"""``worker``: delivers, seals and compacts outside the web processes, until a signal ends it."""

import argparse
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from functools import partial

from analytics_middleware.analytics import Analytics
from analytics_middleware.commands import target
from analytics_middleware.commands.progress import Progress
from analytics_middleware.commands.text import amount, positive
from analytics_middleware.outbox.base import ConsumerStats
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.replaying import anything_waits
from analytics_middleware.outbox.spill import FAILURES
from analytics_middleware.reports.schedule import checking_alerts

NAME = "worker"
HELP = "Deliver events outside the web processes, until SIGTERM or Ctrl-C."

_LOOK_EVERY = 0.5


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser, directory=False)
    parser.add_argument(
        "--once",
        action="store_true",
        help="deliver what is in the log now, then end; exit code 1 if something could not be delivered",
    )
    parser.add_argument(
        "--timeout", type=positive, default=300.0, metavar="SECONDS", help="how long --once may take; default: 300"
    )


def run(arguments: argparse.Namespace) -> int:
    """Work until a signal comes, or with ``--once`` until everything is delivered."""
    found = target.find(arguments)
    analytics = found.working
    database = found.writable.database
    if not logging.getLogger().handlers:
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    with _signals() as wait:
        try:
            if arguments.once:
                return _once(analytics, database, arguments.timeout)
            with suppress(*FAILURES):
                # If the directory can't be written, the threads log that and try again, as in web processes.
                analytics.work()
            analytics.record_for_others()
            names = ", ".join(collector.name for collector in analytics.collectors) or "no collector"
            print(
                f"Delivering from {database.directory} to {names}; SIGTERM or Ctrl-C ends it.",
                file=sys.stderr,
                flush=True,
            )
            # Its threads do the rest: they deliver, seal, compact and prune as in any process.
            with checking_alerts(analytics, database):
                wait()
        finally:
            analytics.close(analytics.settings.shutdown_timeout)
    return 0


def _once(analytics: Analytics, database: Database, timeout: float) -> int:
    # Counted before the work begins, so that what is delivered at once counts as well.
    pending = _pending(analytics)
    analytics.work()
    deadline = time.monotonic() + timeout
    done = False
    with Progress("delivering", pending) as bar:
        while not done and time.monotonic() < deadline:
            done = analytics.flush(min(_LOOK_EVERY, max(0.0, deadline - time.monotonic())))
            if done and anything_waits(database):
                # These past events are not part of what `flush` waits for.
                time.sleep(_LOOK_EVERY)
                done = False
            left = _pending(analytics)
            bar.reach(pending - left)
            if not done and left and _all_stuck(analytics):
                break
    _maintain(analytics)
    left = _pending(analytics)
    print(f"{pending - left if pending > left else 0} delivered or dropped, {left} pending")
    for name, state in _awaited(analytics).items():
        if state.pending and state.last_error:
            print(f"{name}: {amount(state.pending, 'event')} waiting: {state.last_error}", file=sys.stderr)
    return 0 if done else 1


def _awaited(analytics: Analytics) -> dict[str, ConsumerStats]:
    stats = analytics.outbox.stats().consumers
    return {name: stats[name] for name in analytics.awaited if name in stats}


def _pending(analytics: Analytics) -> int:
    return sum(state.pending for state in _awaited(analytics).values())


def _all_stuck(analytics: Analytics) -> bool:
    """Return whether every consumer with pending events is known to be down, so that waiting is pointless."""
    waiting = [state for state in _awaited(analytics).values() if state.pending]
    return all(state.breaker == "open" for state in waiting)


def _maintain(analytics: Analytics) -> None:
    try:
        analytics.maintain()
    except FAILURES as error:
        print(f"what was delivered could not be cleaned up: {error}", file=sys.stderr)


@contextmanager
def _signals() -> Generator[Callable[[], object]]:
    """Yield a wait that SIGTERM and SIGINT end. It uses a pipe, because a signal handler must not take locks."""
    read, write = os.pipe()

    def note(_number: int, _frame: object) -> None:
        os.write(write, b"x")

    previous = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield partial(select.select, [read], [], [])
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)
