"""The hand-off: a request never waits, nothing is lost silently, and one thread writes."""

import threading
from collections import Counter

import pytest

from analytics_middleware.counters import NOTES, REASONS, Counters
from analytics_middleware.writer import Writer

DEADLINE = 10.0


class Disk:
    """Keeps what is written; *gate* is passed before each write."""

    def __init__(self):
        self.groups = []
        self.threads = set()
        self.entered = threading.Event()
        self.gate = threading.Event()
        self.gate.set()
        self.fail = 0

    def write(self, items):
        self.entered.set()
        assert self.gate.wait(DEADLINE)
        self.threads.add(threading.current_thread().name)
        if self.fail:
            self.fail -= 1
            raise OSError("disk full")
        self.groups.append(list(items))

    @property
    def items(self):
        return [item for group in self.groups for item in group]


@pytest.fixture
def disk():
    return Disk()


@pytest.fixture
def counters():
    return Counters()


@pytest.fixture
def make(disk, counters):
    writers = []

    def make(limit=1000, **options):
        writer = Writer(disk.write, limit, counters, **options)
        writers.append(writer)
        return writer

    yield make
    disk.gate.set()
    for writer in writers:
        assert writer.stop(DEADLINE)


def test_what_is_put_is_written_in_order_by_one_thread(make, disk):
    writer = make()
    writer.start()
    for number in range(300):
        writer.put(number)
    assert writer.drain(DEADLINE)
    assert disk.items == list(range(300))
    assert disk.threads == {"analytics-writer"}


def test_what_came_before_the_thread_started_is_written_too(make, disk):
    writer = make()
    writer.put("early")
    assert not writer.running
    writer.start()
    assert writer.drain(DEADLINE)
    assert disk.items == ["early"]


def test_what_comes_together_is_written_in_groups_of_at_most_500(make, disk):
    writer = make(limit=2000)
    for number in range(1200):
        writer.put(number)
    writer.start()
    assert writer.drain(DEADLINE)
    assert [len(group) for group in disk.groups] == [500, 500, 200]


def test_a_full_queue_drops_the_newest_and_counts_it(make, disk, counters):
    writer = make(limit=3)
    for number in range(5):
        writer.put(number)
    assert counters.peek() == {"dropped.queue_full": 2}
    writer.start()
    assert writer.drain(DEADLINE)
    assert disk.items == [0, 1, 2]
    writer.put("room again")
    assert writer.drain(DEADLINE)
    assert disk.items == [0, 1, 2, "room again"]


def test_putting_never_waits_for_a_write_that_hangs(make, disk, counters):
    disk.gate.clear()
    writer = make(limit=10)
    writer.start()
    writer.put("hangs")
    assert disk.entered.wait(DEADLINE)
    for number in range(25):
        writer.put(number)
    # Still inside its first write: nothing above waited for it.
    assert disk.groups == []
    assert counters.peek() == {"dropped.queue_full": 15}
    assert not writer.drain(0.0)
    disk.gate.set()
    assert writer.drain(DEADLINE)
    assert disk.items == ["hangs", *range(10)]


def test_what_many_threads_put_is_written_or_counted(make, disk, counters):
    writer = make(limit=50)
    writer.start()

    def put(thread):
        for number in range(500):
            writer.put((thread, number))

    threads = [threading.Thread(target=put, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert writer.drain(DEADLINE)
    assert len(disk.items) + counters.peek().get("dropped.queue_full", 0) == 8 * 500
    assert max(Counter(disk.items).values(), default=1) == 1
    for thread in range(8):
        numbers = [number for origin, number in disk.items if origin == thread]
        assert numbers == sorted(numbers)


def test_a_group_that_can_not_be_written_is_counted_and_the_thread_goes_on(make, disk, counters, caplog):
    disk.fail = 1
    writer = make()
    writer.put("lost")
    writer.start()
    assert writer.drain(DEADLINE)
    writer.put("kept")
    assert writer.drain(DEADLINE)
    assert disk.items == ["kept"]
    assert counters.peek() == {"dropped.internal_error": 1}
    assert "disk full" in caplog.text


def test_drain_of_nothing_is_done_at_once(make):
    writer = make()
    assert writer.drain(0.0)
    writer.start()
    assert writer.drain(0.0)


def test_drain_without_a_thread_says_that_it_can_not(make):
    writer = make()
    writer.put("x")
    assert not writer.drain(DEADLINE)


def test_stop_writes_what_is_left_and_ends_the_thread(make, disk):
    writer = make()
    writer.start()
    for number in range(300):
        writer.put(number)
    assert writer.stop(DEADLINE)
    assert disk.items == list(range(300))
    assert not writer.running
    assert writer.leftover() == []


def test_stop_gives_up_on_a_write_that_hangs_and_says_so(make, disk):
    disk.gate.clear()
    writer = make()
    writer.start()
    writer.put("hangs")
    assert disk.entered.wait(DEADLINE)
    writer.put("left")
    assert not writer.stop(0.01)
    assert writer.running
    assert writer.leftover() == ["left"]


def test_stop_before_start_is_done_at_once_and_leaves_the_items_to_be_counted(make):
    writer = make()
    writer.put("x")
    assert writer.stop(0.0)
    assert writer.leftover() == ["x"]
    assert writer.leftover() == []


def test_the_thread_holds_up_no_exit(make):
    writer = make()
    others = set(threading.enumerate())
    writer.start()
    [thread] = [thread for thread in set(threading.enumerate()) - others if thread.name == "analytics-writer"]
    assert thread.daemon


def test_counts_are_handed_over_once_and_can_be_given_back(counters):
    counters.add("late_helper")
    counters.drop("exit", 3)
    counters.drop("exit")
    assert counters.peek() == {"late_helper": 1, "dropped.exit": 4}
    taken = counters.take()
    assert taken == {"late_helper": 1, "dropped.exit": 4}
    assert counters.peek() == {}
    counters.add("late_helper")
    counters.give_back(taken)
    assert counters.take() == {"late_helper": 2, "dropped.exit": 4}


def test_counts_from_many_threads_add_up(counters):
    def count():
        for _ in range(2000):
            counters.add("x")

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counters.peek() == {"x": 8000}


def test_counting_may_be_interrupted_by_something_that_counts(counters):
    """As when the garbage collector runs a finaliser that records an event, or a signal handler does."""

    class Name(str):
        __slots__ = ()

        def __hash__(self):
            counters.add("inner")
            return super().__hash__()

    thread = threading.Thread(target=counters.add, args=(Name("outer"),), daemon=True)
    thread.start()
    thread.join(DEADLINE)
    assert not thread.is_alive()
    assert counters.peek()["outer"] == 1


def test_trouble_of_one_kind_is_logged_once_a_minute(counters, monkeypatch):
    lines, now = [], [1000.0]
    monkeypatch.setattr("analytics_middleware.counters.time.monotonic", lambda: now[0])

    def write(message, *args, exc_info):
        lines.append(message % args)

    for second in (0, 1, 59, 60, 61, 121):
        now[0] = 1000.0 + second
        counters.log("a", write, "a at %d", second)
    counters.log("b", write, "b")
    assert lines == ["a at 0", "a at 60", "a at 121", "b"]


def test_every_count_has_its_explanation():
    for name, explanation in {**REASONS, **NOTES}.items():
        assert name.isidentifier()
        assert explanation
        assert "\n" not in explanation
