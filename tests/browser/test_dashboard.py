"""The dashboard in a real browser, over each framework, on no data, the demo's and hostile data."""

from typing import Any
from urllib.parse import quote

import pytest
from dashboards import ATTACKS, DATA, FRAMEWORKS, SITES, served

from analytics_middleware import Event
from analytics_middleware.event import Visit
from analytics_middleware.web.dashboard import PAGES
from analytics_middleware.web.pages.series import METRICS

BUDGET = 100_000
CASES = [(framework, data) for framework in SITES for data in DATA]

# What hostile data would have run or made.
INTRUDERS = (
    "document.querySelectorAll('main script, main img, main [onload], main [onerror], [href^=javascript]').length"
)


@pytest.mark.parametrize(("framework", "data"), CASES)
def test_every_page_renders_without_a_complaint_and_weighs_little(sites: Any, watched: Any, framework: str, data: str):
    site = sites(framework, data)
    for page in PAGES:
        shown = watched.open(f"{site.url}/{page.name}")
        assert shown.locator("h1").inner_text() == page.title
        assert shown.locator("nav [aria-current=page]").inner_text() == page.title
        assert shown.evaluate(INTRUDERS) == 0
        assert "{{" not in shown.locator("main").inner_text().replace("{{ 7*7 }}{% raw %}", "")
        assert 5_000 < sum(watched.bytes) <= BUDGET, page.name
        # Nothing sticks out of the page, on a phone neither.
        shown.set_viewport_size({"width": 390, "height": 844})
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390, page.name
        shown.set_viewport_size({"width": 1280, "height": 900})


@pytest.mark.parametrize(
    ("framework", "text"),
    [*((each, "pageview") for each in SITES), *zip((*FRAMEWORKS, *SITES), ATTACKS[:7], strict=True)],
)
def test_pages_that_were_asked_for_something_are_as_quiet(sites: Any, watched: Any, framework: str, text: str):
    site = sites(framework, "demo" if text == "pageview" else "hostile")
    name, user = quote(text), "no-such-user" if text == "pageview" else quote(text)
    for address in (
        f"events?event={name}&property={name}",
        f"funnels?step=pageview&step={name}&window=7d&order=any&breakdown=user_id",
        f"retention?every=day&event={name}",
        f"users?user_id={user}",
        f"paths?event={name}&direction=before&depth=2",
        f"?metric=bounce_rate&compare=none&filter_field=country&filter_op=contains&filter_value={name}",
    ):
        shown = watched.open(f"{site.url}/{address}")
        assert shown.evaluate(INTRUDERS) == 0
        assert shown.locator("h1").count() == 1
        assert sum(watched.bytes) <= BUDGET


@pytest.mark.parametrize("framework", SITES)
def test_each_tile_equals_its_twin_and_a_memory_store_of_the_same_events(sites: Any, watched: Any, framework: str):
    site = sites(framework, "demo")
    # Days that are over: what is asked a second later is the same.
    shown = watched.open(f"{site.url}/?period=yesterday")
    twin = shown.evaluate(
        "fetch(location.href, {headers: {accept: 'application/json'}}).then(answer => answer.json())"
    )["data"]
    span = {"start": twin["scope"]["start"], "end": twin["scope"]["end"]}
    totals = site.reference.overview(**span)
    expected = {name: getattr(totals, name) for name in ("visitors", "pageviews", "sessions", "bounce_rate", "events")}
    expected |= {f"revenue.{each.currency}": each.total for each in site.reference.revenue(**span)}
    assert {tile["metric"]: tile["value"] for tile in twin["tiles"]} == expected
    assert totals.visitors > 10
    trend = site.reference.trend(bucket="hour", **span)
    for metric in METRICS:
        address = f"{site.url}/?period=yesterday&metric={metric}&format=json"
        points = shown.evaluate("address => fetch(address).then(answer => answer.json())", address)["data"]["points"]
        assert [point["value"] for point in points] == [getattr(point, metric) for point in trend], metric
    for metric, value in expected.items():
        text = shown.locator(f"[data-tile='{metric}'] strong").inner_text()
        if metric == "bounce_rate":
            assert text == f"{value:.0%}"
        elif metric.startswith("revenue."):
            assert text == f"£{value / 100:,.2f}"
        else:
            assert text == f"{value:,}"


