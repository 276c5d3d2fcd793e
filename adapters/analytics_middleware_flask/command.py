"""``flask analytics …``: the sub-commands of ``analytics-middleware``, for this application."""

import click
from flask import Flask

from analytics_middleware import cli

_PASSED_ON = {"ignore_unknown_options": True, "help_option_names": list[str]()}


def make_command(app: Flask) -> click.Command:
    """Return the command ``analytics`` for the command line of *app*."""

    @click.command("analytics", context_settings=_PASSED_ON, add_help_option=False)
    @click.argument("words", nargs=-1, type=click.UNPROCESSED)
    def analytics(words: tuple[str, ...]) -> None:
        """Look after analytics: status, tail, doctor and others; --help tells more."""
        raise SystemExit(cli.main(words, program="flask analytics", application=lambda: app))

    return analytics
