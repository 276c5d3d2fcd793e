"""A worker records for the web processes of its host; where it does not, each of them records by itself."""

import asyncio
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from analytics_middleware import Analytics, Event
from analytics_middleware.asgi import AnalyticsMiddleware
from analytics_middleware.ids import first_of_many
from analytics_middleware.outbox import lock
from analytics_middleware.outbox.leftovers import left_in
from analytics_middleware.outbox.records import draft_of
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.relay import wire
from analytics_middleware.testing import FakeCollector

DEADLINE = 20.0
HTML = [(b"content-type", b"text/html")]


def marked(where: str) -> Callable[[Event], Event]:
    """Return a processor that says where it has run."""

    def mark(event: Event) -> Event:
        event.properties["recorded by"] = where
        return event

    return mark


class Collector(FakeCollector):
    """Keeps what it is told of users, too."""

    def __init__(self) -> None:
        super().__init__()
        self.identified: list[tuple[str, Any]] = []

    def identify(self, user_id: str, traits: Any) -> None:
        self.identified.append((user_id, traits))


class Host:
    """A directory, the web process's analytics, workers, and what was delivered."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.collector = Collector()
        self.made: list[Analytics] = []
        self.numbers = count()
        self.web = self.analytics("web", background=False)

    def analytics(self, where: str, **settings: Any) -> Analytics:
        made = Analytics(
            [self.collector],
            data_dir=self.directory,
            enabled=True,
            store=None,
            **{"processors": [marked(where)], **settings},
        )
        self.made.append(made)
        return made

    def worker(self, name: str = "worker") -> Analytics:
        """Start a worker in this process: all it shares with the web process's analytics is the directory."""
        worker = self.analytics(name, background=False)
        worker.work()
        worker.record_for_others()
        return worker

    @property
    def greeting(self) -> bytes:
        """What a worker says first, if its version and settings are the web process's."""
        return wire.greeting(self.web.settings, self.web.collectors)

    def track_until(self, where: str) -> int:
        """Track until an event was recorded by *where*; return how many it took."""
        deadline = time.monotonic() + DEADLINE
        tried = 0
        while True:
            tried += 1
            name = f"until {next(self.numbers)}"
            self.web.track(name)
            assert self.web.flush(DEADLINE)
            if self.recorded_by(name) == where:
                return tried
            assert time.monotonic() < deadline, f"nothing is recorded by the {where}"
            # It looks for a worker now and then.
            time.sleep(0.02)

    def recorded_by(self, name: str) -> Any:
        found = [each.properties["recorded by"] for each in self.collector.events if each.event_name == name]
        assert len(found) <= 1
        return found[0] if found else None

    def accounts(self) -> None:
        """Assert that nothing was lost, and nothing came twice."""
        names = [each.event_name for each in self.collector.events]
        assert len(names) == len(set(names))
        stats = self.made[-1].stats()
        assert stats["collectors"]["fake"]["delivered"] == len(names) == stats["accepted"]
        assert stats["dropped"] == {}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    host = Host(tmp_path / "data")
    yield host
    for each in host.made:
        each.close(DEADLINE)


def serve(analytics: Analytics, *, path: str = "/shop", headers: Any = (), then: Callable[[], None] = lambda: None):
    """Have *analytics* record one request."""

    async def app(scope, receive, send):
        then()
        await send({"type": "http.response.start", "status": 200, "headers": HTML})
        await send({"type": "http.response.body", "body": b""})

    async def nothing(*_: Any) -> Any:
        return {"type": "http.request", "body": b""}

    scope = {"type": "http", "method": "GET", "path": path, "headers": headers, "query_string": b""}
    asyncio.run(AnalyticsMiddleware(app, analytics=analytics)(scope, nothing, nothing))


