"""The life of a process: fork, exit, gevent, spawn, import. Each case is a script in an interpreter of its own."""

import json
import os
import subprocess
import sys
import textwrap

import pytest

DEADLINE = 30.0
FRAMEWORKS = ("django", "flask", "starlette", "fastapi", "werkzeug", "jinja2", "duckdb", "numpy", "pyarrow", "pytest")

PRELUDE = """
import json, os, sys, threading, time
from analytics_middleware import Analytics, track
from analytics_middleware.collectors import BatchCollector

class File(BatchCollector):
    '''Appends what it gets to a file with the process that sent it: one write, whole lines.'''
    third_party, bots, linger = False, True, 0.0
    def __init__(self, name="file"):
        super().__init__()
        self.name = name
    def send(self, events):
        lines = "".join(json.dumps([os.getpid(), event.event_name]) + "\\n" for event in events)
        out = os.open(OUT, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(out, lines.encode())
        os.close(out)

def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)

def leave(status=0):
    '''End a forked child as os.fork's children do, without the parent's atexit.'''
    sys.stdout.flush()
    os._exit(status)

def reap(pid):
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child failed"
"""


class Result:
    def __init__(self, process, stdout, stderr, path):
        self.pid = process.pid
        self.code = process.returncode
        self.stdout = stdout
        self.stderr = stderr
        lines = path.read_text().splitlines() if path.exists() else []
        self.delivered = [tuple(json.loads(line)) for line in lines]

    @property
    def names(self):
        return [name for _, name in self.delivered]

    def of(self, pid):
        return [name for sender, name in self.delivered if sender == pid]


