"""Saving, annotating, sharing and erasing in a real browser, over each framework, with hostile text in every field."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from conftest import Watched
from dashboards import ATTACKS, FRAMEWORKS, Served, served

from analytics_middleware import Analytics
from analytics_middleware.demo.servers import serve_wsgi
from analytics_middleware.web.dashboard import Dashboard
from analytics_middleware.web.share import shares_of
from analytics_middleware.web.wsgi import WSGIRunner

INTRUDERS = (
    "document.querySelectorAll('main script, main img, main [onload], main [onerror], [href^=javascript]').length"
)
# What a line of text can hold: the browser takes line breaks out, and the server says how long it may be.
HOSTILE = tuple(text for text in ATTACKS if "\n" not in text and len(text) < 100)


@pytest.fixture(scope="module", params=FRAMEWORKS)
def site(request: pytest.FixtureRequest) -> Iterator[Served]:
    """A dashboard of this module's own: what is saved here is in nobody's way."""
    with served(request.param, "demo") as made:
        yield made


@pytest.fixture
def somebody(chromium: Any) -> Iterator[Watched]:
    """Another browser, without cookies, in the dark on a phone."""
    context = chromium.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    watched = Watched(context.new_page())
    yield watched
    cookies, complaints = context.cookies(), watched.complaints
    context.close()
    assert (cookies, complaints) == ([], [])


def press(shown: Any, button: Any) -> None:
    """Press a button that leads to another page."""
    with shown.expect_navigation():
        button.click()


def test_a_funnel_is_built_saved_and_opened_again(site: Served, watched: Watched):
    shown = watched.open(f"{site.url}/funnels")
    for number, event in enumerate(("pageview", "search.submitted", "purchase")):
        shown.locator("select[name=step]").nth(number).select_option(event)
        press(shown, shown.get_by_role("button", name="Show").last)
    counted = shown.locator(".tile strong").all_inner_texts()
    shown.get_by_label("Name", exact=True).last.fill("Search to purchase")
    press(shown, shown.get_by_role("button", name="Save this funnel"))
    assert shown.locator(".chip[aria-current]").inner_text() == "Search to purchase"
    watched.open(f"{site.url}/funnels").locator(".chip", has_text="Search to purchase").click()
    shown.wait_for_url("**step=pageview&step=search.submitted&step=purchase*")
    assert shown.locator(".tile strong").all_inner_texts() == counted
    watched.open(f"{site.url}/saved")
    press(shown, shown.locator("tr", has_text="Search to purchase").get_by_role("button", name="Delete"))
    assert "Search to purchase" not in shown.locator("main").inner_text()


def test_an_annotation_is_marked_listed_and_told_to_the_arrow_keys(site: Served, watched: Watched):
    shown = watched.open(f"{site.url}/?period=7d")
    shown.locator(".annotations summary").click()
    shown.get_by_label("Day", exact=True).fill((datetime.now(UTC) - timedelta(days=2)).date().isoformat())
    shown.get_by_label("What happened").fill("New prices")
    press(shown, shown.get_by_role("button", name="Annotate"))
    assert shown.locator(".mark").count() == 1
    assert shown.locator(".annotations summary").inner_text() == "1 annotation"
    row = shown.locator(".chart tbody tr").filter(has_text="New prices")
    day = row.locator("th").inner_text()
    drawing = shown.locator(".drawing")
    drawing.focus()
    while day not in shown.locator(".tip").inner_text():
        shown.keyboard.press("ArrowLeft")
    assert "Annotation: New prices" in shown.locator(".tip").inner_text()
    shown.keyboard.press("ArrowLeft")
    assert "Annotation" not in shown.locator(".tip").inner_text()
    shown.locator(".annotations summary").click()
    press(shown, shown.get_by_role("button", name="Delete"))
    assert shown.locator(".mark").count() == 0


def test_filters_are_saved_and_put_on_another_page(site: Served, watched: Watched):
    shown = watched.open(f"{site.url}/?period=7d")
    press(shown, shown.locator("[data-table=devices] tbody a").first)
    chip = shown.locator("a.chip").first.inner_text()
    shown.locator("summary", has_text="Saved").click()
    shown.get_by_label("Name for these filters").fill("Most of them")
    press(shown, shown.get_by_role("button", name="Save", exact=True))
    watched.open(f"{site.url}/paths?event=pageview").locator("summary", has_text="Saved").click()
    shown.get_by_role("link", name="Most of them").click()
    shown.wait_for_url("**where=*")
    assert shown.locator("a.chip").first.inner_text() == chip
    assert "event=pageview" in shown.url
    assert "period=7d" in shown.url


def test_a_shared_page_opens_in_a_fresh_browser_and_leads_nowhere(site: Served, watched: Watched, somebody: Watched):
    shown = watched.open(f"{site.url}/?period=yesterday")
    counted = shown.locator("[data-tile] strong").all_inner_texts()
    shown.locator("summary", has_text="Share").click()
    shown.get_by_label("For whom").fill("The board")
    shown.get_by_role("button", name="Make a link").click()
    shown.wait_for_url("**/saved?made=*")
    address = shown.locator(".made .address").input_value()
    assert address.startswith(f"{site.url}/shared/")
    theirs = somebody.open(address)
    assert theirs.locator("[data-tile] strong").all_inner_texts() == counted
    assert theirs.locator("nav, form, dialog").count() == 0
    assert theirs.evaluate("document.documentElement.scrollWidth") <= 390
    inside = theirs.evaluate("[...document.querySelectorAll('main a[href], footer a[href]')].map(each => each.href)")
    assert {each.split("?")[0] for each in inside if each.startswith(site.url)} == {address}
    theirs.locator(".drawing").hover()
    assert "Visitors:" in theirs.locator(".tip").inner_text()
    press(shown, shown.locator(".made").get_by_role("button", name="Revoke"))
    assert somebody.page.goto(address).status == 410
    assert "opens nothing" in theirs.locator("h1").inner_text()
    # The one answer that is no page, and what the browser says of it.
    assert [each for each in somebody.complaints if "410" not in each] == []
    somebody.complaints.clear()


def test_a_user_is_erased_after_being_asked_twice(site: Served, watched: Watched):
    shown = watched.open(f"{site.url}/users")
    press(shown, shown.locator("table.list tbody a:not(:has(+ .quiet))").first)
    user = shown.get_by_label("User id").input_value()
    press(shown, shown.get_by_role("link", name="Erase this user"))
    shown.get_by_role("button", name="Erase for good").click()
    # Without the tick the browser does not even send it.
    assert shown.locator("h1").inner_text() == f"Erase {user}?"
    shown.get_by_label("I am sure").check()
    press(shown, shown.get_by_role("button", name="Erase for good"))
    assert shown.locator("h1").inner_text() == f"Erased: {user}"
    assert site.analytics.flush()
    assert "Nobody of this id" in watched.open(f"{site.url}/users?user_id={user}").locator("main").inner_text()


def test_hostile_text_in_every_field_is_text(site: Served, watched: Watched, request: pytest.FixtureRequest):
    # Each framework gets its share.
    texts = HOSTILE[FRAMEWORKS.index(request.node.callspec.params["site"]) :: len(FRAMEWORKS)]
    for text in texts:
        shown = watched.open(f"{site.url}/funnels?step=pageview&breakdown=device")
        shown.get_by_label("Name", exact=True).last.fill(text)
        press(shown, shown.get_by_role("button", name="Save this funnel"))
        watched.open(f"{site.url}/?period=7d")
        shown.locator(".annotations summary").click()
        shown.get_by_label("What happened").fill(text)
        press(shown, shown.get_by_role("button", name="Annotate"))
        shown.locator("summary", has_text="Saved").click()
        shown.get_by_label("Name for these filters").fill(text)
        press(shown, shown.get_by_role("button", name="Save", exact=True))
        shown.locator("summary", has_text="Share").click()
        shown.get_by_label("For whom").fill(text)
        press(shown, shown.get_by_role("button", name="Make a link"))
    for page in ("", "funnels", "events", "saved"):
        shown = watched.open(f"{site.url}/{page}")
        assert shown.evaluate(INTRUDERS) == 0
        shown.set_viewport_size({"width": 390, "height": 844})
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390, page
        shown.set_viewport_size({"width": 1280, "height": 900})
    shown = watched.open(f"{site.url}/saved")
    names = shown.locator("th[scope=row]").all_inner_texts()
    assert [names.count(text.strip()) for text in texts] == [3] * len(texts)
    for _ in range(4 * len(texts)):
        press(shown, watched.open(f"{site.url}/saved").locator("button[name=key]").last)


def test_all_of_it_works_without_javascript(site: Served, chromium: Any):
    context = chromium.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(f"{site.url}/?period=yesterday")
    shown.locator(".annotations summary").click()
    shown.get_by_label("What happened").fill("No script here")
    press(shown, shown.get_by_role("button", name="Annotate"))
    assert "No script here" in shown.locator(".annotations").text_content()
    shown.locator("summary", has_text="Share").click()
    press(shown, shown.get_by_role("button", name="Make a link"))
    press(shown, shown.locator(".made").get_by_role("link", name="Open"))
    assert "/shared/" in shown.url
    assert shown.locator("h1").inner_text() == "Overview"
    for name in ("Revoke", "Delete"):
        shown.goto(f"{site.url}/saved")
        press(shown, shown.get_by_role("button", name=name).last)
    assert "No script here" not in shown.locator("main").text_content()
    context.close()


@pytest.mark.parametrize("allowed", [True, False])
def test_a_shared_page_is_framed_where_that_is_allowed_and_nowhere_else(chromium: Any, allowed: bool):
    def intranet(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("content-type", "text/html")])
        return [f'<iframe src="{environ["QUERY_STRING"]}" width="900" height="700"></iframe>'.encode()]

    with serve_wsgi(intranet, 0) as outer:
        ancestors = [f"http://127.0.0.1:{outer}"] if allowed else ["https://other.example"]
        analytics = Analytics(enabled=True, frame_ancestors=ancestors)
        shares = shares_of(analytics)
        with serve_wsgi(WSGIRunner(Dashboard(analytics)), 0) as inner:
            page = chromium.new_page()
            refused: list[str] = []
            page.on("console", lambda message: refused.append(message.text))
            for path in (f"shared/{shares.token(shares.make('', 'period=7d'))}", "live"):
                refused.clear()
                page.goto(f"http://127.0.0.1:{outer}/?http://127.0.0.1:{inner}/analytics/{path}")
                shown = page.frame_locator("iframe").locator("#main h1").all_inner_texts()
                assert shown == (["Overview"] if allowed and path != "live" else [])
                assert any("frame-ancestors" in text or "frame" in text for text in refused) is (not shown)
            page.close()
        analytics.close(1.0)