def test_requests_events_and_users_are_recorded_by_the_worker(host: Host):
    host.worker()
    host.track_until("worker")
    host.collector.events.clear()
    serve(host.web, headers=[(b"accept-language", b"cy")], then=lambda: host.web.track("lamp.seen", user_id="7"))
    host.web.identify("7", {"plan": "pro"})
    assert host.web.flush(DEADLINE)
    seen, page = host.collector.events
    assert (seen.event_name, seen.user_id, seen.path, seen.locale) == ("lamp.seen", "7", "/shop", "cy")
    assert (page.path, page.locale) == ("/shop", "cy")
    assert page.duration is not None
    assert {each.properties["recorded by"] for each in (seen, page)} == {"worker"}
    assert host.collector.identified == [("7", {"plan": "pro"})]


def test_what_cannot_travel_is_recorded_where_it_is(host: Host):
    """A server may give headers in any iterable, and a path may be no text that UTF-8 has."""
    host.worker()
    host.track_until("worker")
    host.collector.events.clear()
    serve(host.web, path="/odd", headers=iter([(b"accept-language", b"cy")]))
    serve(host.web, path="/\udcff")
    assert host.web.flush(DEADLINE)
    odd, surrogate = host.collector.events
    assert (odd.path, odd.locale, odd.properties["recorded by"]) == ("/odd", "cy", "web")
    assert (surrogate.path, surrogate.properties["recorded by"]) == ("/", "web")


def test_it_goes_on_alone_when_the_worker_ends_and_with_the_next_one(host: Host):
    first = host.worker("first")
    host.track_until("first")
    for number in range(50):
        host.web.track(f"in flight {number}")
    first.close(DEADLINE)
    # Records here now, and delivers nothing: that is left to a worker.
    for number in range(50):
        host.web.track(f"alone {number}")
    host.worker("second")
    host.track_until("second")
    assert host.web.flush(DEADLINE)
    assert {host.recorded_by(f"alone {number}") for number in range(50)} == {"web"}
    assert {host.recorded_by(f"in flight {number}") for number in range(50)} <= {"first", "web"}
    host.accounts()


def test_of_two_workers_one_listens_and_the_other_takes_over(host: Host):
    first = host.worker("first")
    host.worker("second")
    host.track_until("first")
    first.close(DEADLINE)
    host.track_until("second")
    host.accounts()


def test_who_delivers_itself_is_left_alone(host: Host):
    """Only with ``background=False``: processors and caches are where they always were otherwise."""
    host.worker()
    host.track_until("worker")
    other = host.analytics("other web")
    other.track("of its own")
    assert other.flush(DEADLINE)
    assert host.recorded_by("of its own") == "other web"


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_worker(host: Host):
    worker = host.worker()
    host.track_until("worker")
    path = host.directory / wire.SOCKET
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    worker.close(DEADLINE)
    assert not path.exists()


def test_a_directory_may_be_longer_than_an_address(tmp_path: Path):
    host = Host(tmp_path / "d" / ("x" * 100) / "data")
    try:
        worker = host.worker()
        host.track_until("worker")
        worker.close(DEADLINE)
        assert not (host.directory / wire.SOCKET).exists()
    finally:
        for each in host.made:
            each.close(DEADLINE)


@contextmanager
def scripted(host: Host, *, greeting: bytes | None = None, hangs: bool = False) -> Iterator[list[bytes]]:
    """Be a worker that takes what comes and never answers, but leaves or *hangs*; gives the frames."""
    host.directory.mkdir(parents=True, exist_ok=True)
    frames: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(host.directory / wire.SOCKET))
        listener.listen()

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(DEADLINE)
                    connection.sendall(greeting or host.greeting)
                    if head := connection.recv(wire.LENGTH.size, socket.MSG_WAITALL):
                        frames.append(connection.recv(*wire.LENGTH.unpack(head), socket.MSG_WAITALL))
                    if hangs:
                        connection.recv(1)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield frames
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE)
            (host.directory / wire.SOCKET).unlink()


