"""Every public name is explained on some page, and every command line on a page can be read."""

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages import PAGES, ROOT, read, rows

import analytics_middleware
from analytics_middleware import Analytics
from analytics_middleware.cli import make_parser
from analytics_middleware.running import Running
from analytics_middleware.store import Insights

EVERYTHING = "\n".join(page.read_text("utf-8") for page in PAGES)
PUBLIC = [
    "analytics_middleware",
    "analytics_middleware.collectors",
    "analytics_middleware.store",
    "analytics_middleware.testing",
    "analytics_middleware_django",
    "analytics_middleware_flask",
    "analytics_middleware_starlette",
]
NAMES = [(module, name) for module in PUBLIC for name in importlib.import_module(module).__all__]


@pytest.mark.parametrize(("module", "name"), NAMES)
def test_every_public_name_is_on_some_page(module: str, name: str) -> None:
    assert re.search(rf"`[^`\n]*\b{name}\b[^`\n]*`", EVERYTHING), f"no page explains {module}.{name}"


def methods(of: type) -> list[str]:
    """Return the public names of a class."""
    return [name for name, value in vars(of).items() if not name.startswith("_") and callable(getattr(of, name, value))]


PYTHON = read("python.md")
FOR_OTHERS = {
    *("work", "at_start", "after_fork", "at_exit", "capture", "ensure_started", "note_internal_error", "submit"),
    *(
        "begin_serving",
        "end_serving",
        "flush_response",
        "leaves_out",
        "note_outer",
        "quiet_start",
        "record_for_others",
        "shared_salt",
    ),
    "take_over",
}
"""Methods that the command line, the adapters, the API and what hands requests over call."""


@pytest.mark.parametrize("name", sorted({*methods(Analytics), *methods(Running)} - FOR_OTHERS))
def test_every_method_for_applications_is_on_the_page_of_the_object(name: str) -> None:
    assert re.search(rf"`(analytics\.|Analytics\.)?{name}\(", PYTHON)


@pytest.mark.parametrize("name", methods(Insights))
def test_every_question_is_on_the_page_of_the_object(name: str) -> None:
    assert f"`{name}(" in "\n".join(rows(PYTHON).values())


COMMANDS = sorted(
    {
        (str(page.relative_to(ROOT)), match[1].removesuffix("\\"))
        for page in PAGES
        for match in re.finditer(
            r"(?m)(?:^ {4}\$ |^\$ |&& |^    ExecStart=\S*|\.venv/bin/)(analytics-middleware [^\n|&]*)",
            page.read_text("utf-8"),
        )
    }
)


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_every_command_line_can_be_read(page: str, line: str) -> None:
    words = shlex.split(line)[1:]
    arguments = make_parser(words).parse_args(words)
    assert callable(arguments.run)


def test_there_are_such_lines() -> None:
    assert len(COMMANDS) > 20


def test_the_version_is_in_the_changelog_or_to_come() -> None:
    assert "## Unreleased" in EVERYTHING or f"## {analytics_middleware.__version__}" in EVERYTHING
