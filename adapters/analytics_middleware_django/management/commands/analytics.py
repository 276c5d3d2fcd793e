"""``manage.py analytics …``: the sub-commands of ``analytics-middleware``, for this project."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from analytics_middleware import cli
from analytics_middleware.errors import ConfigurationError
from analytics_middleware_django import _django
from analytics_middleware_django._django import ImproperlyConfigured
from analytics_middleware_django.conf import get_analytics

# Only commands need it.
BaseCommand: Any = _django.import_string("django.core.management.base.BaseCommand")


class Command(BaseCommand):  # type: ignore[misc]  # Django ships no types
    """Passes everything after ``analytics`` to the command line that all frameworks share."""

    help = "Look after analytics: status, tail, doctor and others."
    requires_system_checks: Sequence[str] = ()

    def run_from_argv(self, argv: Sequence[str]) -> None:
        """Run what ``manage.py analytics …`` asks for."""
        # Django has already handled these two options, which may stand anywhere.
        parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
        parser.add_argument("--settings")
        parser.add_argument("--pythonpath")
        _, words = parser.parse_known_args(list(argv[2:]))
        sys.exit(_run(words))

    def add_arguments(self, parser: Any) -> None:
        """Take the words that ``call_command("analytics", "status")`` is given."""
        parser.add_argument("words", nargs="*")

    def handle(self, *args: Any, **options: Any) -> None:
        """Run what ``call_command`` asks for. Raises `SystemExit` if it fails."""
        if code := _run(options["words"]):
            sys.exit(code)


def _run(words: Sequence[str]) -> int:
    return cli.main(words, program="manage.py analytics", application=_configured)


def _configured() -> Any:
    try:
        return get_analytics()
    except ImproperlyConfigured as error:
        raise ConfigurationError(str(error)) from None