@pytest.mark.parametrize("hangs", [False, True])
def test_what_gets_no_answer_is_recorded_here_under_the_same_id(host: Host, hangs: bool):
    """It may be in the log by then: twice, but known for one event."""
    with scripted(host, hangs=hangs) as frames:
        deadline = time.monotonic() + DEADLINE
        while not frames:
            serve(host.web)
            host.web.flush(0.1)
            assert time.monotonic() < deadline
        host.web.close(1.0)
    later = host.analytics("later")
    later.work()
    assert later.flush(DEADLINE)
    sent = frames[0]
    assert [each.path for each in host.collector.events if each.event_id.encode() in sent] == ["/shop"]


def test_a_worker_that_hangs_keeps_nothing_from_the_log_when_the_process_ends(host: Host):
    with scripted(host, hangs=True) as frames:
        deadline = time.monotonic() + DEADLINE
        while not frames:
            host.web.track("sent or not")
            time.sleep(0.005)
            assert time.monotonic() < deadline
        host.web.track("the last")
        host.web.close(0.4)
    later = host.analytics("later")
    later.work()
    assert later.flush(DEADLINE)
    assert [each.event_name for each in host.collector.events][-1] == "the last"
    assert later.stats()["dropped"] == {}


def test_what_a_slow_worker_has_is_recorded_once_and_what_comes_meanwhile_here(
    host: Host, monkeypatch: pytest.MonkeyPatch
):
    worker = host.worker()
    host.track_until("worker")
    with slow(worker, monkeypatch) as begun:
        host.web.track("slow")
        assert begun.wait(DEADLINE)
        while host.recorded_by("slow") is None:
            host.web.track(f"meanwhile {next(host.numbers)}")
            assert host.web.flush(DEADLINE)
    assert host.recorded_by("slow") == "web"
    host.track_until("worker")
    host.accounts()


@pytest.mark.parametrize("ends", [False, True])
def test_what_a_worker_has_that_hangs_while_it_writes_is_recorded_once(
    host: Host, monkeypatch: pytest.MonkeyPatch, ends: bool
):
    """Nobody else can write then, and it writes the group itself when it goes on."""
    worker = host.worker()
    host.track_until("worker")
    monkeypatch.setattr(lock, "_TIMEOUT", 0.1)
    assert isinstance(worker.outbox, SqliteOutbox)
    with slow(worker, monkeypatch) as begun, worker.outbox.database.locked():
        host.web.track("held")
        assert begun.wait(DEADLINE)
        deadline = time.monotonic() + DEADLINE
        while not left_in(host.directory):
            assert time.monotonic() < deadline
            time.sleep(0.005)
        assert not host.web.flush(0.01)
        if ends:
            host.web.close(1.0)
    if ends:
        host.web = host.analytics("later", background=False)
    host.track_until("worker")
    assert host.recorded_by("held") in ("web", "worker")
    assert left_in(host.directory) == []
    host.accounts()


def test_what_a_hanging_worker_has_when_the_process_ends_is_recorded_once(host: Host, monkeypatch: pytest.MonkeyPatch):
    worker = host.worker()
    host.track_until("worker")
    with slow(worker, monkeypatch) as begun:
        host.web.track("the last")
        assert begun.wait(DEADLINE)
        host.web.close(1.0)
    worker.close(DEADLINE)
    host.web = host.analytics("later")
    host.web.work()
    assert host.web.flush(DEADLINE)
    assert host.recorded_by("the last") in ("web", "worker")
    host.accounts()


@pytest.mark.parametrize("first", ["web", "worker"])
def test_a_group_is_written_once_whoever_comes_first(host: Host, first: str):
    """As many connections as there are processes; what is not a group is always written."""
    worker = host.worker()
    one, other = host.web.outbox, worker.outbox
    assert isinstance(one, SqliteOutbox)
    assert isinstance(other, SqliteOutbox)
    group, drafts = first_of_many(), [draft_of(Event(event_name="in a group"))]
    for outbox in (one, other) if first == "web" else (other, one):
        outbox.append_groups({group: drafts, first_of_many(): [draft_of(Event(event_name="in another"))]}, {})
    worker.track("of no group")
    assert worker.flush(DEADLINE)
    names = sorted(each.event_name or "" for each in host.collector.events)
    assert names == ["in a group", "in another", "in another", "of no group"]
    assert worker.stats()["accepted"] == 4


