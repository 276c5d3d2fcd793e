"""The page of destinations has every collector, and every option of its constructor."""

import inspect
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages import read, rows, sections, spans

from analytics_middleware import collectors
from analytics_middleware.collectors import HTTPCollector

PAGE = read("destinations.md")
PARTS = sections(PAGE)
CLASSES = [name for name in collectors.__all__ if name.endswith("Collector")]
BASES = {"BaseCollector", "BatchCollector", "CallableCollector", "Collector", "HTTPCollector"}
UNSAID = {"clock"}
"""Options for tests of a collector."""


def options(name: str) -> set[str]:
    """Return the names of the options that the constructor itself names."""
    signature = inspect.signature(getattr(collectors, name))
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return {each.name for each in signature.parameters.values() if each.kind in kinds} - UNSAID


def about(name: str) -> str:
    """Return the section that begins with a call of the collector."""
    found = [text for text in sections(PARTS["Each in a few lines"], 3).values() if f"`{name}(" in text]
    assert len(found) == 1, f"docs/destinations.md describes {name} {len(found)} times"
    return found[0]


@pytest.mark.parametrize("name", sorted(set(CLASSES) - BASES))
def test_every_collector_is_described_with_every_option(name: str) -> None:
    text = about(name)
    call = re.search(rf"`{name}\(([^`]*)\)`", text)
    assert call, name
    said = set(re.findall(r"\w+", re.sub(r"=[^,]*", "", call[1]))) | spans(text)
    common = set(rows_of_common()) if issubclass(getattr(collectors, name), HTTPCollector) else set[str]()
    assert options(name) - common <= said
    assert f"`{name}`" in PARTS["What each receives"]


def rows_of_common() -> list[str]:
    """Return the options of all that send over HTTP."""
    table = "\n".join(rows(PARTS["Options of all of them"]).values())
    return [name for line in table.splitlines() for name in spans(line.split("|")[1])]


def test_the_options_of_all_are_those_of_their_base() -> None:
    assert set(rows_of_common()) == options("HTTPCollector")


def test_the_bases_are_named_where_one_of_your_own_is() -> None:
    named = spans(PARTS["One of your own"]) | set(re.findall(r"\w+", PARTS["One of your own"]))
    assert named >= BASES
