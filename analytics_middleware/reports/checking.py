"""Checks alerts: asks their questions, records the results and sends the messages that are due."""

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from analytics_middleware.analytics import Analytics
from analytics_middleware.errors import AnalyticsError
from analytics_middleware.outbox.database import Database
from analytics_middleware.reports.alert import Alert, Measured
from analytics_middleware.reports.alert_message import alert_message
from analytics_middleware.reports.alert_states import AlertStates
from analytics_middleware.reports.mail import SendError
from analytics_middleware.reports.message import one_line


class Outcome(NamedTuple):
    """The result of checking one alert."""

    alert: Alert
    firing: bool
    value: float | None
    sent: Sequence[str]
    """The destinations that a message was sent to."""
    failures: Sequence[str]
    """What went wrong, in one line each: the question could not be asked, or a message could not be sent."""


def check(
    analytics: Analytics,
    database: Database,
    *,
    every: float = 0.0,
    clock: Callable[[], float] = time.time,
) -> Iterator[Outcome]:
    """Check the alerts in the settings, except those checked within the last *every* seconds.

    A failure of one alert does not affect the others.
    """
    states = AlertStates(database)
    for alert in analytics.settings.alerts:
        at = clock()
        known = states.state(alert.name)
        if known is not None and 0 <= at - known.checked < every:
            continue
        measured = measure(analytics, alert, at)
        if isinstance(measured, str):
            yield Outcome(alert, known is not None and known.firing, None, (), (measured,))
            continue
        state = states.record(alert.name, alert.holds(measured), measured.value, measured.before, at)
        sent: list[str] = []
        failures: list[str] = []
        for destination in alert.to:
            due = states.claim(alert.name, destination.id, alert.quiet.total_seconds(), clock())
            if due is None:
                continue
            try:
                destination.send(alert_message(alert, due, analytics.settings.timezone), analytics.settings.mail)
            except AnalyticsError as error:
                ambiguous = isinstance(error, SendError) and error.ambiguous
                states.failed(alert.name, destination.id, due, str(error), ambiguous=ambiguous)
                failures.append(f"not sent: {error}")
            else:
                states.sent(alert.name, destination.id, due, clock())
                sent.append(destination.id)
        yield Outcome(alert, state.firing, state.value, sent, failures)


def measure(analytics: Analytics, alert: Alert, at: float) -> Measured | str:
    """Return the numbers that *alert* is about, at the time *at*, or the reason why they can't be known."""
    try:
        return alert.measure(analytics, datetime.fromtimestamp(at, UTC))
    except Exception as error:  # noqa: BLE001 - whatever one question runs into, the others are to be asked
        return f"not asked: {type(error).__name__}: {one_line(error, 300)}"