def test_groups_of_long_ago_are_forgotten(tmp_path: Path):
    ahead = 0.0
    outbox = SqliteOutbox(tmp_path / "data", clock=lambda: time.time() + ahead)
    groups = {first_of_many(): [draft_of(Event(event_name="in a group"))]}
    outbox.append_groups(groups, {})
    for ahead, accepted in ((60.0, 1), (3600.0, 2)):  # noqa: B007 - the clock reads it
        outbox.tick([])
        outbox.append_groups(groups, {})
        assert outbox.stats().counts["accepted"] == accepted
    outbox.close()


@contextmanager
def slow(worker: Analytics, monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Have *worker* write no group until the block ends; the event tells that it would."""
    assert isinstance(worker.outbox, SqliteOutbox)
    append, begun, going_on = worker.outbox.append_groups, threading.Event(), threading.Event()

    def wait(*arguments: Any) -> int:
        begun.set()
        assert going_on.wait(DEADLINE)
        return append(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(worker.outbox, "append_groups", wait)
        try:
            yield begun
        finally:
            going_on.set()


def test_an_event_that_is_none_is_kept_as_it_would_be_here(host: Host):
    """What is wrong in an event is emptied, wherever it is recorded."""
    host.worker()
    host.track_until("worker")
    for revenue in (5, "29.99 EUR", (1, "EUR")):
        host.web.track(Event(event_name=f"worth {revenue}", revenue=revenue))  # type: ignore[arg-type]
    host.web.track(Event(event_name="no visit", visit=None))  # type: ignore[arg-type]
    assert host.web.flush(DEADLINE)
    assert [each.revenue for each in host.collector.events[-4:]] == [None] * 4
    host.accounts()


def test_after_the_worker_has_ended_its_process_may_fork(host: Host):
    worker = host.worker()
    host.track_until("worker")
    worker.close(DEADLINE)
    before = host.web.stats()["accepted"]
    worker.after_fork()
    worker.track("of the child")
    worker.close(DEADLINE)
    assert host.web.stats()["accepted"] == before + 1


def test_it_listens_again_when_the_directory_was_emptied(host: Host):
    worker = host.worker()
    host.track_until("worker")
    (host.directory / wire.SOCKET).unlink()
    deadline = time.monotonic() + DEADLINE
    while not (host.directory / wire.SOCKET).exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    worker.close(DEADLINE)
    assert not (host.directory / wire.SOCKET).exists()


def test_what_the_worker_cannot_write_is_recorded_here(host: Host, monkeypatch: pytest.MonkeyPatch):
    worker = host.worker()
    host.track_until("worker")

    def full(*_: Any) -> int:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(worker.outbox, "append_groups", full)
    for number in range(3):
        host.web.track(f"meanwhile {number}")
    assert host.web.flush(DEADLINE)
    monkeypatch.undo()
    host.track_until("worker")
    assert [host.recorded_by(f"meanwhile {number}") for number in range(3)] == ["web"] * 3
    host.accounts()


def test_another_version_is_left_alone(host: Host):
    with scripted(host, greeting=host.greeting.replace(b"relay 0.1", b"relay 0.0")) as frames:
        for number in range(30):
            host.web.track(f"x {number}")
            host.web.flush(0.05)
        assert frames == []
    later = host.analytics("later")
    later.work()
    assert later.flush(DEADLINE)
    host.accounts()
    assert len(host.collector.events) == 30


def other_processor(event: Event) -> Event:
    return event


@pytest.mark.parametrize(
    "settings",
    [
        {"environment": "staging"},
        {"privacy": "strict"},
        {"exclude": ["/private/*"]},
        {"processors": [other_processor]},
        {"trusted_proxies": ["10.0.0.0/8"]},
    ],
)
def test_a_worker_whose_settings_make_other_events_is_left_alone(host: Host, settings: dict[str, Any]):
    """An application's rules hold for its events, whoever runs a worker in the same directory."""
    other = host.analytics("worker", background=False, **settings)
    other.work()
    other.record_for_others()
    while not (host.directory / wire.SOCKET).exists():
        time.sleep(0.01)
    for number in range(5):
        host.web.track(f"x {number}")
        host.web.flush(0.3)
    other.track("the last")
    assert other.flush(DEADLINE)
    assert [host.recorded_by(f"x {number}") for number in range(5)] == ["web"] * 5


GREETING = """
import sys
sys.path.insert(0, sys.argv[1])
from shop import leave_out, Marker
from analytics_middleware.relay.wire import greeting
from analytics_middleware.settings import Settings
given = {"processors": [Marker()], "consent": leave_out, "data_dir": "data"}
print(greeting(Settings.from_mapping(given), []))
"""
SHOP = """
def leave_out(request):
    return True

class Marker:
    def __call__(self, event):
        return event
"""


def test_a_worker_that_has_other_code_of_a_processor_is_left_alone(tmp_path: Path):
    """Wherever the same code stands, and whenever it was put there, it is the same."""

    def greeting(directory: str, source: str) -> bytes:
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / "shop.py").write_text(source)
        command = [sys.executable, "-B", "-c", GREETING, str(tmp_path / directory)]
        return subprocess.run(command, check=True, timeout=60, stdout=subprocess.PIPE).stdout

    old = greeting("old", SHOP)
    assert greeting("same", SHOP) == old
    assert greeting("new", SHOP.replace("return event", "return None")) != old


