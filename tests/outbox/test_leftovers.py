"""What a process could not write before it ended: the next one that can write takes it in, once."""

import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing

import msgspec
import pytest
from lock_holder import lock_held

from analytics_middleware import Analytics
from analytics_middleware.outbox import leftovers
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.leftovers import leave, left_in
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.testing import FakeCollector

FAR = 10**9


def drafts(*names):
    return [Draft("event", name, 1000.0, b"{}", b'{"private":1}', 3) for name in names]


@pytest.fixture
def outbox(tmp_path):
    # An hour later, so that no group is remembered longer than it must be.
    with closing(SqliteOutbox(tmp_path, clock=lambda: time.time() + 3600)) as outbox:
        outbox.register("a", reads_private=True)
        yield outbox


def in_the_log(outbox):
    return [entry.record_id for entry in outbox.read("a", 100, FAR)]


def analytics_on(directory, **settings):
    return Analytics(data_dir=directory, store=None, enabled=True, **settings)


def recording_on(directory, **settings):
    """A process that leaves delivery to others, with an event in the log."""
    analytics = analytics_on(directory, collectors=[FakeCollector()], background=False, **settings)
    analytics.track("first")
    deadline = time.monotonic() + 20
    while not analytics.stats()["accepted"]:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return analytics


def stats_of(analytics):
    stats = analytics.stats()
    fake = stats["collectors"]["fake"]
    return stats["accepted"], fake["delivered"], fake["pending"], stats["dropped"]


