"""The page of settings and counters says what the code says."""

import dataclasses
from pathlib import Path

import pytest

from analytics_middleware import Settings
from analytics_middleware.counters import NOTES, REASONS

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
SETTINGS, _, COUNTERS = PAGE.partition("# Counters")


def rows(text: str) -> dict[str, str]:
    """The last cell of each table row by its first."""
    cells = [line.strip("|").split(" | ") for line in text.splitlines() if line.startswith("| `")]
    return {first.strip(" `"): last.strip() for first, *_, last in cells}


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_setting_is_on_the_page_with_its_help_and_default(field):
    assert rows(SETTINGS)[field.name] == field.metadata["help"]
    if not isinstance(field.default, tuple) or not field.default:
        assert f"| `{field.name}` | `{field.default!r}` |" in PAGE


@pytest.mark.parametrize(("name", "meaning"), [*REASONS.items(), *NOTES.items()])
def test_every_counter_is_on_the_page_with_its_meaning(name, meaning):
    assert rows(COUNTERS)[name] == meaning


def test_the_page_names_nothing_that_does_not_exist():
    assert rows(SETTINGS).keys() == {field.name for field in dataclasses.fields(Settings)}
    assert rows(COUNTERS).keys() == REASONS.keys() | NOTES.keys()
