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


def test_the_keys_can_be_switched_off_and_stay_off(site: Served, watched: Any):
    shown = watched.open(f"{site.url}/")
    shown.keyboard.press("?")
    assert shown.evaluate("document.activeElement.textContent") == "Close"
    shown.get_by_label("Use these keys").uncheck()
    shown.keyboard.press("Escape")
    shown.reload()
    for key in ("w", "2", "f", "?"):
        shown.keyboard.press(key)
    assert shown.url == f"{site.url}/"
    assert shown.locator("details[open], dialog[open]").count() == 0
    shown.locator("[data-help]").click()
    shown.get_by_label("Use these keys").check()
    shown.keyboard.press("Escape")
    shown.keyboard.press("w")
    shown.wait_for_url("**period=7d*")


def test_the_tab_that_somebody_chose_stays_chosen_on_the_next_page(site: Served, watched: Any):
    shown = watched.open(f"{site.url}/")
    shown.locator("label[for=tab-channels]").click()
    shown.locator("[data-table=channels] a").first.click()
    shown.wait_for_url("**where=*")
    assert shown.locator("[data-table=channels]").is_visible()
    assert not shown.locator("[data-table=sources]").is_visible()


def test_countries_have_their_names_also_after_the_page_refreshed_itself(site: Served, watched: Any):
    shown = watched.open(f"{site.url}/")
    row = shown.locator("[data-table=countries] tbody a", has_text="GB")
    told = "each => getComputedStyle(each, '::after').content"
    assert "United Kingdom" in row.evaluate(told)
    shown.evaluate("document.querySelector('[data-table=countries]').dataset.old = 'yes'")
    shown.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    shown.locator("[data-table=countries]:not([data-old])").wait_for()
    assert "United Kingdom" in row.evaluate(told)


def test_without_scripts_there_are_no_buttons_that_do_nothing(site: Served, chromium: Any):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(f"{site.url}/?period=7d")
    assert not page.locator(".tools").is_visible()
    page.locator(".filters summary", has_text="Filter").click()
    page.locator("[name=filter_field]").fill("country")
    page.locator("[name=filter_value]").fill("GB")
    page.locator("[name=filter_value]").press("Enter")
    assert page.locator("a.chip").first.inner_text().startswith("country is GB")
    page.locator("label[for=tab-channels]").click()
    assert page.locator("[data-table=channels]").is_visible()
    context.close()


def test_whoever_rather_leaves_a_user_alone_is_back_on_their_page(site: Served, watched: Any):
    shown = watched.open(f"{site.url}/erase?user_id=a%26b+c%2F")
    shown.get_by_text("Leave it").click()
    assert shown.get_by_label("User id").input_value() == "a&b c/"


def test_a_period_that_ends_before_it_begins_is_refused_by_the_browser(site: Served, watched: Any):
    shown = watched.open(f"{site.url}/?from=2026-03-05")
    shown.locator(".controls summary").first.click()
    shown.get_by_label("From").fill("2026-03-09")
    shown.get_by_label("To", exact=True).fill("2026-03-01")
    shown.locator(".controls").get_by_role("button", name="Show").click()
    assert shown.locator(":invalid[name=to]").count() == 1
    shown.get_by_label("To", exact=True).fill("2026-03-09")
    shown.locator(".controls").get_by_role("button", name="Show").click()
    shown.wait_for_url("**from=2026-03-09&to=2026-03-09*")


def test_a_new_share_link_is_ready_to_be_copied(site: Served, watched: Any):
    shown = watched.open(f"{site.url}/?period=7d")
    shown.locator("summary", has_text="Share").click()
    shown.get_by_role("button", name="Make a link").click()
    shown.wait_for_url("**/saved?made=*")
    assert shown.evaluate("getSelection().toString()").startswith(f"{site.url}/shared/")


def test_a_wide_heat_map_keeps_the_names_of_its_rows_and_its_heading_in_view(site: Served, watched: Any):
    watched.page.set_viewport_size({"width": 390, "height": 844})
    shown = watched.open(f"{site.url}/retention?period=90d")
    head, row = shown.locator(".card h2"), shown.locator(".heat tbody th").last
    places = [each.bounding_box()["x"] for each in (head, row)]
    scrolled = shown.locator(".scroll")
    scrolled.evaluate("each => each.addEventListener('scrollend', () => each.classList.add('ended'))")
    scrolled.focus()
    for _ in range(5):
        shown.keyboard.press("ArrowRight")
    # The browser moves it bit by bit, and would take back what is scrolled meanwhile.
    shown.locator(".scroll.ended").wait_for()
    scrolled.evaluate("each => each.scrollBy({left: 100, behavior: 'instant'})")
    assert shown.locator(".heat td").first.bounding_box()["x"] < places[1]
    assert [each.bounding_box()["x"] for each in (head, row)] == pytest.approx(places, abs=3)


def test_a_finger_reads_the_chart_and_closes_menus_beside_them(site: Served, chromium: Any):
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True)
    page = context.new_page()
    page.goto(f"{site.url}/?period=7d")
    page.locator(".drawing").tap()
    assert "Visitors:" in page.locator(".tip").inner_text()
    page.locator("h1").tap()
    assert not page.locator(".tip").is_visible()
    page.locator(".controls summary").first.tap()
    assert page.locator("input[type=date]").first.evaluate("each => getComputedStyle(each).fontSize") == "16px"
    page.locator("h1").dispatch_event("pointerdown")
    assert page.locator("details[open]").count() == 0
    context.close()


def test_on_a_phone_the_dates_of_a_user_say_which_they_are(site: Served, watched: Any):
    watched.page.set_viewport_size({"width": 390, "height": 844})
    shown = watched.open(f"{site.url}/users")
    told = shown.locator("tbody tr").first.locator("td.when")
    labels = told.evaluate_all("cells => cells.map(each => getComputedStyle(each, '::before').content)")
    assert ["Last seen" in labels[0], "First seen" in labels[1]] == [True, True]
