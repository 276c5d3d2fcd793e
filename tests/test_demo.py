"""The demo: it shows every kind of event, on any machine, and ends when it is told to."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from http.cookiejar import CookieJar
from itertools import islice
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener
from wsgiref.validate import validator

import pytest

import analytics_middleware
from analytics_middleware import Analytics, Event, EventType
from analytics_middleware.cli import main
from analytics_middleware.demo import examples
from analytics_middleware.demo.blog import make_blog
from analytics_middleware.demo.examples import FRAMEWORKS
from analytics_middleware.demo.history import month
from analytics_middleware.demo.load import Load
from analytics_middleware.demo.servers import serve_wsgi
from analytics_middleware.demo.traffic import Traffic
from analytics_middleware.store import Insights, MemoryStore

DEMO = [sys.executable, "-m", "analytics_middleware", "demo"]
LIMIT = 30
CHECKOUT = (Path(analytics_middleware.__file__).parent.parent / "examples").is_dir()
SUMMARY = re.compile(
    r"(\d+) requests in [\d.]+ s: .*\n(\d+) events accepted\nstdout: (\d+) delivered, 0 pending, 0 dead"
)


def environment() -> dict[str, str]:
    """This process's, without what says that tests are running, for then the examples' analytics is off."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}


def demo(*words: str) -> str:
    ended = subprocess.run(
        [*DEMO, *words], capture_output=True, text=True, env=environment(), timeout=LIMIT, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout


def test_one_visit_shows_every_kind_of_event_and_revenue() -> None:
    out = demo("--once")
    for fragment in (
        "pageview",
        "action   purchase",
        "custom   search.submitted",
        "GBP 29.99",
        "user=ann",
        " 404 ",
        " 500 ",
    ):
        assert fragment in out
    assert SUMMARY.search(out)


def test_a_short_run_ends_by_itself_and_every_event_was_printed() -> None:
    began = time.monotonic()
    out = demo("--seconds", "1", "--requests-per-second", "100")
    assert 1 <= time.monotonic() - began < LIMIT / 2
    requests, accepted, delivered = map(int, SUMMARY.search(out).groups())  # type: ignore[union-attr]
    assert 20 < requests <= 101
    assert accepted == delivered == len(re.findall(r"^\d\d:\d\d:\d\d ", out, re.MULTILINE))


@pytest.mark.parametrize("words", [[], *(["--framework", framework] for framework in FRAMEWORKS if CHECKOUT)])
def test_its_dashboard_has_a_month_of_history_before_anybody_came(words: list[str]) -> None:
    """The examples leave it closed; the address that is printed signs in."""
    browser = build_opener(HTTPCookieProcessor(CookieJar()))
    with subprocess.Popen(
        [*DEMO, "--requests-per-second", "20", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        address = next(line for line in process.stdout if "dashboard" in line).split()[-1]
        try:
            with browser.open(address, timeout=LIMIT) as answer:
                home = answer.url
            with browser.open(f"{home}?period=30d&format=json", timeout=LIMIT) as answer:
                data = json.load(answer)["data"]
            with browser.open(f"{home}retention?period=90d&format=json", timeout=LIMIT) as answer:
                cohorts = json.load(answer)["data"]["cohorts"]
            with browser.open(f"{home}funnels", timeout=LIMIT) as answer:
                funnels = answer.read().decode()
        finally:
            process.terminate()
            process.stdout.close()
            process.stderr.close()
    tiles = {tile["metric"]: tile["value"] for tile in data["tiles"]}
    assert tiles["visitors"] > 1000
    assert tiles["revenue.GBP"] > 10_000
    assert all(point["value"] for point in data["points"][:-1])
    assert len(data["tables"]["countries"]["rows"]) > 3
    assert len(cohorts) > 5
    assert cohorts[0]["cells"][1]["returned"] > 0
    # There is a funnel to look at, and whoever is here may save another, or anything else.
    assert "From a search to a purchase" in funnels
    assert 'method="post"' in funnels
    assert len(data["scope"]["annotations"]) == 1


def test_history_is_the_same_for_the_same_seed_and_never_in_the_future() -> None:
    now = datetime(2025, 3, 12, 12, tzinfo=UTC)
    records = list(month(now))
    again = list(month(now))
    assert [record.timestamp for record in records] == [record.timestamp for record in again]
    assert max(record.timestamp for record in records) < now
    assert len({record.user_id for record in records}) > 100


def test_buyers_take_some_time_and_come_by_several_ways() -> None:
    now = datetime(2025, 3, 12, 12, tzinfo=UTC)
    store = MemoryStore()
    store.apply(list(month(now)))
    insights = Insights(store, clock=lambda: now)
    start = now - timedelta(days=30)
    assert insights.funnel(["pageview", "purchase"], start=start)[1].median_seconds > 5
    assert len(insights.paths("purchase", "before", start=start)) > 3


@pytest.mark.skipif(not CHECKOUT, reason="the package was installed without its examples")
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_with_a_framework_it_runs_that_example(framework: str) -> None:
    out = demo("--once", "--framework", framework)
    slug = {"flask": "<slug>", "django": "<slug:slug>"}.get(framework, "{slug}")
    assert f"(/posts/{slug})" in out
    assert "GBP 29.99" in out
    assert SUMMARY.search(out)


def test_it_works_where_no_framework_and_no_server_is_installed() -> None:
    program = (
        "import sys\n"
        "for name in ('django', 'flask', 'werkzeug', 'starlette', 'fastapi', 'uvicorn', 'gunicorn'):\n"
        "    sys.modules[name] = None\n"
        "from analytics_middleware.cli import main\n"
        "sys.exit(main(['demo', '--once']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment(), timeout=LIMIT, check=True
    )
    assert SUMMARY.search(ended.stdout)


def test_ctrl_c_ends_it_within_a_second_with_its_summary() -> None:
    # Shells start what runs in the background with interrupts ignored, and that is inherited.
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from analytics_middleware.cli import main\n"
        "sys.exit(main(['demo']))"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        for line in process.stdout:
            if "pageview" in line:
                break
        interrupted = time.monotonic()
        process.send_signal(signal.SIGINT)
        out = process.stdout.read()
        # A second, and some for a machine that is busy with other tests.
        assert process.wait(LIMIT) == 0
        assert time.monotonic() - interrupted < 3
        assert "Traceback" not in process.stderr.read()
        assert SUMMARY.search(out)


def test_it_ends_quietly_when_nobody_reads_any_more() -> None:
    with subprocess.Popen(
        [*DEMO, "--requests-per-second", "50"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(LIMIT) == 141
        assert "Error" not in process.stderr.read()


def test_a_port_in_use_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert main(["demo", "--once", "--port", str(taken.getsockname()[1])]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(r"analytics-middleware: port \d+: Address already in use; give another with --port, .*", error)


@pytest.mark.parametrize(
    "words", [["--seconds", "0"], ["--seconds", "soon"], ["--port", "70000"], ["--framework", "x"]]
)
def test_wrong_arguments_are_named(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", *words])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert words[0] in err
    assert repr(words[1]) in err


def test_without_a_checkout_a_framework_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        examples.analytics_middleware, "__file__", str(tmp_path / "analytics_middleware" / "__init__.py")
    )
    assert main(["demo", "--framework", "flask"]) == 1
    assert "without --framework the demo brings its own application" in capsys.readouterr().err


def test_the_same_seed_makes_the_same_journeys() -> None:
    def journeys(seed: int) -> list[object]:
        return list(islice(Traffic(seed).journeys(), 50))

    assert journeys(7) == journeys(7)
    assert journeys(7) != journeys(8)


def test_visitors_differ_as_visitors_do() -> None:
    journeys = list(islice(Traffic().journeys(), 500))
    visitors = {journey.visitor for journey in journeys}
    assert len({visitor.user_agent for visitor in visitors}) >= 5
    assert len({visitor.language for visitor in visitors}) >= 4
    assert {visitor.name is None for visitor in visitors} == {True, False}
    assert any(visitor.crawler for visitor in visitors)
    assert len({journey.referrer for journey in journeys}) >= 3
    assert any("utm_source=" in journey.steps[0].path for journey in journeys)
    paths = {step.path for journey in journeys for step in journey.steps}
    assert {"/purchase", "/subscribe", "/sign-in", "/broken", "/posts/no-such-post"} <= paths
    assert all(0 <= step.pause <= 300 for journey in journeys for step in journey.steps)


def test_the_tour_of_the_blog_is_recorded_with_addresses_routes_users_and_revenue(
    analytics_events: list[Event],
) -> None:
    """And the blog keeps to the WSGI protocol, which the validator checks."""
    blog = validator(make_blog(Analytics(trusted_proxies=["127.0.0.1"])))
    with serve_wsgi(blog, 0) as port:
        load = Load(port, iter([Traffic().grand_tour()]), rate=1000, workers=1)
        load.start()
        assert load.wait(LIMIT)
    assert dict(load.answers) == {200: 12, 303: 3, 404: 1, 500: 1}
    assert {event.type for event in analytics_events} == set(EventType)
    purchase = next(event for event in analytics_events if event.action_name == "purchase")
    assert (str(purchase.revenue), purchase.user_id, purchase.properties) == ("GBP 29.99", "ann", {"plan": "yearly"})
    assert {event.matched_pattern for event in analytics_events} >= {"/", "/posts/{slug}", "/archive", "/broken"}


def test_visitors_keep_to_the_rate_together() -> None:
    answered: list[float] = []

    def application(environ, start_response):
        answered.append(time.monotonic())
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"ok"]

    with serve_wsgi(application, 0) as port:
        load = Load(port, iter([Traffic().grand_tour()] * 3), rate=100, workers=3)
        began = time.monotonic()
        load.start()
        assert load.wait(LIMIT)
    # The n-th request is not sent before n intervals have gone by.
    assert len(answered) == 42
    assert answered[-1] - began >= 0.42


def test_visitors_that_find_nobody_are_counted_and_give_up() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        load = Load(unused.getsockname()[1], iter([Traffic().grand_tour()]), rate=1000, workers=1)
        load.start()
        assert load.wait(LIMIT)
    assert dict(load.answers) == {"failed": 14}


def test_stopping_the_load_does_not_wait_for_its_next_request() -> None:
    load = Load(1, Traffic().journeys(), rate=0.01)
    load.start()
    began = time.monotonic()
    load.stop()
    assert load.wait(1)
    assert time.monotonic() - began < 1
