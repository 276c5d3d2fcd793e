"""Leaving: what a process that ends has delivered, what it leaves on disk, and that the next one goes on with it.

``-s`` shows how long each took to end with every collector dead; no test asserts a time.
"""

import asyncio
import socket
import subprocess
import sys
import textwrap
import threading
import time
from importlib.util import find_spec
from wsgiref.util import setup_testing_defaults

import pytest
from durability.destination import Destination, PostCollector
from durability.servers import ask_all, environment, running

from analytics_middleware import Analytics, asgi, wsgi
from analytics_middleware import running as running_module
from analytics_middleware.outbox.database import FILE
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.testing import FakeCollector

DEADLINE = 30.0
NEVER = "http://127.0.0.1:9/"


def pending(directory, name="post"):
    """What a process that comes later finds."""
    analytics = Analytics([], data_dir=directory, enabled=True, store=None)
    try:
        stats = analytics.stats()["collectors"][name]
    finally:
        analytics.close()
    assert stats["accepted"] == stats["delivered"] + sum(stats["dropped"].values()) + stats["dead"] + stats["pending"]
    return stats["pending"]


def delivered_by_the_next(directory, destination):
    """Start the next process and return the numbers of the events that arrive."""
    analytics = Analytics([PostCollector(destination.url)], data_dir=directory, enabled=True, store=None)
    analytics.track("last", {"n": 0})
    assert analytics.flush(DEADLINE)
    analytics.close()
    assert all(len(ids) == 1 for ids in destination.ids.values())
    return sorted(destination.ids)


@pytest.fixture
def destination():
    destination = Destination()
    destination.become("up")
    yield destination
    destination.close()


@pytest.fixture
def black_hole():
    """A destination that takes connections and never answers: the worst of dead ones."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/"


def installed(name):
    for module in name.replace("django on ", "django,").split(","):
        if find_spec(module) is None:
            pytest.skip(f"{module} is not installed")


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn", "django on uvicorn"])
def test_a_server_ends_while_its_collector_hangs_and_the_next_process_delivers(
    name, tmp_path, destination, black_hole, capsys
):
    """Django under uvicorn is told of its end by neither lifespan nor atexit; what it wrote is on disk all the same."""
    installed(name)
    with running(name, tmp_path, black_hole) as server:
        ask_all(server.port, range(1, 41))
        if name == "django on uvicorn":
            wait_until_written(tmp_path / "data", 40)
        began = time.perf_counter()
        server.end()
        took = time.perf_counter() - began
    with capsys.disabled():
        print(f"\n{name} ended {took * 1000:.0f} ms after SIGTERM, its collector hangs")
    assert pending(tmp_path / "data") == 40
    assert delivered_by_the_next(tmp_path / "data", destination) == list(range(41))


def wait_until_written(directory, count):
    analytics = Analytics([], data_dir=directory, enabled=True, store=None)
    deadline = time.monotonic() + DEADLINE
    try:
        while analytics.stats()["accepted"] < count:
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        analytics.close()


@pytest.mark.parametrize("name", ["uvicorn", "gunicorn"])
def test_a_server_delivers_in_the_background_while_it_lives(name, tmp_path, destination):
    installed(name)
    with running(name, tmp_path, destination.url) as server:
        ask_all(server.port, range(1, 11))
        assert destination.wait_for(set(range(1, 11)), DEADLINE)
        server.end()
    assert pending(tmp_path / "data") == 0


SCRIPT = """
    import os, sys, threading, time
    from analytics_middleware import Analytics
    from durability.destination import PostCollector
    analytics = Analytics([PostCollector(sys.argv[1], f"post{n}") for n in range(int(sys.argv[2]))],
                          data_dir=os.environ["DURABILITY_DIR"], enabled=True, store=None)
    for number in range(1, 31):
        analytics.track("x", {"n": number})
    if "deliver" in sys.argv:
        assert analytics.flush(20)
