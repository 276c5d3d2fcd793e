"""Whether anything checks the alerts, and whether their messages arrive."""

import time
from collections.abc import Generator
from typing import Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.doctor import Finding
from analytics_middleware.outbox.database import Database
from analytics_middleware.reports.alert_states import AlertStates

_LATE: Final = 3600.0
"""Seconds without a check after which apparently nothing checks the alerts."""


def examine_alerts(analytics: Analytics, database: Database) -> Generator[Finding]:
    """Look at the alerts in the settings."""
    alerts = analytics.settings.alerts
    if not alerts:
        return
    known = AlertStates(database)
    states = [known.state(alert.name) for alert in alerts]
    late = sum(state is None or time.time() - state.checked > _LATE for state in states)
    failed = [alert.name for alert in alerts if known.messages(alert.name).last_error]
    if late:
        yield Finding(
            "warning",
            "alerts",
            f"{late} of {len(alerts)} were not checked within the last hour",
            "keep analytics-middleware worker running, or run analytics-middleware alerts check by cron",
        )
    if failed:
        yield Finding(
            "warning",
            "alerts",
            f"the last message of {', '.join(map(repr, failed))} could not be sent",
            "analytics-middleware alerts list says why",
        )
    if not late and not failed:
        yield Finding("ok", "alerts", f"{len(alerts)} are checked")