@pytest.mark.parametrize(
    "noise",
    [
        b"\xff\xff\xff\xff",
        b"\0\0\0\1x",
        b"\0\0\0\4\x93\1\2\3",
        b"GET / HTTP/1.1",
        wire.frame("01890000-0000-7000-8000-000000000000", [b"\x91" * 100_000 + b"\0"]),
    ],
)
def test_noise_ends_its_own_connection_only(host: Host, noise: bytes):
    host.worker()
    host.track_until("worker")
    with socket.socket(socket.AF_UNIX) as stranger:
        stranger.settimeout(DEADLINE)
        stranger.connect(str(host.directory / wire.SOCKET))
        stranger.sendall(noise)
        received = b""
        while part := stranger.recv(1000):
            received += part
        assert received == host.greeting
    assert host.track_until("worker") == 1
    host.accounts()


def test_a_forked_child_has_a_connection_of_its_own(host: Host, tmp_path: Path):
    host.worker()
    host.track_until("worker")
    # A process of its own, with no worker's threads in it.
    program = f"""
import os, sys, time
from importlib.util import module_from_spec, spec_from_file_location
from analytics_middleware import Analytics
# The worker's function: it counts by its module.
spec = spec_from_file_location({__name__!r}, {__file__!r})
sys.modules[{__name__!r}] = module_from_spec(spec)
spec.loader.exec_module(sys.modules[{__name__!r}])
mark = sys.modules[{__name__!r}].marked("web")
analytics = Analytics(
    [], data_dir={str(host.directory)!r}, enabled=True, store=None, background=False, processors=[mark]
)
def go_on(name):
    until = time.monotonic() + 20
    # It looks for a worker every second.
    while not analytics._engine._recorder._relay.up:
        assert time.monotonic() < until
        analytics.track(name)
        analytics.flush(0.05)
    analytics.track(f"{{name}}, last")
go_on("parent")
if (pid := os.fork()) == 0:
    go_on("child")
    analytics.close(10)
    os._exit(0)
go_on("parent again")
assert os.waitpid(pid, 0)[1] == 0
analytics.close(10)
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", program], check=True, timeout=60)
    assert host.made[-1].flush(DEADLINE)
    by = {each.event_name: each.properties.get("recorded by") for each in host.collector.events}
    assert [by[f"{name}, last"] for name in ("parent", "child", "parent again")] == ["worker"] * 3
    stats = host.web.stats()
    assert stats["accepted"] == stats["collectors"]["fake"]["delivered"] == len(host.collector.events)
    assert len({each.event_id for each in host.collector.events}) == len(host.collector.events)
