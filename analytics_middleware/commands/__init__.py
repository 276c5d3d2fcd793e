"""Sub-commands of the command line, one module each; `COMMANDS` says which there are, in the order of the help."""

import argparse
from importlib import import_module
from keyword import iskeyword
from typing import Final, Protocol, cast

from analytics_middleware.errors import AnalyticsError

COMMANDS: Final = (
    "demo",
    "status",
    "tail",
    "worker",
    "doctor",
    "report",
    "alerts",
    "collectors",
    "dead-letters",
    "replay",
    "export",
    "import",
    "copy",
    "migrate",
    "sql",
    "erase",
)
"""Names of the commands. Each is a module here, imported when it is asked for: with underscores for dashes, and one
more after a word of Python's own."""


class Command(Protocol):
    """What such a module has."""

    NAME: str
    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments to *parser*."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do the work and return the exit code. May raise `AnalyticsError` and `OSError`: they end in one line."""
        ...


class CommandError(AnalyticsError):
    """A command can't do what was asked; the message is for the person who asked."""


def load(name: str) -> Command:
    """Return the command called *name*, one of `COMMANDS`."""
    module = f"{name}_" if iskeyword(name) else name.replace("-", "_")
    return cast("Command", import_module(f"{__name__}.{module}"))
