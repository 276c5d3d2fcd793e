"""``report``: prints, writes or sends a summary of a period, compared with the one before."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.commands import CommandError, target
from analytics_middleware.commands.text import amount, listing
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.reports.destinations import Destination, read_destination
from analytics_middleware.reports.figures import Report, build_report
from analytics_middleware.reports.mail import SendError
from analytics_middleware.reports.message import Message
from analytics_middleware.reports.period import between, whole_period
from analytics_middleware.reports.rendering import report_html, report_message, report_text
from analytics_middleware.store.filters import QuestionError
from analytics_middleware.web.links import web_address
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.questions import WHERE

NAME = "report"
HELP = "Print, write or send a summary of a day, a week, a month or any days, compared with those before."

_FORMATS: Final = ("text", "html", "json")
_LENGTHS: Final = {"daily": "day", "weekly": "week", "monthly": "month"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser, directory=False)
    period = parser.add_mutually_exclusive_group()
    for option, length in _LENGTHS.items():
        period.add_argument(
            f"--{option}", dest="length", action="store_const", const=length, help=f"the last whole {length}"
        )
    period.add_argument("--from", dest="first", metavar="DATE", help="the first day, such as 2026-01-31")
    parser.add_argument("--to", dest="last", metavar="DATE", help="with --from: the last day; default: yesterday")
    parser.add_argument("--where", type=_filters, default=(), metavar="JSON", help="only events matching these filters")
    parser.add_argument("--title", default="Analytics", metavar="TEXT", help="its title; default: Analytics")
    parser.add_argument("--dashboard-url", metavar="URL", help="where the dashboard is, for links into it")
    parser.add_argument("--format", choices=_FORMATS, default="text", help="format of the output; default: text")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there; default: standard output")
    parser.add_argument("--send", action="store_true", help="send it to the destinations in the setting report_to")
    parser.add_argument(
        "--send-to", action="append", default=[], metavar="WHERE", help="also send it to this address or webhook"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say where it would be sent")


def run(arguments: argparse.Namespace) -> int:
    """Make the report, then print, write or send it. Return 1 if it could not be sent to every destination."""
    if arguments.last is not None and arguments.first is None:
        raise CommandError("--to needs --from")
    if arguments.dashboard_url is not None and web_address(arguments.dashboard_url) is None:
        raise CommandError(f"--dashboard-url {arguments.dashboard_url!r:.200} is not the URL of a page")
    analytics = target.find(arguments).configured
    destinations = _destinations(arguments, analytics)
    report = build_report(analytics, _scope(arguments, analytics), arguments.title, arguments.dashboard_url)
    if destinations:
        message = report_message(report)
        if arguments.dry_run:
            print(f"Would send {message.subject!r} to {listing(each.id for each in destinations)}.")
            return 0
        if arguments.output is not None:
            _write(arguments.output, _formatted(report, arguments.format))
        return _send(message, destinations, analytics)
    if arguments.dry_run:
        raise CommandError("--dry-run needs --send or --send-to")
    text = _formatted(report, arguments.format)
    if arguments.output is None:
        print(text, end="" if text.endswith("\n") else "\n")
    else:
        _write(arguments.output, text)
    return 0


def _destinations(arguments: argparse.Namespace, analytics: Analytics) -> list[Destination]:
    found: list[Destination] = []
    if arguments.send:
        found += analytics.settings.report_to
        if not found:
            raise CommandError("--send: the setting 'report_to' names nobody")
    for each in arguments.send_to:
        try:
            found.append(read_destination("--send-to", each))
        except ConfigurationError as error:
            raise CommandError(str(error)) from None
    return found


def _scope(arguments: argparse.Namespace, analytics: Analytics) -> Scope:
    try:
        if arguments.first is None:
            return whole_period(analytics.insights, arguments.length or "week", arguments.where)
        return between(analytics.insights, arguments.first, arguments.last, arguments.where)
    except QuestionError as error:
        raise CommandError(f"--{error}") from None


def _filters(text: str) -> Any:
    """Read filters in the form that the REST API takes."""
    try:
        return WHERE.read(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _formatted(report: Report, form: str) -> str:
    if form == "json":
        return report_message(report).json().decode()
    return report_html(report) if form == "html" else report_text(report)


def _write(path: Path, text: str) -> None:
    # Readable by its owner only: not everybody on this host may read the figures.
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        file.write(text)


def _send(message: Message, destinations: Sequence[Destination], analytics: Analytics) -> int:
    sent = 0
    for each in destinations:
        try:
            each.send(message, analytics.settings.mail)
            sent += 1
        except SendError as error:
            print(f"not sent: {error}", file=sys.stderr)
    print(f"{message.subject}: sent to {amount(sent, 'destination')} of {len(destinations)}")
    return 0 if sent == len(destinations) else 1
