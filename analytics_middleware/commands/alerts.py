"""``alerts``: checks the alerts and sends what is due, lists their states, or sends one as a test."""

import argparse
import sys
import time
from collections.abc import Sequence

from analytics_middleware.analytics import Analytics
from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.text import instant, listing
from analytics_middleware.plain_text import safe, table
from analytics_middleware.reports.alert import Alert
from analytics_middleware.reports.alert_message import alert_message
from analytics_middleware.reports.alert_states import AlertState, AlertStates, DueMessage
from analytics_middleware.reports.checking import check, measure
from analytics_middleware.reports.mail import SendError

NAME = "alerts"
HELP = "Check the alerts and send what is due, list their states, or send one as a test."


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(title="actions", dest="action", metavar="check|list|test", required=True)
    checked = actions.add_parser("check", help="check them all and send what is due", allow_abbrev=False)
    listed = actions.add_parser("list", help="show the state of each", allow_abbrev=False)
    tested = actions.add_parser("test", help="send one to its destinations, whatever its state", allow_abbrev=False)
    tested.add_argument("name", metavar="NAME", help="the alert's name")
    for each in (checked, listed, tested):
        target.add_arguments(each, directory=False)
    checked.add_argument("--dry-run", action="store_true", help="only check; record nothing and send nothing")


def run(arguments: argparse.Namespace) -> int:
    """Check, list or test. Return 1 if a question could not be asked or a message not sent."""
    found = target.find(arguments)
    analytics = found.configured
    database = found.durable.database
    alerts: Sequence[Alert] = analytics.settings.alerts
    if arguments.action == "test":
        return _test(analytics, _named(alerts, arguments.name))
    if not alerts:
        print("No alerts are configured.")
        return 0
    if arguments.action == "list":
        print(_listed(alerts, AlertStates(database)))
        return 0
    if arguments.dry_run:
        return _dry(analytics, alerts)
    code = 0
    for outcome in check(analytics, database):
        name = outcome.alert.name
        if outcome.sent or not outcome.failures:
            told = f", told {listing(outcome.sent)}" if outcome.sent else ""
            print(f"{name}: {_word(outcome.firing)}, {_number(outcome.value)} ({outcome.alert.words}){told}")
        for failure in outcome.failures:
            print(f"{name}: {failure}", file=sys.stderr)
            code = 1
    return code


def _dry(analytics: Analytics, alerts: Sequence[Alert]) -> int:
    code = 0
    for alert in alerts:
        measured = measure(analytics, alert, time.time())
        if isinstance(measured, str):
            print(f"{alert.name}: {measured}", file=sys.stderr)
            code = 1
        else:
            firing = bool(alert.holds(measured))
            print(f"{alert.name}: would be {_word(firing)}, {_number(measured.value)} ({alert.words})")
    return code


def _test(analytics: Analytics, alert: Alert) -> int:
    now = time.time()
    message = alert_message(
        alert, DueMessage(f"alr_test_{now:.0f}", AlertState(True, now, now, None, None)), "UTC", test=True
    )
    code = 0
    for destination in alert.to:
        try:
            destination.send(message, analytics.settings.mail)
            print(f"sent to {destination.id}")
        except SendError as error:
            print(f"not sent: {error}", file=sys.stderr)
            code = 1
    return code


def _listed(alerts: Sequence[Alert], states: AlertStates) -> str:
    rows: list[Sequence[str]] = [("alert", "state", "since", "value", "condition", "told", "sent", "failed")]
    errors: list[str] = []
    for alert in alerts:
        state, told = states.state(alert.name), states.messages(alert.name)
        rows.append(
            (
                alert.name,
                "not checked yet" if state is None else _word(state.firing),
                "-" if state is None else instant(state.since),
                "-" if state is None else _number(state.value),
                alert.words,
                instant(told.fired) if told.fired else "-",
                str(told.sent),
                str(told.failed),
            )
        )
        if told.last_error:
            errors.append(f"the last message of {alert.name} was not sent: {safe(told.last_error)}")
    return "\n".join([table(rows), *errors])


def _named(alerts: Sequence[Alert], name: str) -> Alert:
    for alert in alerts:
        if alert.name == name:
            return alert
    raise CommandError(f"there is no alert {name!r}; there are: {listing(each.name for each in alerts)}")


def _word(firing: bool) -> str:
    return "firing" if firing else "resolved"


def _number(value: float | None) -> str:
    return "no number" if value is None else f"{value:.6g}"
