"""A page that stays open: sessions end, servers go away, people come back to it, read and copy from it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from analytics_middleware import Analytics, Event
from analytics_middleware.demo.servers import serve_asgi, serve_wsgi
from analytics_middleware.store import MemoryStore
from analytics_middleware.web.asgi import ASGIRunner
from analytics_middleware.web.dashboard import Dashboard
from analytics_middleware.web.wsgi import WSGIRunner

TURN = "document.dispatchEvent(new Event('visibilitychange'))"


class Open:
    """A dashboard whose readers can be locked out, and whose server can end."""

    def __init__(self, streams: bool) -> None:
        self.allowed = True
        self.stack = ExitStack()
        self.analytics = Analytics(enabled=True, store=MemoryStore(), authorize=lambda request: self.allowed)
        self.stack.callback(self.analytics.close, 1.0)
        app = Dashboard(self.analytics)
        running = serve_asgi(ASGIRunner(app), 0) if streams else serve_wsgi(WSGIRunner(app), 0)
        self.url = f"http://127.0.0.1:{self.stack.enter_context(running)}/analytics"

    def track(self, name: str) -> None:
        self.analytics.track(Event(event_name=name, user_id=f"who did {name}"))
        assert self.analytics.flush()


@pytest.fixture
def make() -> Iterator[Callable[[bool], Open]]:
    with ExitStack() as stack:

        def made(streams: bool) -> Open:
            site = Open(streams)
            stack.enter_context(site.stack)
            return site

        yield made


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page whose clock the test moves on; failed requests are its subject."""
    context = chromium.new_context()
    page = context.new_page()
    page.clock.install()
    yield page
    context.close()


def stale(page: Any, text: str) -> None:
    page.locator("[data-stale]", has_text=text).wait_for()


@pytest.mark.parametrize("streams", [False, True])
def test_whoever_is_signed_out_meanwhile_is_told_and_goes_on_when_signed_in_again(make, page: Any, streams: bool):
    site = make(streams)
    page.goto(f"{site.url}/live")
    site.allowed = False
    if streams:
        # Hidden pages close their connection. The next one is refused.
        page.evaluate(f"Object.defineProperty(document, 'hidden', {{value: true, configurable: true}}); {TURN}")
        page.evaluate(f"delete document.hidden; {TURN}")
    else:
        page.clock.run_for(4000)
    stale(page, "you are signed out")
    site.allowed = True
    site.track("again")
    page.clock.run_for(4000)
    page.locator("[data-table=stream]", has_text="again").wait_for()
    assert page.locator("[data-stale]").inner_text() == ""


def test_a_page_behind_an_application_that_asks_to_sign_in_says_so(make, page: Any):
    site = make(False)
    page.goto(f"{site.url}/live")
    page.route("**/live", lambda route: route.fulfill(status=302, headers={"location": "https://login.example/"}))
    page.clock.run_for(4000)
    stale(page, "you are signed out")
    page.route("**/live", lambda route: route.fulfill(body="<h1>Please sign in</h1>", content_type="text/html"))
    page.clock.run_for(4000)
    stale(page, "you are signed out")
    assert page.locator("[data-now]").inner_text() == "0"


@pytest.mark.parametrize("streams", [False, True])
def test_a_server_that_went_away_is_told(make, page: Any, streams: bool):
    site = make(streams)
    page.goto(f"{site.url}/live")
    site.stack.close()
    if not streams:
        with page.expect_event("requestfailed"):
            page.clock.run_for(4000)
        assert page.locator("[data-stale]").inner_text() == ""
        page.clock.run_for(4000)
    stale(page, "the server does not answer")


def test_whoever_comes_back_sees_the_figures_of_now(make, page: Any):
    site = make(False)
    page.goto(f"{site.url}/")
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    site.track("meanwhile")
    page.evaluate(TURN)
    page.evaluate(f"delete document.hidden; {TURN}")
    page.locator("[data-table=events]", has_text="meanwhile").wait_for()


def test_nothing_is_taken_from_under_a_click_or_out_of_a_selection(make, page: Any):
    site = make(False)
    site.track("first")
    page.goto(f"{site.url}/live")
    link = page.locator("[data-table=stream] a")
    link.hover()
    page.mouse.down()
    site.track("second")
    page.clock.run_for(4000)
    page.mouse.up()
    page.wait_for_url("**/users?user_id=*")
    page.goto(f"{site.url}/live")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('[data-table=stream] tbody tr'))")
    site.track("third")
    page.clock.run_for(4000)
    assert "second" in page.evaluate("getSelection().toString()")
    page.evaluate("getSelection().removeAllRanges()")
    page.clock.run_for(4000)
    page.locator("[data-table=stream]", has_text="third").wait_for()


def test_after_midnight_the_period_is_that_of_the_new_day(make, watched: Any):
    site = make(False)
    shown = watched.open(f"{site.url}/")
    days = shown.locator("[data-days]").inner_text()
    shown.evaluate("document.querySelector('[data-days]').textContent = 'of yesterday'")
    shown.evaluate(TURN)
    shown.locator("[data-days]", has_text=days).wait_for()