@pytest.mark.parametrize("framework", SITES)
def test_clicking_a_row_filters_by_it_and_its_chip_takes_the_filter_away(sites: Any, watched: Any, framework: str):
    site = sites(framework, "demo")
    shown = watched.open(f"{site.url}/?period=7d")
    before = shown.locator("[data-tile=visitors] strong").inner_text()
    row = shown.locator("[data-table=countries] tbody tr").first
    country, visitors = row.locator("a").inner_text(), row.locator("td").first.inner_text()
    row.locator("a").click()
    shown.wait_for_load_state()
    assert shown.locator(".chip").first.inner_text().startswith(f"country is {country}")
    assert shown.locator("[data-tile=visitors] strong").inner_text() == visitors != before
    assert shown.locator("[data-table=countries] tbody tr").count() == 1
    shown.locator("a.chip").first.click()
    shown.wait_for_load_state()
    assert shown.locator("[data-tile=visitors] strong").inner_text() == before


def test_a_row_of_hostile_data_filters_too(sites: Any, watched: Any):
    site = sites("Starlette", "hostile")
    shown = watched.open(f"{site.url}/?period=7d")
    link = shown.locator("[data-table=countries] tbody a").filter(has_text="alert").first
    text = link.inner_text()
    link.click()
    shown.wait_for_load_state()
    assert text in shown.locator("a.chip").first.inner_text()
    assert shown.locator("[data-tile=visitors] strong").inner_text() == "1"


def test_keys_go_through_pages_and_periods_and_everything_is_in_the_address(sites: Any, watched: Any):
    shown = watched.open(f"{sites('Starlette', 'demo').url}/")
    shown.keyboard.press("w")
    shown.wait_for_url("**period=7d*")
    shown.keyboard.press("c")
    shown.wait_for_url("**compare=none*")
    assert "period=7d" in shown.url
    assert shown.locator("polyline.before").count() == 0
    shown.keyboard.press("f")
    shown.keyboard.type("channel")
    shown.locator("[name=filter_value]").fill("Email")
    shown.locator("[name=filter_value]").press("Enter")
    shown.wait_for_url("**where=*")
    assert shown.locator("a.chip").first.inner_text().startswith("channel is Email")
    shown.keyboard.press("x")
    shown.wait_for_url(lambda url: "where" not in url)
    shown.keyboard.press("?")
    assert shown.locator("#help").is_visible()


def test_escape_closes_the_menu_that_a_key_opened_and_keys_work_again(sites: Any, watched: Any):
    shown = watched.open(f"{sites('Flask', 'demo').url}/")
    shown.keyboard.press("f")
    field = shown.locator("[name=filter_field]")
    assert field.evaluate("each => each === document.activeElement")
    shown.keyboard.press("Escape")
    assert not field.is_visible()
    shown.keyboard.press("w")
    shown.wait_for_url("**period=7d*")


def test_the_chart_tells_its_numbers_to_pointer_keyboard_and_screen_reader(sites: Any, watched: Any):
    shown = watched.open(f"{sites('Flask', 'demo').url}/?period=7d")
    assert shown.locator(".chart tbody tr").count() == 7
    drawing = shown.locator(".drawing")
    drawing.hover()
    assert "Visitors:" in shown.locator(".tip").inner_text()
    drawing.focus()
    shown.keyboard.press("ArrowRight")
    shown.keyboard.press("ArrowRight")
    assert shown.locator(".tip").is_visible()
    shown.keyboard.press("Home")
    first = shown.locator(".chart tbody th").first.inner_text()
    assert shown.locator(".tip b").inner_text() == first
    shown.keyboard.press("Escape")
    assert not shown.locator(".tip").is_visible()
    shown.keyboard.press("Home")
    assert shown.locator(".tip b").inner_text() == first
    # Today is not over: what leads to it is dotted.
    assert shown.locator("polyline.dotted").count() == 1


