"""The page on privacy says of every field what is kept, and names nothing that does not exist."""

import dataclasses
import re
from pathlib import Path

from analytics_middleware.enrich.visitor import COOKIE_MAX_AGE, COOKIELESS_PREFIX
from analytics_middleware.event import Event, Visit
from analytics_middleware.exclusions import parse
from analytics_middleware.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "privacy.md").read_text()


def section(title):
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def first_cells(text):
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return [name for row in rows[2:] for name in re.findall(r"`([^`]+)`", row)]


def test_every_field_of_an_event_has_its_line_and_no_other():
    fields = [field for field in Event.__struct_fields__ if field != "visit"]
    visit = [f"visit.{field}" for field in Visit.__struct_fields__]
    named = first_cells(section("Field by field"))
    assert sorted(named) == sorted(fields + visit)


def test_every_setting_it_names_exists():
    known = {field.name for field in dataclasses.fields(Settings)}
    options = {"client_ip", "properties", "sample", "requires_consent"}
    assert set(first_cells(section("Settings that change this"))) - options - {"client_ip=False"} <= known


def test_the_entries_it_shows_for_exclude_are_right():
    entries = first_cells(section("Who is left out"))
    assert {"staff", "/internal/*"} <= set(entries)
    parse(entries)


def test_names_and_numbers_are_those_of_the_code():
    assert f"`{Settings().cookie_name}`" in PAGE
    assert f"begins with `{COOKIELESS_PREFIX}`" in PAGE
    assert COOKIE_MAX_AGE == 365 * 86400
    assert "a year" in PAGE


def test_every_link_leads_somewhere():
    for target in re.findall(r"\]\(([^)]+)\)", PAGE):
        name, _, anchor = target.partition("#")
        text = (DOCS / name).read_text() if name else PAGE
        headings = re.findall(r"(?m)^#+ (.+)$", text)
        assert not anchor or anchor in {re.sub(r"[^a-z0-9 -]", "", each.lower()).replace(" ", "-") for each in headings}
