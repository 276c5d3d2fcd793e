"""``doctor``: looks for common problems and says what to do about them."""

import argparse
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.commands import CommandError, target
from analytics_middleware.doctor import Finding
from analytics_middleware.doctor.alerts import examine_alerts
from analytics_middleware.doctor.application import (
    examine_django,
    examine_middleware,
    examine_proxies,
    examine_settings,
    is_django,
)
from analytics_middleware.doctor.delivery import examine_delivery
from analytics_middleware.doctor.files import examine_files
from analytics_middleware.doctor.segments import examine_segments
from analytics_middleware.doctor.uwsgi import examine_uwsgi, options_here, options_of_file
from analytics_middleware.outbox.base import STORE
from analytics_middleware.plain_text import safe
from analytics_middleware.settings import Settings

NAME = "doctor"
HELP = "Look for common problems: directory, disk, SQLite, uWSGI, proxies, middleware."

_LONGEST: Final = 1000
_SIGNS: Final = {"ok": "ok     ", "warning": "WARNING", "problem": "PROBLEM"}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    target.add_arguments(parser)
    parser.add_argument("--uwsgi", type=Path, metavar="FILE", help="also look at this uWSGI ini file")
    parser.add_argument("--json", action="store_true", help="a JSON list of findings")


def run(arguments: argparse.Namespace) -> int:
    """Print what was found. Return 1 if there is a problem."""
    found = target.find(arguments)
    findings = list(_examine(found, arguments.uwsgi))
    if arguments.json:
        print(json.dumps([finding._asdict() for finding in findings]))
    else:
        for finding in findings:
            print(f"{_SIGNS[finding.level]}  {finding.subject}: {safe(finding.text, _LONGEST)}")
            if finding.advice:
                print(f"         → {finding.advice}")
    return int(any(finding.level == "problem" for finding in findings))


def _examine(found: target.Target, uwsgi: Path | None) -> Generator[Finding]:
    if found.analytics is not None:
        yield from examine_settings(found.analytics)
        yield from _middleware(found.analytics, found.application)
    ignored = 0
    if found.outbox is not None:
        max_bytes = Settings().max_bytes if found.analytics is None else found.analytics.settings.max_bytes
        files = list(examine_files(found.outbox.database.directory, max_bytes))
        yield from files
        usable = all(finding.level != "problem" for finding in files)
        if usable and found.outbox.database.path.is_file():
            stats = found.outbox.stats()
            ignored = stats.counts.get("proxy_ignored", 0)
            yield from examine_delivery(stats.consumers, _configured(found.analytics))
            yield from examine_segments(found.outbox.database)
            if found.analytics is not None:
                yield from examine_alerts(found.analytics, found.outbox.database)
    yield from examine_proxies(found.analytics, ignored)
    options = options_here()
    if uwsgi is not None:
        try:
            options = options_of_file(uwsgi)
        except ValueError as error:
            raise CommandError(str(error)) from None
    if options is not None:
        yield from examine_uwsgi(options)


def _configured(analytics: Analytics | None) -> list[str] | None:
    return None if analytics is None else [STORE, *(collector.name for collector in analytics.collectors)]


def _middleware(analytics: Analytics, application: Any) -> Generator[Finding]:
    if is_django(analytics):
        yield from examine_django()
        return
    # A Flask application is not one of its own middleware layers; Starlette's layers begin with the application.
    wrapped = getattr(application, "wsgi_app", None)
    layers = list(target.layers(application if wrapped is None else wrapped))
    yield from examine_middleware(application, [layer for layer in layers if layer is not application])