def test_what_waits_while_another_holds_the_lock_is_delivered_by_the_next_process_under_the_same_ids(tmp_path, caplog):
    made = []

    def note(event):
        made.append(event.event_id)
        return None if event.event_name == "unwanted" else event

    analytics = recording_on(tmp_path, processors=[note])
    with lock_held(tmp_path):
        for name in ("one", "unwanted", "two"):
            analytics.track(name, user_id="ann")
        analytics.identify("ann", {"plan": "annual"})
        analytics.close(0.4)
    (file,) = left_in(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"2 events wait in {file}" in caplog.text
    assert "lost" not in caplog.text

    identified = []

    class Collector(FakeCollector):
        def identify(self, user_id, traits):
            identified.append((user_id, traits))

    collector = Collector()
    with closing(analytics_on(tmp_path, collectors=[collector])) as analytics:
        analytics.work()
        assert analytics.flush(20)
        assert stats_of(analytics) == (3, 3, 0, {"processor": 1})
    assert [event.event_id for event in collector.events] == [made[0], made[1], made[3]]
    assert identified == [("ann", {"plan": "annual"})]
    assert left_in(tmp_path) == []


def test_what_a_slow_disk_takes_after_it_was_left_in_a_file_is_in_the_log_once(tmp_path, monkeypatch):
    committing, going_on = threading.Event(), threading.Event()
    connect = sqlite3.connect

    class Slow(sqlite3.Connection):
        slow = False

        def execute(self, sql, *parameters):
            self.slow = self.slow or sql.startswith("INSERT INTO log")
            if sql == "COMMIT" and self.slow:
                committing.set()
                assert going_on.wait(20)
            return super().execute(sql, *parameters)

    with monkeypatch.context() as patch:
        patch.setattr(sqlite3, "connect", lambda *given, **options: connect(*given, **options, factory=Slow))
        analytics = analytics_on(tmp_path, collectors=[FakeCollector()], background=False)
        analytics.track("one")
        assert committing.wait(20)
        thread = analytics._engine._writer._thread
        analytics.close(0.1)
        assert len(left_in(tmp_path)) == 1
        going_on.set()
        thread.join(20)

    collector = FakeCollector()
    with closing(analytics_on(tmp_path, collectors=[collector])) as analytics:
        analytics.work()
        assert analytics.flush(20)
        assert stats_of(analytics) == (1, 1, 0, {})
    assert left_in(tmp_path) == []
    assert [event.event_name for event in collector.events] == ["one"]


def test_what_hangs_in_a_processor_when_the_process_ends_is_counted_as_lost(tmp_path, caplog):
    begun, going_on = threading.Event(), threading.Event()

    def hang(event):
        if event.event_name == "hangs":
            begun.set()
            assert going_on.wait(20)
        return event

    analytics = recording_on(tmp_path, processors=[hang])
    analytics.track("hangs")
    assert begun.wait(20)
    analytics.track("waits")
    thread = analytics._engine._writer._thread
    analytics.close(0.1)
    assert "2 events were lost at exit" in caplog.text
    assert "0 events wait" not in caplog.text
    going_on.set()
    thread.join(20)

    with closing(analytics_on(tmp_path, collectors=[FakeCollector()])) as analytics:
        analytics.work()
        assert analytics.flush(20)
        assert stats_of(analytics) == (1, 1, 0, {"exit": 2})


def test_a_process_that_runs_takes_in_what_another_leaves(outbox, tmp_path):
    leave(tmp_path, drafts("1", "2"), {"dropped.queue_full": 4})
    leave(tmp_path, drafts("3"), {})
    outbox.tick(["a"])
    assert in_the_log(outbox) == ["1", "2", "3"]
    assert outbox.read("a", 1, FAR)[0][1:] == (*drafts("1")[0], 0)
    assert outbox.stats().counts == {"accepted": 3, "dropped.queue_full": 4}
    assert left_in(tmp_path) == []


DYING = """
import os, sys
from pathlib import Path
from analytics_middleware.outbox.sqlite import SqliteOutbox

def die(event, arguments):
    if event == "os.remove" and "leftovers-" in str(arguments[0]):
        os._exit(7)

outbox = SqliteOutbox(Path(sys.argv[1]))
sys.addaudithook(die)
outbox.tick([])
"""


def test_a_process_that_dies_before_it_removes_the_file_has_not_taken_it_in_twice(outbox, tmp_path):
    leave(tmp_path, drafts("1", "2"), {"dropped.queue_full": 4})
    assert subprocess.run([sys.executable, "-c", DYING, str(tmp_path)], check=False, timeout=30).returncode == 7
    assert in_the_log(outbox) == ["1", "2"]
    assert len(left_in(tmp_path)) == 1
    for _ in range(2):
        outbox.tick(["a"])
    assert in_the_log(outbox) == ["1", "2"]
    assert outbox.stats().counts == {"accepted": 2, "dropped.queue_full": 4}
    assert left_in(tmp_path) == []


def test_a_file_that_is_damaged_or_somebody_elses_is_put_aside_and_holds_nothing_up(outbox, tmp_path, caplog):
    def path(name):
        return tmp_path / f"leftovers-{name}.msgpack"

    whole = leave(tmp_path, drafts("x", "y"), {}).read_bytes()
    left_in(tmp_path)[0].rename(path("z-last"))
    path("torn").write_bytes(whole[:-5])
    path("noise").write_bytes(b"\xff" * 100)
    path("other").write_bytes(msgspec.msgpack.encode({"group": "g", "drafts": [["party", "1"]], "counts": {}}))
    nowhen = [draft._replace(timestamp=float("nan")) for draft in drafts("n")]
    leave(tmp_path, nowhen, {}).rename(path("nowhen"))
    huge = [draft._replace(flags=2**64 - 1) for draft in drafts("h")]
    leave(tmp_path, huge, {}).rename(path("huge"))
    path("directory").mkdir()
    os.mkfifo(path("fifo"))
    path("link").symlink_to(tmp_path / "nothing")

    outbox.tick(["a"])
    assert in_the_log(outbox) == ["x", "y"]
    aside = ["directory", "fifo", "huge", "link", "noise", "nowhen", "other", "torn"]
    assert sorted(each.name for each in tmp_path.glob("leftovers-*")) == [
        f"leftovers-{name}.msgpack.damaged" for name in aside
    ]
    assert caplog.text.count("can't be taken into the log") == len(aside)
    caplog.clear()
    outbox.tick(["a"])
    assert caplog.text == ""
    assert outbox.stats().counts == {"accepted": 2}


WRITING = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_file_that_is_still_being_written_is_left_alone_until_it_is_complete(outbox, tmp_path):
    empty = tmp_path / "leftovers-0.msgpack"
    empty.touch()
    file = leave(tmp_path, drafts("1"), {})
    command = [sys.executable, "-c", WRITING, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writing:
        assert writing.stdout.readline() == "held\n"
        outbox.tick(["a"])
        writing.communicate()
    assert in_the_log(outbox) == []
    outbox.tick(["a"])
    assert in_the_log(outbox) == ["1"]
    assert left_in(tmp_path) == [empty]


def test_processes_that_nobody_succeeds_do_not_fill_the_disk(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(leftovers, "_MOST_FILES", 1)
    (tmp_path / "analytics.sqlite3").write_bytes(b"this is no database" * 1000)
    for _ in range(2):
        analytics = analytics_on(tmp_path, collectors=[FakeCollector()])
        analytics.track("x")
        assert not analytics.flush(0.1)
        analytics.close(0.4)
    assert len(left_in(tmp_path)) == 1
    assert analytics.counters.peek()["dropped.exit"] == 1
    assert "1 events were lost at exit" in caplog.text


def test_erasing_a_user_reaches_what_an_ended_process_left(tmp_path):
    analytics = recording_on(tmp_path)
    with lock_held(tmp_path):
        analytics.track("ann's", user_id="ann")
        analytics.track("bob's", user_id="bob")
        analytics.close(0.2)
    assert len(left_in(tmp_path)) == 1
    collector = FakeCollector()
    with closing(analytics_on(tmp_path, collectors=[collector], background=False)) as analytics:
        assert analytics.erase("ann").log == 1
        assert left_in(tmp_path) == []
        analytics.work()
        assert analytics.flush(20)
    assert [event.event_name for event in collector.events] == ["first", "bob's"]
