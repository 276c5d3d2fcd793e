"""The command line: ``analytics-middleware COMMAND …``, also ``python -m analytics_middleware COMMAND …``.

Exit codes: 0 success, 1 failure, 2 an unreadable command line, 130 interrupted, 141 the output's reader has gone.
"""

import argparse
import os
import re
import sqlite3
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from io import TextIOWrapper
from typing import Any, Final, NoReturn

from analytics_middleware import __version__
from analytics_middleware.commands import COMMANDS, load
from analytics_middleware.errors import AnalyticsError
from analytics_middleware.plain_text import ESCAPED

PROGRAM: Final = "analytics-middleware"


class _Parser(argparse.ArgumentParser):
    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        self._words = args or [""]
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        if "invalid choice: " in message and not message.startswith("argument -"):
            said, _, choices = message.partition(" (choose from ")
            near = get_close_matches(said.rpartition(": ")[2].strip("'"), re.findall(r"[\w-]+", choices), n=1)
            if self._words[0].startswith("-"):
                message = "put the command first; options follow it"
            elif near:
                message = f"{said}; did you mean {near[0]!r}?"
        # One line with the error and where to find help; argparse's whole usage would bury it.
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def main(
    argv: Sequence[str] | None = None,
    *,
    program: str = PROGRAM,
    application: Callable[[], Any] | None = None,
) -> int:
    """Run the command that *argv* (default: the process's arguments) names, and return the exit code.

    A framework's own command line passes the name under which it runs us as *program*, and a function that returns
    its application as *application*.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)
    try:
        arguments = make_parser(words, program).parse_args(words)
        arguments.application = application
        code: int = arguments.run(arguments)
        # A failure to write the buffered output must happen here, not while the interpreter shuts down.
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        _forget_stdout()
        return 141
    except (AnalyticsError, OSError) as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except sqlite3.Error as error:
        print(f"{program}: the database can't be used: {error} (see {program} doctor)", file=sys.stderr)
        return 1
    return code


def make_parser(words: Sequence[str] = (), program: str = PROGRAM) -> argparse.ArgumentParser:
    """Return the parser for a command line that begins with *words*: of the command they name, or else of all."""
    parser = _Parser(
        prog=program,
        description="Product analytics for Django, Flask, Starlette and FastAPI.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{program} {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    # Import only the module of the command that was asked for; the overview needs all of them.
    asked = words[0] if words else ""
    for name in (asked,) if asked in COMMANDS else COMMANDS:
        command = load(name)
        sub = commands.add_parser(command.NAME, help=command.HELP, description=command.HELP, allow_abbrev=False)
        command.configure(sub)
        sub.set_defaults(run=command.run)
    return parser


def _forget_stdout() -> None:
    """Send what is still buffered to the null device: flushing it at exit would complain about the closed pipe."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        # Standard output was replaced by something that is not a file.
        return
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)
