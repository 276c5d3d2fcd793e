"""The commands of the command line, one module each."""

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
"""Names of the commands, in the order of the help. Each is a module here, imported on use; its name has underscores for
dashes, and one more after a keyword of Python (``import_``)."""


class Command(Protocol):
    """What the module of a command defines."""

    NAME: str
    HELP: str

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Add the command's arguments to *parser*."""
        ...

    def run(self, arguments: argparse.Namespace) -> int:
        """Do the work and return the exit code. `AnalyticsError` and `OSError` are printed in one line."""
        ...


class CommandError(AnalyticsError):
    """A command can't do what was asked; the message is for the person who asked."""


def load(name: str) -> Command:
    """Return the command called *name*, one of `COMMANDS`."""
    module = f"{name}_" if iskeyword(name) else name.replace("-", "_")
    return cast("Command", import_module(f"{__name__}.{module}"))
