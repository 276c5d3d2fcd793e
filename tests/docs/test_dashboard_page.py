"""The page of the dashboard has every page of it, in order, and every parameter of an address."""

import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from pages import read, sections, spans

from analytics_middleware.web.dashboard import PAGES, Page
from analytics_middleware.web.pages.scope import COMMON, PERIODS

PARTS = sections(read("dashboard.md"))


def test_every_page_is_in_the_table_in_the_order_of_the_navigation() -> None:
    table = PARTS["Pages"].partition("| page |")[2].partition("\n\n")[0]
    assert re.findall(r"(?m)^\| ([A-Z]\w+) \|", table) == [page.title for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.title)
def test_every_parameter_of_a_page_is_in_the_table_of_addresses(page: Page) -> None:
    named = {parameter.name for parameter in (*page.parameters, *COMMON)}
    # What a page tells itself after a form was sent is nobody's to write.
    named -= {"made"}
    assert named <= spans(PARTS["Addresses"])


def test_every_period_is_named() -> None:
    assert set(PERIODS) <= spans(PARTS["Addresses"])
