"""The page of settings and counters says what the code says."""

import dataclasses
import re
from pathlib import Path

import pytest

from analytics_middleware import Settings
from analytics_middleware.counters import NOTES, REASONS

PAGE = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
ROWS = {
    cells[1].strip(" `"): cells[-2].strip() for line in PAGE.splitlines() if (cells := re.split(r"(?<!\\)\|", line))[2:]
}


@pytest.mark.parametrize("field", dataclasses.fields(Settings), ids=lambda field: field.name)
def test_every_setting_is_on_the_page_with_its_help_and_default(field):
    assert ROWS[field.name] == field.metadata["help"]
    if not isinstance(field.default, tuple) or not field.default:
        assert f"| `{field.name}` | `{field.default!r}` |" in PAGE


@pytest.mark.parametrize(("name", "meaning"), [*REASONS.items(), *NOTES.items()])
def test_every_counter_is_on_the_page_with_its_meaning(name, meaning):
    assert ROWS[name] == meaning


def test_the_page_names_nothing_that_does_not_exist():
    known = {field.name for field in dataclasses.fields(Settings)} | REASONS.keys() | NOTES.keys()
    assert {name for name in ROWS if re.fullmatch(r"[a-z_]+", name)} - {"setting", "reason", "counter"} <= known
