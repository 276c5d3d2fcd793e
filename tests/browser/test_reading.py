"""Pages as people read them who enlarge them, print them, can't tell faint from bright, or use no mouse."""

from collections.abc import Iterator
from typing import Any

import pytest
from dashboards import Served, served

from analytics_middleware import Event, Money
from analytics_middleware.web.dashboard import PAGES

# As https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio has it; the canvas resolves mixed and transparent colours.
CONTRAST = """element => {
    const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
    const under = [];
    for (let each = element; each; each = each.parentElement) under.unshift(getComputedStyle(each).backgroundColor);
    const light = (colours) => {
        canvas.reset();
        for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
        const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].map((value) =>
            value / 255 <= 0.04045 ? value / 255 / 12.92 : ((value / 255 + 0.055) / 1.055) ** 2.4);
        return 0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05;
    };
    const both = [light(under), light([...under, getComputedStyle(element).color])];
    return Math.max(...both) / Math.min(...both);
}"""


@pytest.fixture(scope="module")
def site() -> Iterator[Served]:
    with served("Starlette", "demo") as made:
        for currency in ("BRL", "CHF", "EUR", "JPY", "KWD"):
            made.analytics.track(Event(event_name="sold", revenue=Money.from_minor(10**16 + 1, currency)))
        assert made.analytics.flush()
        yield made


def test_enlarged_four_times_nothing_sticks_out_of_a_page_with_all_its_menus_open(site: Served, watched: Any):
    watched.page.set_viewport_size({"width": 320, "height": 256})
    for address in (*(page.name for page in PAGES), "?metric=revenue.KWD", "funnels?step=pageview&breakdown=device"):
        shown = watched.open(f"{site.url}/{address}")
        shown.evaluate("document.querySelectorAll('details').forEach(each => each.open = true)")
        assert shown.evaluate("document.documentElement.scrollWidth") <= 320, address


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_on_colour_can_be_read(site: Served, watched: Any, theme: str):
    watched.page.emulate_media(color_scheme=theme)
    shown = watched.open(f"{site.url}/retention?period=90d")
    contrasts = {
        text: shown.locator(text).first.evaluate(CONTRAST)
        for text in ("nav [aria-current]", "form button", ".notes", ".card > .csv", ".heat th", ".heat td.h10")
    }
    # The demo does not have every shade.
    shown.locator(".heat td").last.evaluate("each => each.className = 'cell'")
    for shade in range(1, 11):
        shown.locator(".heat td").last.evaluate(f"each => each.className = 'h{shade}'")
        contrasts[f"h{shade}"] = shown.locator(".heat td").last.evaluate(CONTRAST)
    assert {name: value for name, value in contrasts.items() if value < 4.5} == {}


def test_on_paper_a_page_is_white_and_says_its_period_and_filters(site: Served, watched: Any):
    watched.page.emulate_media(media="print", color_scheme="dark")
    where = "[{%22field%22:%22country%22,%22op%22:%22eq%22,%22value%22:%22GB%22}]"
    shown = watched.open(f"{site.url}/?period=7d&where={where}")
    assert shown.evaluate("getComputedStyle(document.querySelector('.panel')).backgroundColor") == "rgb(255, 255, 255)"
    text = shown.locator("main").inner_text()
    assert "Last 7 days" in text
    assert "country is GB" in text
    for unused in ("Compare", "Share", "+ Filter", "CSV"):
        assert unused not in text
    bar = shown.locator(".bars .bar").first
    assert bar.evaluate("each => getComputedStyle(each).printColorAdjust") == "exact"


def test_where_the_system_chooses_the_colours_bars_and_what_is_chosen_can_still_be_seen(site: Served, watched: Any):
    watched.page.emulate_media(forced_colors="active")
    shown = watched.open(f"{site.url}/")
    assert shown.locator(".bars .bar").first.evaluate("each => getComputedStyle(each).borderTopStyle") == "solid"
    for chosen in ("nav [aria-current]", ".tiles [aria-current]", ".tabs > input:checked + label"):
        line = shown.locator(chosen).first.evaluate("each => getComputedStyle(each).textDecorationLine")
        assert line == "underline"


def test_names_from_right_to_left_leave_the_amount_beside_them_as_it_is(site: Served, watched: Any):
    site.analytics.track(Event(event_name="سعر", user_id="ann", revenue=Money("12.50", "GBP")))
    assert site.analytics.flush()
    shown = watched.open(f"{site.url}/users?user_id=ann")
    amounts = shown.locator("td b")
    assert amounts.inner_text() == "£12.50"
    assert amounts.evaluate("each => getComputedStyle(each).unicodeBidi") == "isolate"