"""


def run_script(tmp_path, url, collectors, *arguments, code=""):
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT) + textwrap.dedent(code), url, str(collectors), *arguments],
        env=environment(tmp_path / "data", url, tmp_path),
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        output, _ = process.communicate(timeout=DEADLINE)
    return process.returncode, output


@pytest.mark.parametrize("dead", ["refuses", "hangs"])
def test_a_script_ends_while_every_collector_is_dead_and_keeps_its_events(
    dead, tmp_path, destination, black_hole, capsys
):
    code = """
    time.sleep(0.2)
    began = time.perf_counter()
    analytics.at_exit()
    print(time.perf_counter() - began)
    """
    status, output = run_script(tmp_path, NEVER if dead == "refuses" else black_hole, 3, code=code)
    with capsys.disabled():
        print(f"\nat exit: {float(output) * 1000:.0f} ms with three collectors whose destination {dead}")
    assert status == 0
    assert [pending(tmp_path / "data", f"post{n}") for n in range(3)] == [30, 30, 30]


def test_a_script_that_does_nothing_for_its_end_writes_all_at_exit(tmp_path):
    status, _ = run_script(tmp_path, NEVER, 1)
    assert status == 0
    assert pending(tmp_path / "data", "post0") == 30


def test_a_script_that_flushes_has_delivered_when_it_ends(tmp_path, destination):
    status, _ = run_script(tmp_path, destination.url, 1, "deliver")
    assert status == 0
    assert sorted(destination.ids) == list(range(1, 31))
    assert pending(tmp_path / "data", "post0") == 0


def test_an_unhandled_exception_and_sys_exit_lose_nothing(tmp_path):
    status, _ = run_script(tmp_path, NEVER, 1, code="\n    sys.exit(3)\n")
    assert status == 3
    assert pending(tmp_path / "data", "post0") == 30


def test_a_lease_is_given_up_at_the_end_though_its_thread_hangs_in_a_dead_destination(tmp_path, black_hole):
    """The successor delivers at once; it need not wait until the lease ends."""
    run_script(tmp_path, black_hole, 1, code="\n    time.sleep(0.3)\n")
    outbox = SqliteOutbox(tmp_path / "data")
    assert outbox.claim("post0") is not None
    outbox.close()


# Waiting for delivery.


@pytest.fixture
def analytics_of(tmp_path):
    made = []

    def make(*collectors, **settings):
        made.append(Analytics(collectors, data_dir=tmp_path / "data", enabled=True, store=None, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_flush_returns_true_when_every_collector_has_what_was_tracked(analytics_of):
    one, two = FakeCollector("one"), FakeCollector("two", linger=3600.0)
    analytics = analytics_of(one, two)
    for number in range(700):
        analytics.track("x", {"n": number})
    assert analytics.flush(DEADLINE)
    assert [event.properties["n"] for event in one.events] == list(range(700))
    assert [event.properties["n"] for event in two.events] == list(range(700))


@pytest.mark.parametrize("timeout", [0.0, 0.05, 0.3])
def test_flush_gives_up_at_its_deadline_while_a_collector_hangs(analytics_of, timeout, capsys):
    gate, entered = threading.Event(), threading.Event()

    def hang(events):
        entered.set()
        assert gate.wait(DEADLINE)

    analytics = analytics_of(FakeCollector("hangs", fail=hang), FakeCollector("works"))
    analytics.track("x")
    assert entered.wait(DEADLINE)
    began = time.perf_counter()
    assert not analytics.flush(timeout)
    with capsys.disabled():
        print(f"\nflush({timeout}) gave up after {(time.perf_counter() - began) * 1000:.0f} ms")
    gate.set()
    assert analytics.flush(DEADLINE)


def test_flush_waits_for_retries_too(analytics_of):
    answers = iter([OSError("once")])

    def fail(events):
        for error in answers:
            raise error

    collector = FakeCollector(fail=fail)
    analytics = analytics_of(collector)
    analytics.track("x")
    assert analytics.flush(DEADLINE)
    assert [event.event_name for event in collector.events] == ["x"]


def respond(protocol, analytics):
    """Serve one page."""
    if protocol == "asgi":

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
            await send({"type": "http.response.body", "body": b"x"})

        async def ignore(*_):
            return {"type": "http.request"}

        scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"accept", b"text/html")]}
        asyncio.run(asgi.AnalyticsMiddleware(app, analytics=analytics)({**scope, "query_string": b""}, ignore, ignore))
    else:

        def app(environ, start_response):
            start_response("200 OK", [("Content-Type", "text/html")])
            return [b"x"]

        environ = {"HTTP_ACCEPT": "text/html"}
        setup_testing_defaults(environ)
        body = wsgi.AnalyticsMiddleware(app, analytics=analytics)(environ, lambda *_: None)
        list(body)
        body.close()


@pytest.fixture
def for_ever(monkeypatch):
    """A response that waits for delivery waits until the test fails."""
    monkeypatch.setattr(running_module, "_RESPONSE_TIMEOUT", 3600.0)


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
def test_flush_on_response_returns_with_the_event_delivered(protocol, analytics_of):
    collector = FakeCollector(linger=3600.0)
    respond(protocol, analytics_of(collector, flush_on_response=True))
    assert [event.status_code for event in collector.events] == [200]


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.usefixtures("for_ever")
def test_flush_on_response_does_not_wait_for_what_is_down(protocol, analytics_of):
    def fail(events):
        raise OSError("down")

    analytics = analytics_of(FakeCollector(fail=fail), flush_on_response=True)
    for _ in range(3):
        respond(protocol, analytics)
    assert analytics.stats()["collectors"]["fake"]["pending"] == 3


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.usefixtures("for_ever")
def test_flush_on_response_waits_for_no_other_process(protocol, analytics_of):
    analytics = analytics_of(FakeCollector(), flush_on_response=True, background=False)
    respond(protocol, analytics)
    assert analytics.stats()["collectors"]["fake"]["pending"] == 1


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.usefixtures("for_ever")
def test_flush_on_response_does_not_wait_for_what_another_process_delivers(protocol, analytics_of, tmp_path):
    other = SqliteOutbox(tmp_path / "data")
    other.register("fake")
    assert other.claim("fake") is not None
    analytics = analytics_of(FakeCollector(), flush_on_response=True)
    respond(protocol, analytics)
    assert analytics.stats()["collectors"]["fake"]["pending"] == 1
    other.close()


@pytest.mark.parametrize("protocol", ["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("trouble", "end"),
    [("no directory", "2 events were lost at exit"), ("no database", "2 events wait in")],
)
@pytest.mark.usefixtures("for_ever")
def test_flush_on_response_is_no_responses_problem_when_the_disk_fails(protocol, trouble, end, tmp_path, caplog):
    if trouble == "no directory":
        (tmp_path / "file").touch()
        data_dir = tmp_path / "file" / "data"
    else:
        data_dir = tmp_path
        (tmp_path / FILE).write_bytes(b"this is no database" * 1000)
    collector = FakeCollector()
    analytics = Analytics([collector], data_dir=data_dir, enabled=True, store=None, flush_on_response=True)
    respond(protocol, analytics)
    respond(protocol, analytics)
    assert not analytics.flush(0.1)
    analytics.close(0.1)
    assert "the data directory can't be written" in caplog.text
    assert end in caplog.text


def test_without_background_delivery_is_left_to_another_process(tmp_path, destination):
    installed("gunicorn")
    with running("gunicorn", tmp_path, destination.url, background=False) as server:
        ask_all(server.port, range(1, 11))
        wait_until_written(tmp_path / "data", 10)
        server.end()
    assert destination.batches == 0
    assert pending(tmp_path / "data") == 10
    assert delivered_by_the_next(tmp_path / "data", destination) == list(range(11))


def test_many_threads_first_requests_start_one_writer(analytics_of):
    collector = FakeCollector()
    analytics = analytics_of(collector)
    before = set(threading.enumerate())
    gate = threading.Barrier(8)

    def first():
        gate.wait(DEADLINE)
        analytics.track("x")

    threads = [threading.Thread(target=first) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    running_now = [each for each in threading.enumerate() if each.name == "analytics-writer" and each not in before]
    assert analytics.flush(DEADLINE)
    assert len(collector.events) == 8
    assert len(running_now) == 1