def test_dark_and_light_are_remembered(sites: Any, watched: Any):
    shown = watched.open(f"{sites('Django', 'empty').url}/")
    light = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    shown.locator("[data-theme-toggle]").click()
    dark = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert dark != light
    shown.reload()
    assert shown.evaluate("getComputedStyle(document.body).backgroundColor") == dark
    assert shown.locator("html").get_attribute("data-theme") == "dark"


@pytest.mark.parametrize(("framework", "streamed"), [("Flask", False), ("Starlette", True)])
def test_live_shows_what_happens_while_it_is_looked_at(watched: Any, framework: str, streamed: bool):
    """By a stream where the server can hold connections, else by asking again and again."""
    with served(framework, "empty") as site:
        asked: list[str] = []
        watched.page.on("request", lambda request: asked.append(request.url))
        shown = watched.open(f"{site.url}/live")
        assert shown.locator("[data-now]").inner_text() == "0"
        site.analytics.track(Event(event_name="order.placed", user_id="ann"))
        assert site.analytics.flush()
        # Not by a function in the page: the policy forbids it to be compiled there.
        shown.locator("[data-now]", has_text="1").wait_for()
        assert "order.placed" in shown.locator("[data-table=stream]").inner_text()
        assert any("format=stream" in url for url in asked) is streamed
        assert sum(url.endswith("/live") for url in asked) == 1 or not streamed
        site.analytics.track(Event(event_name=ATTACKS[0], user_id=ATTACKS[1]))
        assert site.analytics.flush()
        shown.locator("[data-now]", has_text="2").wait_for()
        assert shown.evaluate(INTRUDERS) == 0
        shown.locator("[data-table=stream] a", has_text="ann").click()
        shown.wait_for_url("**/users?user_id=ann")
        assert "order.placed" in shown.locator("main").inner_text()


@pytest.mark.parametrize("framework", ["Flask", "Starlette"])
def test_live_goes_on_under_the_tab_that_somebody_chose_and_keeps_it(watched: Any, framework: str):
    def now_are(count: int) -> None:
        site.analytics.track(Event(event_name="order.placed", user_id=f"user-{count}"))
        assert site.analytics.flush()
        shown.locator("[data-now]", has_text=str(count)).wait_for()

    with served(framework, "empty") as site:
        shown = watched.open(f"{site.url}/live")
        shown.locator("label[for=tab-sources]").click()
        now_are(1)
        assert shown.locator("#tab-sources").is_checked()
        assert shown.evaluate("document.activeElement.id") == "tab-sources"
        shown.keyboard.press("ArrowRight")
        now_are(2)
        assert shown.locator("#tab-countries").is_checked()
        assert shown.evaluate("document.activeElement.id") == "tab-countries"
        # The link to a file keeps the focus, too, after it was clicked.
        with shown.expect_download():
            shown.locator("[data-live] a.csv:visible").first.click()
        now_are(3)


@pytest.mark.parametrize("width", [320, 360, 375])
def test_live_fits_on_a_narrow_phone_and_its_words_are_whole(watched: Any, width: int):
    with served("Flask", "empty") as site:
        for country in ("GB", "DE"):
            visit = Visit(country=country, source="Hacker News", device="mobile")
            site.analytics.track(
                Event(event_name="checkout.completed", user_id=f"someone@{country}.example", visit=visit)
            )
        assert site.analytics.flush()
        watched.page.set_viewport_size({"width": width, "height": 844})
        shown = watched.open(f"{site.url}/live")
        assert shown.evaluate("document.documentElement.scrollWidth") <= width
        card = shown.locator(".tabs").bounding_box()
        for label in shown.locator(".tabs > label").all():
            box = label.bounding_box()
            assert box["x"] + box["width"] <= card["x"] + card["width"]
        name = shown.locator("[data-table=stream] tbody th").first
        assert name.inner_text() == "checkout.completed"
        # One line of it.
        assert name.bounding_box()["height"] < 40