@pytest.fixture
def run(tmp_path):
    """Run a script with a deadline; it must end by itself, in peace."""

    def run(script, *arguments, prelude=PRELUDE, code=0):
        out = tmp_path / "events.jsonl"
        file = tmp_path / "script.py"
        file.write_text(f"OUT = {str(out)!r}\n{textwrap.dedent(prelude)}\n{textwrap.dedent(script)}")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
        process = subprocess.Popen(
            [sys.executable, "-X", "faulthandler", *arguments, str(file)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=tmp_path,
        )
        try:
            stdout, stderr = process.communicate(timeout=DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            stdout, stderr = process.communicate()
            raise AssertionError(f"the script hangs\n{stdout}\n{stderr}") from None
        assert process.returncode == code, stderr
        return Result(process, stdout, stderr, out)

    return run


def test_a_forked_child_sends_only_its_own_events_and_the_parent_its_own(run):
    result = run(
        """
        analytics = Analytics([File()])
        analytics.track("parent before")
        pid = os.fork()
        if pid == 0:
            analytics.track("child")
            assert analytics.flush(8)
            assert analytics.stats()["accepted"] == 1
            leave()
        reap(pid)
        analytics.track("parent after")
        assert analytics.flush(8)
        print(pid)
        """
    )
    child = int(result.stdout)
    assert result.of(child) == ["child"]
    assert result.of(result.pid) == ["parent before", "parent after"]
    assert len(result.delivered) == 3


def test_analytics_made_before_a_fork_and_never_used_there_works_in_each_child(run):
    """gunicorn --preload: the master builds the application, the workers serve."""
    result = run(
        """
        analytics = Analytics([File()])
        children = []
        for number in range(3):
            pid = os.fork()
            if pid == 0:
                analytics.track(f"worker {number}")
                assert analytics.flush(8)
                leave()
            children.append(pid)
        for pid in children:
            reap(pid)
        assert threading.active_count() == 1, "the master has no thread"
        """
    )
    assert sorted(result.names) == ["worker 0", "worker 1", "worker 2"]


def test_what_was_handed_off_but_not_written_at_the_fork_is_the_parents(run):
    result = run(
        """
        analytics = Analytics([File()])
        for number in range(50):
            analytics.track(f"e{number}")
        pid = os.fork()
        if pid == 0:
            assert analytics.flush(8)
            leave()
        reap(pid)
        assert analytics.flush(8)
        """
    )
    assert result.of(result.pid) == [f"e{number}" for number in range(50)]
    assert len(result.delivered) == 50


def test_a_batch_that_was_being_collected_at_the_fork_is_the_parents(run):
    result = run(
        """
        class Slow(File):
            collected, gate = threading.Event(), threading.Event()
            def collect(self, event):
                super().collect(event)
                if event.event_name == "parent":
                    self.collected.set()
                    assert self.gate.wait(20)

        analytics = Analytics([Slow()])
        analytics.track("parent")
        assert Slow.collected.wait(20)
        pid = os.fork()
        if pid == 0:
            analytics.track("child")
            assert analytics.flush(8)
            leave()
        reap(pid)
        Slow.gate.set()
        assert analytics.flush(8)
        """
    )
    assert sorted(result.names) == ["child", "parent"]
    assert result.of(result.pid) == ["parent"]


def test_a_fork_while_other_threads_hold_every_lock_leaves_the_child_able_to_work(run):
    result = run(
        """
        analytics = Analytics([File()], queue_size=100_000)
        going = True
        def busy():
            while going:
                analytics.track("busy")
                analytics.stats()
        threads = [threading.Thread(target=busy, daemon=True) for _ in range(3)]
        for thread in threads:
            thread.start()
        children = []
        for number in range(10):
            pid = os.fork()
            if pid == 0:
                analytics.track(f"child {number}")
                assert analytics.flush(8)
                assert analytics.stats()["accepted"] == 1
                leave()
            children.append(pid)
        going = False
        for pid in children:
            reap(pid)
        print(json.dumps(children))
        """
    )
    for number, pid in enumerate(json.loads(result.stdout)):
        assert result.of(pid) == [f"child {number}"]


def test_a_fork_while_another_thread_makes_a_part_of_the_pages_leaves_the_child_able_to_make_it(run):
    run(
        """
        analytics = Analytics([File()])
        begun, going_on = threading.Event(), threading.Event()
        def make():
            begun.set()
            assert going_on.wait(20)
            return "parent's"
        thread = threading.Thread(target=analytics.parts.get, args=(str, make))
        thread.start()
        assert begun.wait(20)
        pid = os.fork()
        if pid == 0:
            assert analytics.parts.get(str, lambda: "child's") == "child's"
            leave()
        reap(pid)
        going_on.set()
        thread.join()
        """
    )


# What the standard library needs it has registered when it was imported; ours finds nobody who registers.
WITHOUT_HOOKS = """
import concurrent.futures.thread, logging, os, random, threading
os.register_at_fork = lambda **hooks: None
"""


def test_a_fork_that_runs_no_python_hooks_is_noticed_by_the_pid(run):
    """uWSGI forks in C: no at-fork hook of ours runs, and threads of the parent look alive in the child."""
    result = run(
        """
        analytics = Analytics([File()])
        analytics.track("parent before")
        assert analytics.flush(8)
        pid = os.fork()
        if pid == 0:
            analytics.track("child")
            assert analytics.flush(8)
            leave()
        reap(pid)
        analytics.track("parent after")
        assert analytics.flush(8)
        print(pid)
        """,
        prelude=WITHOUT_HOOKS + PRELUDE,
    )
    assert result.of(int(result.stdout)) == ["child"]
    assert result.of(result.pid) == ["parent before", "parent after"]
    assert len(result.delivered) == 3


def test_a_grandchild_is_a_process_of_its_own_too(run):
    result = run(
        """
        analytics = Analytics([File()])
        def generation(number):
            analytics.track(f"generation {number}")
            if number < 2:
                pid = os.fork()
                if pid == 0:
                    generation(number + 1)
                    leave()
                reap(pid)
            assert analytics.flush(8)
        generation(0)
        """
    )
    assert sorted(result.names) == ["generation 0", "generation 1", "generation 2"]
    assert len({pid for pid, _ in result.delivered}) == 3


def test_a_child_of_a_closed_parent_records_again(run):
    result = run(
        """
        analytics = Analytics([File()])
        analytics.track("parent")
        analytics.close()
        pid = os.fork()
        if pid == 0:
            analytics.track("child")
            assert analytics.flush(8)
            leave()
        reap(pid)
        """
    )
    assert sorted(result.names) == ["child", "parent"]


def test_the_end_of_the_interpreter_delivers_what_is_in_memory(run):
    result = run(
        """
        analytics = Analytics([File()], shutdown_timeout=20)
        for number in range(300):
            analytics.track(f"e{number}")
        """
    )
    assert result.names == [f"e{number}" for number in range(300)]


def test_the_end_delivers_to_a_slow_collector_what_fits_the_deadline(run):
    result = run(
        """
        class Slow(File):
            def send(self, events):
                time.sleep(0.1)
                super().send(events)
        analytics = Analytics([Slow(), File("other")], shutdown_timeout=20)
        analytics.track("x")
        """
    )
    assert result.names == ["x", "x"]


@pytest.mark.parametrize("method", ["send", "close", "start"])
def test_a_collector_that_hangs_does_not_hold_the_exit_up(run, method):
    result = run(
        f"""
        class Hangs(File):
            entered = threading.Event()
            def {method}(self, *_):
                self.entered.set()
                threading.Event().wait()
        analytics = Analytics([Hangs("hangs"), File()], shutdown_timeout=0.2)
        analytics.track("x")
        if {method!r} != "close":
            assert Hangs.entered.wait(20)
        until(lambda: analytics.stats()["collectors"]["file"]["delivered"])
        """
    )
    assert result.names.count("x") >= 1


def test_what_can_not_be_delivered_at_the_end_is_counted_and_said(run):
    result = run(
        """
        class Down(File):
            def send(self, events):
                raise OSError("down")
        analytics = Analytics([Down()], shutdown_timeout=0.2)
        import atexit
        for number in range(3):
            analytics.track("x")
        # Registered by analytics at its first event, so it runs before this one.
        atexit._run_exitfuncs()
        assert analytics.stats()["dropped"] == {"exit": 3}, analytics.stats()
        """
    )
    assert "3 events were lost at exit; data_dir keeps them for the next start" in result.stderr


def test_a_directory_that_can_not_be_written_is_told_in_a_few_lines_without_tracebacks(run, tmp_path):
    (tmp_path / "file").touch()
    result = run(
        f"""
        analytics = Analytics([File()], data_dir={str(tmp_path / "file" / "data")!r}, shutdown_timeout=0.2)
        from analytics_middleware.web.access import access_of
        access_of(analytics)
        analytics.track("x", user_id="ann")
        until(lambda: analytics._engine._recorder.waiting)
        """
    )
    assert "the data directory can't be written" in result.stderr
    assert "/api/analytics/login?token=" in result.stderr
    assert "1 events were lost at exit; the data directory could not be written" in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stderr.count(" file failed: ") == 1


@pytest.mark.parametrize("first", [True, False], ids=["first event ever", "started before"])
def test_no_thread_is_started_at_exit(run, first):
    result = run(
        f"""
        import atexit
        analytics = Analytics([File()])
        if not {first}:
            analytics.track("before")
            assert analytics.flush(8)
        def last_words():
            before = set(threading.enumerate())
            started = []
            original = threading.Thread.start
            def start(thread):
                started.append(thread.name)
                original(thread)
            threading.Thread.start = start
            from analytics_middleware import lifecycle
            lifecycle._at_exit()
            print(started)
        atexit.register(last_words)
        """
    )
    assert result.stdout == "[]\n"


def test_events_after_close_are_no_error(run):
    result = run(
        """
        analytics = Analytics([File()])
        analytics.track("before")
        analytics.close()
        analytics.close()
        analytics.track("after")
        assert analytics.flush(0.1) in (True, False)
        """
    )
    assert result.names == ["before"]
    assert "Traceback" not in result.stderr


def test_a_multiprocessing_child_that_is_spawned_delivers_its_own(run):
    result = run(
        """
        import multiprocessing
        analytics = Analytics([File()])
        def work(number):
            analytics.track(f"spawned {number}")
            assert analytics.flush(8)
        if __name__ == "__main__":
            analytics.track("parent")
            children = [multiprocessing.get_context("spawn").Process(target=work, args=(n,)) for n in range(2)]
            for child in children:
                child.start()
            for child in children:
                child.join()
                assert child.exitcode == 0
            assert analytics.flush(8)
        """
    )
    assert sorted(result.names) == ["parent", "spawned 0", "spawned 1"]
    assert len({pid for pid, _ in result.delivered}) == 3


def test_a_multiprocessing_child_that_is_forked_delivers_its_own(run):
    result = run(
        """
        import multiprocessing
        analytics = Analytics([File()])
        def work():
            analytics.track("forked")
            assert analytics.flush(8)
        analytics.track("parent")
        child = multiprocessing.get_context("fork").Process(target=work)
        child.start()
        child.join()
        assert child.exitcode == 0
        assert analytics.flush(8)
        """
    )
    assert sorted(result.names) == ["forked", "parent"]


def test_under_gevent_events_are_delivered_and_nothing_hangs(run):
    pytest.importorskip("gevent")
    result = run(
        """
        analytics = Analytics([File()], shutdown_timeout=20)
        def view(number):
            with analytics.context(user_id=f"u{number}"):
                gevent.sleep(0)
                track(f"e{number}")
        gevent.joinall([gevent.spawn(view, number) for number in range(100)], raise_error=True)
        assert analytics.flush(8)
        analytics.track("at exit")
        """,
        prelude="import gevent.monkey; gevent.monkey.patch_all()\nimport gevent\n" + PRELUDE,
    )
    assert sorted(result.names) == sorted([*(f"e{number}" for number in range(100)), "at exit"])


def test_under_gevent_a_forked_worker_delivers_its_own(run):
    pytest.importorskip("gevent")
    result = run(
        """
        analytics = Analytics([File()])
        analytics.track("parent")
        pid = os.fork()
        if pid == 0:
            analytics.track("child")
            assert analytics.flush(8)
            leave()
        until(lambda: os.waitpid(pid, os.WNOHANG)[0] == pid)
        assert analytics.flush(8)
        """,
        prelude="import gevent.monkey; gevent.monkey.patch_all()\nimport gevent\n" + PRELUDE,
    )
    assert sorted(result.names) == ["child", "parent"]


AUDITED = """
import sys, threading
seen = []
def audit(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append((event, str(arguments[0])))
    elif event.split(".")[0] in ("socket", "sqlite3", "subprocess") or event in ("os.fork", "_thread.start_new_thread"):
        seen.append((event, str(arguments)))
sys.dont_write_bytecode = True
sys.addaudithook(audit)
"""


def test_importing_starts_no_thread_and_opens_no_file_socket_or_database(run):
    result = run(
        """
        import analytics_middleware, analytics_middleware.asgi, analytics_middleware.wsgi
        import analytics_middleware.collectors
        print(seen, threading.active_count())
        """,
        prelude=AUDITED,
    )
    assert result.stdout == "[] 1\n"


def test_making_analytics_starts_no_thread_and_opens_nothing(run, tmp_path):
    result = run(
        f"""
        from analytics_middleware import Analytics
        from analytics_middleware.asgi import AnalyticsMiddleware
        from analytics_middleware.collectors import StdoutCollector
        analytics = Analytics([StdoutCollector()], data_dir={str(tmp_path / "data")!r})
        AnalyticsMiddleware(lambda *_: None, analytics=analytics)
        print(seen, threading.active_count())
        """,
        prelude=AUDITED,
    )
    assert result.stdout == "[] 1\n"
    assert not (tmp_path / "data").exists()


def test_importing_loads_no_framework_and_not_the_world(run):
    result = run(
        """
        import json, sys
        before = set(sys.modules)
        from analytics_middleware import Analytics, track
        print(json.dumps(sorted(set(sys.modules) - before)))
        """,
        prelude="",
    )
    loaded = json.loads(result.stdout)
    assert not {name.split(".")[0] for name in loaded} & set(FRAMEWORKS)
    assert "analytics_middleware.money" in loaded
    assert len(loaded) < 400


def test_the_core_works_where_no_framework_is_installed(run):
    result = run(
        """
        import analytics_middleware.asgi, analytics_middleware.wsgi, analytics_middleware.testing
        analytics = Analytics([File()])
        analytics.track("alone")
        assert analytics.flush(8)
        """,
        prelude=f"""
import sys
class Forbidden:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {FRAMEWORKS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Forbidden())
"""
        + PRELUDE,
    )
    assert result.names == ["alone"]


def test_an_analytics_object_that_is_dropped_lets_the_process_end(run):
    result = run(
        """
        for number in range(5):
            analytics = Analytics([File()], shutdown_timeout=20)
            analytics.track(f"e{number}")
            assert analytics.flush(8)
        del analytics
        """
    )
    assert result.names == [f"e{number}" for number in range(5)]


def test_where_the_locale_is_ascii_all_texts_are_recorded_and_printed(run, monkeypatch):
    """As in an interpreter that a web server embeds: such a one does not change to UTF-8 by itself."""
    for name, value in {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}.items():
        monkeypatch.setenv(name, value)
    result = run(
        """
        import codecs
        from analytics_middleware import cli
        from analytics_middleware.collectors import StdoutCollector
        from analytics_middleware.enrich.user_agent import is_crawler
        assert codecs.lookup(sys.stdout.encoding).name == "ascii"
        assert is_crawler("Mozilla/4.5 (compatible; HTTrack 3.0x; Windows 98)")
        analytics = Analytics([StdoutCollector()], data_dir="data", store=None)
        analytics.track("k\\u00e4se", {"mood": "\\U0001f600"})
        assert analytics.flush(8)
        analytics.close()
        assert cli.main(["tail", "--data-dir", "data", "--since", "1h", "--no-follow", "--json"]) == 0
        """
    )
    collected, shown = map(json.loads, result.stdout.splitlines())
    assert collected["event_name"] == shown["event_name"] == "käse"
    assert collected["properties"] == {"mood": "😀"}


def test_a_system_without_time_zones_has_utc_and_says_what_it_lacks(run, monkeypatch):
    monkeypatch.setenv("PYTHONTZPATH", "")
    result = run(
        """
        sys.modules["tzdata"] = None
        from datetime import datetime, timezone
        from analytics_middleware.store import QuestionError
        analytics = Analytics(data_dir="data")
        analytics.track("first", timestamp=datetime(2026, 1, 2, 3, tzinfo=timezone.utc))
        assert analytics.flush(8)
        ask, berlin = analytics.insights, "Europe/Berlin"
        for unit in ("hour", "week"):
            hour = {"start": "2026-01-02T03:00:00Z", "end": "2026-01-02T04:00:00Z"}
            assert [point.count for point in ask.volume("first", bucket=unit, **hour)] == [1]
        for wrong in (lambda: Analytics(timezone=berlin), lambda: ask.volume(tz=berlin)):
            try:
                wrong()
            except ValueError as error:
                print(error)
        """
    )
    assert result.stdout.count("pip install tzdata") == 2


def test_a_connection_that_python_has_closed_disturbs_no_fork(run):
    result = run(
        """
        import gc, sqlite3
        analytics = Analytics(data_dir="data", store=None)
        analytics.track("one")
        assert analytics.flush(8)
        # As the garbage collector does with those of an object that is gone.
        mine = [each for each in gc.get_objects() if isinstance(each, sqlite3.Connection)]
        assert mine
        for each in mine:
            each.close()
        sys.unraisablehook = lambda hooked: print("unraisable", hooked.exc_value)
        pid = os.fork()
        if pid == 0:
            leave()
        reap(pid)
        """
    )
    assert "unraisable" not in result.stdout
