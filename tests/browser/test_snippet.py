"""The browser's script in a real browser, on real servers: what it counts, what it leaves to the server, and when."""

import gzip
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from analytics_middleware.web.snippet import MINIFIED

HERE = Path(__file__).parent
SERVERS = {
    "uvicorn": ("uvicorn", "snippet_site:make_asgi", "--factory", "--fd", "{fd}", "--log-level", "warning"),
    "gunicorn": (
        "gunicorn",
        "snippet_site:make_wsgi()",
        "--bind",
        "fd://{fd}",
        "--threads",
        "8",
        "--log-level",
        "warning",
    ),
}
OPEN_TIMEOUT = 30.0
AWAY = "document.dispatchEvent(new Event('visibilitychange', {bubbles: true}))"


class Site:
    """A running server, and what it has recorded since the test began."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self._seen = 0

    def forget(self) -> None:
        self._seen = len(self._ask(0))

    def events(self, count: int) -> list[dict[str, Any]]:
        """Wait for *count* events since the test began; return all that there are then."""
        return self._ask(self._seen + count)[self._seen :]

    def traits(self, user_id: str) -> dict[str, Any]:
        traits: dict[str, Any] = self._get(f"traits?user={user_id}")
        return traits

    def _ask(self, count: int) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = self._get(f"events?count={count}")
        return events

    def _get(self, path: str) -> Any:
        for attempts_left in (2, 1, 0):
            try:
                with urllib.request.urlopen(f"{self.url}/-/{path}", timeout=OPEN_TIMEOUT) as answer:
                    return json.load(answer)
            except ConnectionError:
                # On a busy machine gunicorn drops a connection whose request does not come within two seconds.
                if not attempts_left:
                    raise
        return None


@contextmanager
def running(server: str, log: Path, **settings: Any) -> Iterator[Site]:
    # The socket listens before the server runs: connections wait for it, and no port can be taken meanwhile.
    with socket.create_server(("127.0.0.1", 0)) as listening, log.open("wb") as output:
        port = listening.getsockname()[1]
        if settings.pop("elsewhere", False):
            settings["allowed_origins"] = [f"http://localhost:{port}"]
        process = subprocess.Popen(
            [sys.executable, "-m", *(part.format(fd=listening.fileno()) for part in SERVERS[server])],
            cwd=log.parent,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(filter(None, [str(HERE), os.environ.get("PYTHONPATH")])),
                # Where gunicorn keeps its control socket.
                "HOME": str(log.parent),
                "SNIPPET_SETTINGS": json.dumps(settings),
                "SNIPPET_ORIGIN": f"http://127.0.0.1:{port}",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[listening.fileno()],
            start_new_session=True,
        )
        listening.close()
        try:
            yield Site(port)
        except BaseException as error:
            error.add_note(log.read_text()[-4000:])
            raise
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Site]]:
    """Starts servers, each once: ``started("uvicorn", write_key=...)``."""
    with ExitStack() as stack:
        sites: dict[str, Site] = {}

        def start(server: str, **settings: Any) -> Site:
            key = f"{server} {settings}"
            if key not in sites:
                log = tmp_path_factory.mktemp("server") / "log"
                sites[key] = stack.enter_context(running(server, log, **settings))
            sites[key].forget()
            return sites[key]

        yield start


@pytest.fixture(params=list(SERVERS))
def site(request: pytest.FixtureRequest, started: Callable[..., Site]) -> Site:
    return started(request.param)


@pytest.fixture
def open_page(chromium: Any) -> Iterator[Callable[..., Any]]:
    """Opens a page in a browser of its own, and sees to it that it never complained."""
    with ExitStack() as stack:
        complaints: list[str] = []

        def note(message: Any) -> None:
            if message.type in ("error", "warning") and "favicon" not in str(message.location):
                complaints.append(message.text)

        def open_(url: str, before: str = "", expected: str = "$^", cookies: dict[str, str] | None = None) -> Any:
            context = chromium.new_context()
            # Callbacks run from the last to the first: the last complaints arrive when the context is closed.
            stack.callback(
                lambda: complaints.__setitem__(slice(None), [c for c in complaints if not re.search(expected, c)])
            )
            stack.callback(context.close)
            context.add_cookies([{"name": name, "value": value, "url": url} for name, value in (cookies or {}).items()])
            if before:
                context.add_init_script(before)
            page = context.new_page()
            page.on("console", note)
            page.on("pageerror", lambda error: complaints.append(str(error)))
            page.goto(url)
            return page

        yield open_
    assert complaints == []


def brief(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event.get("event_name") or event["type"], event.get("path", "")) for event in events]


def test_the_page_that_the_server_counted_is_not_counted_again(site: Site, open_page):
    page = open_page(f"{site.url}/page")
    page.evaluate("analytics.track('after')")
    assert brief(site.events(2)) == [("pageview", "/page"), ("after", "/page")]


def test_an_event_has_its_page_its_properties_and_the_visitor_of_the_page_view(site: Site, open_page):
    page = open_page(f"{site.url}/page?utm_source=news&secret=1#fragment")
    with page.expect_request("**/events") as sending:
        page.evaluate("analytics.track('video.played', {title: 'Intro', seconds: 12, tags: ['a']})")
    request = sending.value
    assert request.headers["content-type"].startswith("text/plain")
    view, event = site.events(2)
    assert event["event_name"] == "video.played"
    assert event["properties"] == {"title": "Intro", "seconds": 12, "tags": '["a"]'}
    assert event["url"] == f"{site.url}/page?utm_source=news"
    assert event["visit"]["session_id"] == view["visit"]["session_id"]
    assert (event["anon_id"], event["user_agent"]) == (view["anon_id"], view["user_agent"])
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", event["event_id"])


def test_what_happens_together_is_sent_together(site: Site, open_page):
    page = open_page(f"{site.url}/page")
    sent: list[Any] = []
    page.on("request", lambda request: sent.append(request) if request.url.endswith("/events") else None)
    with page.expect_request("**/events"):
        page.evaluate("for (let i = 0; i < 5; i++) analytics.track('step ' + i)")
    assert [name for name, _ in brief(site.events(6))[1:]] == [f"step {number}" for number in range(5)]
    page.evaluate("0")
    assert len(sent) == 1


def test_pages_within_the_page_are_page_views_each_with_the_one_before_as_its_referrer(site: Site, open_page):
    page = open_page(f"{site.url}/start")
    page.evaluate("history.pushState({}, '', '/list?utm_source=x')")
    page.evaluate("history.pushState({}, '', '/list?utm_source=x')")
    page.evaluate("history.pushState({}, '', '#part')")
    page.evaluate("history.pushState({}, '', '/item')")
    page.evaluate("history.replaceState({}, '', '/item?filter=1')")
    page.evaluate("history.replaceState({}, '', '/moved')")
    page.evaluate("new Promise(done => { addEventListener('popstate', done, {once: true}); history.go(-1) })")
    page.evaluate("analytics.flush()")
    events = site.events(5)
    assert brief(events) == [
        ("pageview", "/start"),
        ("pageview", "/list"),
        ("pageview", "/item"),
        ("pageview", "/moved"),
        ("pageview", "/list"),
    ]
    assert [event.get("referrer") for event in events[1:]] == [
        f"{site.url}/start",
        f"{site.url}/list?utm_source=x",
        f"{site.url}/item",
        f"{site.url}/moved",
    ]
    assert len({event["visit"]["session_id"] for event in events}) == 1


def test_page_views_can_be_switched_off_and_the_first_one_on(site: Site, open_page):
    page = open_page(f"{site.url}/page?data-pages=off")
    page.evaluate("history.pushState({}, '', '/other'); analytics.track('end')")
    assert brief(site.events(2)) == [("pageview", "/page"), ("end", "/other")]
    site.forget()
    open_page(f"{site.url}/static?data-first=on")
    assert brief(site.events(2)) == [("pageview", "/static")] * 2


def test_a_page_out_of_a_cache_is_counted_for_the_server_was_not_asked(site: Site, open_page):
    page = open_page(f"{site.url}/kept")
    page.click("#away")
    page.wait_for_url("**/away")
    page.click("#back")
    page.wait_for_url("**/kept")
    page.evaluate("analytics.flush()")
    assert brief(site.events(3)) == [("pageview", "/kept"), ("pageview", "/away"), ("pageview", "/kept")]


def test_a_page_that_comes_back_from_memory_is_counted(site: Site, open_page):
    page = open_page(f"{site.url}/page")
    page.evaluate("dispatchEvent(new PageTransitionEvent('pageshow', {persisted: true})); analytics.flush()")
    assert brief(site.events(2)) == [("pageview", "/page")] * 2


@pytest.mark.parametrize("leave", ["close", "navigate"])
def test_what_waits_when_the_page_is_left_arrives(site: Site, open_page, leave):
    page = open_page(f"{site.url}/page")
    page.evaluate("analytics.track('last words', {n: 1}); analytics.track('and these')")
    if leave == "close":
        page.close(run_before_unload=True)
    else:
        page.goto("about:blank")
    assert [name for name, _ in brief(site.events(3))] == ["pageview", "last words", "and these"]


def test_much_at_once_goes_in_requests_that_the_server_takes(site: Site, open_page):
    page = open_page(f"{site.url}/page")
    page.evaluate("for (let i = 0; i < 60; i++) analytics.track('big', {i, text: 'ü'.repeat(3000)})")
    page.evaluate("analytics.flush()")
    events = site.events(61)[1:]
    assert sorted(event["properties"]["i"] for event in events) == list(range(60))


def test_what_did_not_arrive_is_sent_again_and_counts_once(site: Site, open_page):
    page = open_page(f"{site.url}/page", expected="ERR_FAILED|503")
    answers = iter(["abort", "abort", "busy"])

    def fail(route: Any) -> None:
        match next(answers, None):
            case "abort":
                route.abort()
            case "busy":
                route.fulfill(status=503)
            case None:
                route.continue_()

    page.route("**/events", fail)
    failed: list[Any] = []
    page.on("requestfailed", lambda request: failed.append(request))
    with page.expect_event("requestfailed", lambda _request: len(failed) == 2):
        page.evaluate("analytics.track('kept'); analytics.flush()")
    with page.expect_response("**/events") as refused:
        page.evaluate("analytics.flush()")
    assert refused.value.status == 503
    with page.expect_response(lambda answer: answer.url.endswith("/events") and answer.status == 202):
        page.wait_for_function("() => { analytics.flush(); return true }")
    assert brief(site.events(2)) == [("pageview", "/page"), ("kept", "/page")]


@pytest.mark.parametrize(
    "objection",
    [
        "Object.defineProperty(navigator, 'globalPrivacyControl', {value: true})",
        "Object.defineProperty(navigator, 'doNotTrack', {value: '1'})",
    ],
)
def test_who_objects_is_left_alone_and_pages_that_call_it_still_work(site: Site, open_page, objection):
    page = open_page(f"{site.url}/page?data-first=on", before=objection)
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url))
    page.evaluate("analytics.track('a'); analytics.identify('b'); history.pushState({}, '', '/x'); analytics.flush()")
    page.goto(f"{site.url}/end?data-first=on")
    assert [url for url in sent if "/api/" in url and not url.endswith(".js")] == []
    assert brief(site.events(2)) == [("pageview", "/page"), ("pageview", "/end")]


def test_identify_is_believed_of_who_is_signed_in(site: Site, open_page):
    page = open_page(f"{site.url}/page", cookies={"user": "ann"})
    for user in ("ann", "bob"):
        with page.expect_response("**/identify") as response:
            page.evaluate(f"analytics.identify('{user}', {{plan: 'pro'}})")
        assert response.value.status == 202
    assert site.traits("ann") == {"plan": "pro"}
    assert site.traits("bob") == {}
    page.evaluate("analytics.track('a')")
    assert [event["user_id"] for event in site.events(2)] == ["ann", "ann"]


def test_no_argument_can_break_the_page(site: Site, open_page):
    page = open_page(f"{site.url}/page")
    page.evaluate(
        r"""const cycle = {}; cycle.self = cycle;
        analytics.track("a", cycle); analytics.identify("a", cycle); analytics.track("a", {n: 10n});
        analytics.track("b", {f() {}, n: NaN, u: undefined, s: "\ud800\\ud800\ud83d\ude00", d: new Date(0)})"""
    )
    (_, event) = site.events(2)
    assert (event["event_name"], event["properties"]) == (
        "b",
        {"n": None, "s": "\ufffd\\ud800\U0001f600", "d": "1970-01-01T00:00:00.000Z"},
    )


def test_what_is_no_event_takes_no_other_along(site: Site, open_page):
    page = open_page(f"{site.url}/page")
    page.evaluate(
        """for (const name of [undefined, null, 5, {}, ["x"], "", "  "]) analytics.track(name, {x: 1});
        analytics.track(" " + "n".repeat(300));
        for (const properties of [[1], "text", 5, null]) analytics.track("bare", properties);
        history.pushState({}, "", "/next")"""
    )
    events = site.events(7)
    bare = [("bare", "/page")] * 4
    assert brief(events) == [("pageview", "/page"), ("n" * 256, "/page"), *bare, ("pageview", "/next")]
    assert [event.get("properties") or {} for event in events[1:]] == [{}] * 6


def test_an_address_goes_without_its_fragment_and_no_longer_than_the_server_takes(site: Site, open_page):
    page = open_page(f"{site.url}/page")
    with page.expect_request("**/events") as sending:
        page.evaluate(
            """location.hash = "#" + "x".repeat(17000); analytics.track("here");
            history.pushState({}, "", "/long?q=" + "y".repeat(17000)); history.pushState({}, "", "/next");
            analytics.flush()"""
        )
    long = f"{site.url}/long?q=".ljust(2048, "y")
    sent = json.loads(sending.value.post_data)["events"]
    assert [event["url"] for event in sent] == [f"{site.url}/page", long, f"{site.url}/next"]
    assert [event.get("referrer") for event in sent] == [None, f"{site.url}/page", long]
    assert [path for _, path in brief(site.events(4))] == ["/page", "/page", "/long", "/next"]


def test_what_the_server_refuses_is_lost_alone(site: Site, open_page):
    """To the server a name of a separator is blank, and to the browser it is not."""
    page = open_page(f"{site.url}/page", expected="400")
    page.evaluate(
        """for (const name of ["a", "b", "\\x1f", "c", "\\x1f", "d"]) analytics.track(name);
        history.pushState({}, "", "/next"); analytics.flush()"""
    )
    assert sorted(name for name, _ in brief(site.events(6))) == ["a", "b", "c", "d", "pageview", "pageview"]


def test_what_is_older_than_a_day_is_left_out_and_what_is_fresh_arrives(site: Site, open_page):
    page = open_page(f"{site.url}/page")
    page.evaluate(
        """analytics.track("old"); const now = Date.now; Date.now = () => now() + 25 * 3600e3;
        analytics.track("fresh"); analytics.flush()"""
    )
    assert brief(site.events(2)) == [("pageview", "/page"), ("fresh", "/page")]


@pytest.mark.parametrize(
    "away",
    [
        AWAY,
        "dispatchEvent(new PageTransitionEvent('pagehide', {persisted: true}))",
    ],
    ids=["hidden", "in memory"],
)
def test_a_page_put_away_without_network_keeps_what_it_has(site: Site, open_page, away):
    hidden = "Object.defineProperty(document, 'visibilityState', {get: () => 'hidden'})"
    page = open_page(f"{site.url}/page", before=hidden, expected="ERR_INTERNET_DISCONNECTED")
    page.context.set_offline(True)
    page.evaluate(f"analytics.track('kept'); {away}")
    page.context.set_offline(False)
    page.evaluate("analytics.flush()")
    assert brief(site.events(2)) == [("pageview", "/page"), ("kept", "/page")]


def test_a_hidden_page_keeps_what_the_server_did_not_take_and_sends_it_when_the_line_is_back(site: Site, open_page):
    hidden = "Object.defineProperty(document, 'visibilityState', {get: () => 'hidden'})"
    page = open_page(f"{site.url}/page", before=hidden, expected="503")
    page.route("**/events", lambda route: route.fulfill(status=503))
    with page.expect_response("**/events"):
        page.evaluate(f"analytics.track('kept'); {AWAY}")
    page.unroute("**/events")
    with page.expect_response(lambda answer: answer.url.endswith("/events") and answer.status == 202):
        page.wait_for_function("() => { dispatchEvent(new Event('online')); return true }")
    assert brief(site.events(2)) == [("pageview", "/page"), ("kept", "/page")]


def test_a_server_that_is_away_is_asked_less_and_less_often(site: Site, open_page):
    tell = """const real = setTimeout; window.pauses = [];
        window.setTimeout = (what, pause) => { pauses.push(pause); return real(what, pause) }"""
    page = open_page(f"{site.url}/page", before=tell, expected="503")
    page.route("**/events", lambda route: route.fulfill(status=503))
    page.evaluate("analytics.track('kept')")
    for times in range(2, 10):
        page.evaluate("analytics.flush()")
        page.wait_for_function(f"() => pauses.length === {times}")
    assert page.evaluate("pauses") == [1000, 9000, 18000, 36000, 72000, 144000, 288000, 300000, 300000]
    page.unroute("**/events")
    with page.expect_response("**/events"):
        page.evaluate("analytics.flush()")
    page.route("**/events", lambda route: route.fulfill(status=503))
    page.evaluate("analytics.track('later'); analytics.flush()")
    page.wait_for_function("() => pauses.length === 11")
    assert page.evaluate("pauses.slice(9)") == [1000, 9000]


def test_what_happens_on_a_prerendered_page_counts_once_somebody_looks_at_it(site: Site, open_page):
    unseen = "Object.defineProperty(document, 'prerendering', {value: true, configurable: true})"
    page = open_page(f"{site.url}/page?data-pages=off", before=unseen)
    page.evaluate("analytics.track('ready'); analytics.flush()")
    assert brief(site.events(1)) == [("pageview", "/page")]
    page.evaluate("delete document.prerendering; document.dispatchEvent(new Event('prerenderingchange'))")
    assert brief(site.events(2)) == [("pageview", "/page"), ("ready", "/page")]


def test_a_script_that_runs_again_changes_nothing(site: Site, open_page):
    """As one in the body does under Turbo."""
    page = open_page(f"{site.url}/page")
    page.evaluate(
        """new Promise((done) => {
            const again = document.createElement("script");
            again.src = document.querySelector("script").src;
            again.onload = done;
            document.body.append(again);
        })"""
    )
    with page.expect_response("**/events"):
        page.evaluate("history.pushState({}, '', '/next'); analytics.flush()")
    page.goto(f"{site.url}/end")
    assert brief(site.events(3)) == [("pageview", "/page"), ("pageview", "/next"), ("pageview", "/end")]


def test_without_network_the_last_200_are_kept_and_no_event_sends_them_all_again(site: Site, open_page):
    tell = """const real = fetch; window.begun = window.over = 0;
        window.fetch = (...it) => { begun++; return real(...it).finally(() => over++) }"""
    page = open_page(f"{site.url}/page", before=tell, expected="ERR_INTERNET_DISCONNECTED")
    page.context.set_offline(True)
    page.evaluate("for (let i = 0; i < 260; i++) analytics.track('step', {i})")
    # Twenty at a time, each once kept alive and once not.
    page.wait_for_function("() => over === 26")
    assert page.evaluate("for (let i = 260; i < 400; i++) analytics.track('step', {i}); begun") == 26
    page.context.set_offline(False)
    page.evaluate("analytics.flush()")
    steps = sorted(event["properties"]["i"] for event in site.events(201)[1:])
    assert steps == list(range(200, 400))


def test_the_write_key_goes_along(started, open_page):
    site = started("uvicorn", write_key="public-key-1")
    page = open_page(f"{site.url}/page?data-key=public-key-1")
    page.evaluate("analytics.track('a')")
    assert brief(site.events(2))[1] == ("a", "/page")


def test_a_page_of_an_allowed_origin_can_use_it(started, open_page):
    site = started("gunicorn", elsewhere=True)
    page = open_page(f"http://localhost:{site.port}/page?script={site.url}")
    page.evaluate("analytics.track('a')")
    view, event = site.events(2)
    assert (event["event_name"], event["hostname"], view["hostname"]) == ("a", "localhost", "localhost")


def test_an_event_that_is_more_than_the_server_takes_is_not_sent_for_ever(started, open_page):
    """A server that does not read all of it may close the connection, and the page never learns that it said 413."""
    site = started("gunicorn", elsewhere=True)
    tell = "const real = fetch; window.over = 0; window.fetch = (...it) => real(...it).finally(() => window.over++)"
    page = open_page(f"http://localhost:{site.port}/page?script={site.url}", before=tell, expected="413|ERR_")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if "/events" in request.url else None)
    page.evaluate("analytics.track('huge', {text: 'ü'.repeat(33000)}); analytics.flush()")
    # Once kept alive, which browsers refuse, and once not.
    page.wait_for_function("() => window.over === 2")
    sent.clear()
    page.evaluate("analytics.track('after'); analytics.flush()")
    assert brief(site.events(2)) == [("pageview", "/page"), ("after", "/page")]
    assert ["huge" in body for body in sent] == [False]


def test_the_script_is_small_cacheable_and_served_to_all(site: Site):
    url = f"{site.url}/api/analytics/analytics.js"
    with urllib.request.urlopen(url, timeout=OPEN_TIMEOUT) as answer:
        script, headers = answer.read(), answer.headers
    assert len(script) <= 2600
    assert len(gzip.compress(script, 9)) <= 2048
    assert headers["content-type"].startswith("text/javascript")
    assert "max-age" in headers["cache-control"]
    request = urllib.request.Request(url, headers={"If-None-Match": headers["etag"]})
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request, timeout=OPEN_TIMEOUT)
    assert caught.value.status == 304
    caught.value.close()


def test_the_minified_script_is_made_of_the_source_beside_it():
    minified = MINIFIED.read_text()
    digest = hashlib.sha256(MINIFIED.with_name("analytics.js").read_bytes()).hexdigest()[:8]
    assert minified.startswith(f"/*{digest}*/"), "analytics.js changed: minify it again, as its first lines say"
    for forbidden in ("eval(", "Function(", "innerHTML", "document.write", "localStorage", "document.cookie"):
        assert forbidden not in minified
