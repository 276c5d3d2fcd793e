"""Checks alerts on a schedule, in a thread of the command ``worker``."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.counters import logger
from analytics_middleware.outbox.database import Database
from analytics_middleware.reports.checking import check

EVERY: Final = 60.0
"""Seconds between two checks, whichever worker of the host makes them."""


@contextmanager
def checking_alerts(analytics: Analytics, database: Database, *, every: float = EVERY) -> Generator[None]:
    """Check the alerts at once and then every *every* seconds while the block runs. Its end waits for no check."""
    if not analytics.settings.alerts:
        yield
        return
    ending = threading.Event()
    # A daemon thread, so that a mail server that does not answer doesn't delay the end. An unfinished message is sent
    # by the first check after its claim has expired.
    thread = threading.Thread(
        target=_run, args=(analytics, database, every, ending), name="analytics-alerts", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        ending.set()


def _run(analytics: Analytics, database: Database, every: float, ending: threading.Event) -> None:
    while not ending.is_set():
        try:
            # A little less than *every*, because another worker may have checked just after our last check.
            for outcome in check(analytics, database, every=every * 0.9):
                for failure in outcome.failures:
                    analytics.counters.log(
                        f"alert {outcome.alert.name}",
                        logger.warning,
                        "analytics: alert %r: %s",
                        outcome.alert.name,
                        failure,
                    )
        except Exception:  # noqa: BLE001 - a locked database, say; the next check is due in a minute
            analytics.counters.log("alerts", logger.warning, "analytics: checking alerts failed", exc_info=True)
        ending.wait(every)
