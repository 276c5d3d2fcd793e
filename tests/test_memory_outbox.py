"""The log in memory: bounded, each consumer with its own place, every entry accounted for."""

import threading

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from analytics_middleware.outbox.base import DeadLetter, Draft, LeaseLost, Retry, Settlement
from analytics_middleware.outbox.memory import MemoryOutbox

MANY = 10**6


def draft(name="e", kind="event", size=10, timestamp=0.0):
    return Draft(kind, str(name), timestamp, b"x" * size)


def names(entries):
    return [entry.record_id for entry in entries]


@pytest.fixture
def outbox():
    outbox = MemoryOutbox(100)
    outbox.register("a")
    return outbox


def balanced(stats):
    return stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.dead + stats.pending


def test_entries_are_read_in_order_and_again_until_they_are_settled(outbox):
    assert outbox.append([draft(1), draft(2)], {}) == 2
    assert outbox.append([draft(3)], {}) == 3
    assert names(outbox.read("a", 10, MANY)) == names(outbox.read("a", 10, MANY)) == ["1", "2", "3"]
    outbox.settle("a", outbox.claim("a"), Settlement(cursor=2, delivered=2))
    assert names(outbox.read("a", 10, MANY)) == ["3"]


def test_a_batch_has_at_most_so_many_entries_and_bytes_but_at_least_one(outbox):
    outbox.append([draft(number, size=100) for number in range(5)], {})
    assert names(outbox.read("a", 2, MANY)) == ["0", "1"]
    assert names(outbox.read("a", 10, 250)) == ["0", "1"]
    assert names(outbox.read("a", 10, 1)) == ["0"]


def test_consumers_are_independent(outbox):
    outbox.register("b")
    outbox.append([draft(1), draft(2)], {})
    outbox.settle("a", outbox.claim("a"), Settlement(cursor=2, delivered=2))
    assert outbox.read("a", 10, MANY) == []
    assert names(outbox.read("b", 10, MANY)) == ["1", "2"]
    assert (outbox.stats().consumers["a"].pending, outbox.stats().consumers["b"].pending) == (0, 2)


def test_a_new_consumer_starts_at_the_end_and_registering_again_changes_nothing(outbox):
    outbox.append([draft(1)], {})
    outbox.register("late")
    outbox.append([draft(2)], {})
    outbox.register("late")
    outbox.register("a")
    assert names(outbox.read("late", 10, MANY)) == ["2"]
    assert names(outbox.read("a", 10, MANY)) == ["1", "2"]
    assert outbox.stats().consumers["late"].accepted == 1


def test_counts_are_added_and_accepted_counts_events_only(outbox):
    outbox.append([draft(1), draft(2, kind="identify"), draft(3, kind="erase")], {"late_helper": 2})
    outbox.append([], {"late_helper": 1})
    stats = outbox.stats()
    assert stats.counts == {"late_helper": 3, "accepted": 1}
    assert (stats.consumers["a"].accepted, stats.consumers["a"].pending) == (1, 1)


def test_overflow_drops_the_oldest_and_counts_it_for_those_who_had_not_read_it():
    outbox = MemoryOutbox(3)
    outbox.register("slow")
    outbox.register("quick")
    for number in range(3):
        outbox.append([draft(number)], {})
    outbox.settle("quick", outbox.claim("quick"), Settlement(cursor=3, delivered=3))
    outbox.append([draft(3), draft(4)], {})
    assert names(outbox.read("slow", 10, MANY)) == ["2", "3", "4"]
    slow, quick = outbox.stats().consumers["slow"], outbox.stats().consumers["quick"]
    assert (slow.dropped, slow.pending, quick.dropped, quick.pending) == ({"overflow": 2}, 3, {}, 2)
    assert balanced(slow)
    assert balanced(quick)


def test_an_event_that_overflows_while_it_is_being_delivered_is_counted_once():
    outbox = MemoryOutbox(2)
    outbox.register("a")
    outbox.append([draft(1), draft(2)], {})
    batch = outbox.read("a", 10, MANY)
    outbox.append([draft(3), draft(4), draft(5)], {})
    assert balanced(outbox.stats().consumers["a"])
    outbox.settle("a", outbox.claim("a"), Settlement(cursor=batch[-1].seq, delivered=2))
    stats = outbox.stats().consumers["a"]
    assert (stats.delivered, stats.dropped, stats.pending) == (2, {"overflow": 1}, 2)
    assert balanced(stats)


def test_an_event_that_overflows_while_it_can_not_be_delivered_is_dropped():
    outbox = MemoryOutbox(2)
    outbox.register("a")
    outbox.append([draft(1), draft(2)], {})
    outbox.read("a", 10, MANY)
    outbox.append([draft(3)], {})
    outbox.settle("a", outbox.claim("a"), Settlement(error="down"))
    stats = outbox.stats().consumers["a"]
    assert (stats.dropped, stats.pending) == ({"overflow": 1}, 2)
    assert names(outbox.read("a", 10, MANY)) == ["2", "3"]
    assert balanced(stats)


def test_retries_are_due_in_order_of_their_time_and_gone_when_settled(outbox):
    outbox.append([draft(number) for number in range(3)], {})
    entries = outbox.read("a", 10, MANY)
    epoch = outbox.claim("a")
    retries = [Retry(entry, due, "later") for entry, due in zip(entries, (30.0, 10.0, 20.0), strict=True)]
    outbox.settle("a", epoch, Settlement(cursor=3, retries=retries))
    assert outbox.next_due("a") == 10.0
    assert outbox.due("a", 9.9, 10) == []
    assert names(outbox.due("a", 20.0, 10)) == ["1", "2"]
    assert names(outbox.due("a", 99.0, 1)) == ["1"]
    assert outbox.stats().consumers["a"].pending == 3
    outbox.settle("a", epoch, Settlement(settled=outbox.due("a", 20.0, 10), delivered=2))
    assert names(outbox.due("a", 99.0, 10)) == ["0"]
    assert outbox.next_due("a") == 30.0
    assert balanced(outbox.stats().consumers["a"])


def test_retries_are_bounded_too():
    outbox = MemoryOutbox(10)
    outbox.register("a")
    for number in range(40):
        outbox.append([draft(number)], {})
        [entry] = outbox.read("a", 10, MANY)
        outbox.settle("a", outbox.claim("a"), Settlement(cursor=entry.seq, retries=[Retry(entry, 1.0, "later")]))
    stats = outbox.stats().consumers["a"]
    assert (stats.pending, stats.dropped) == (10, {"overflow": 30})
    assert names(outbox.due("a", 1.0, 100)) == [str(number) for number in range(30, 40)]


def test_passed_waits_for_retries_up_to_that_place(outbox):
    outbox.append([draft(1), draft(2)], {})
    first, _ = outbox.read("a", 10, MANY)
    epoch = outbox.claim("a")
    assert not outbox.passed("a", 2)
    outbox.settle("a", epoch, Settlement(cursor=2, delivered=1, retries=[Retry(first, 5.0, "later")]))
    assert not outbox.passed("a", 2)
    outbox.append([draft(3)], {})
    outbox.settle("a", epoch, Settlement(settled=[first], delivered=1))
    assert outbox.passed("a", 2)
    assert not outbox.passed("a", 3)


def test_dead_letters_drops_and_the_last_error_are_kept(outbox):
    outbox.append([draft(1), draft(2), draft(3, kind="identify")], {})
    _one, two, three = outbox.read("a", 10, MANY)
    settlement = Settlement(
        cursor=3, dropped={"stale": 1}, dead=[DeadLetter(two, "no"), DeadLetter(three, "no")], error="E", breaker="open"
    )
    outbox.settle("a", outbox.claim("a"), settlement)
    stats = outbox.stats().consumers["a"]
    assert (stats.dead, stats.dropped, stats.last_error, stats.breaker) == (1, {"stale": 1}, "E", "open")
    assert balanced(stats)


def test_a_settlement_of_another_holder_is_refused_whole(outbox):
    outbox.append([draft(1)], {})
    with pytest.raises(LeaseLost):
        outbox.settle("a", outbox.claim("a") + 1, Settlement(cursor=1, delivered=1))
    assert outbox.stats().consumers["a"].pending == 1


def test_the_oldest_pending_event_is_known(outbox):
    assert outbox.stats().consumers["a"].oldest_pending is None
    outbox.append([draft(1, timestamp=50.0), draft(2, timestamp=20.0), draft(3, kind="identify", timestamp=1.0)], {})
    assert outbox.stats().consumers["a"].oldest_pending == 20.0


def test_after_a_fork_the_child_starts_empty_with_the_same_consumers_even_if_the_lock_was_held(outbox):
    outbox.append([draft("parent")], {"late_helper": 1})
    outbox._lock.acquire()
    outbox.after_fork()
    outbox.append([draft("child")], {})
    assert names(outbox.read("a", 10, MANY)) == ["child"]
    assert outbox.stats().counts == {"accepted": 1}


def test_memory_is_not_durable_and_says_so(outbox):
    assert outbox.durable is False


def test_appending_from_many_threads_loses_nothing():
    outbox = MemoryOutbox(MANY)
    outbox.register("a")

    def append(thread):
        for number in range(200):
            outbox.append([draft(f"{thread}-{number}")], {"x": 1})

    threads = [threading.Thread(target=append, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    entries = outbox.read("a", MANY, MANY)
    assert [entry.seq for entry in entries] == list(range(1, 801))
    assert len(set(names(entries))) == 800
    assert outbox.stats().counts == {"x": 800, "accepted": 800}


class Accounting(RuleBasedStateMachine):
    """Two consumers of a small log, in any order of calls: every event is in exactly one place."""

    def __init__(self):
        super().__init__()
        self.outbox = MemoryOutbox(5)
        self.flying = {}
        self.count = 0
        for name in ("a", "b"):
            self.outbox.register(name)

    consumers = st.sampled_from(["a", "b"])

    @rule(kinds=st.lists(st.sampled_from(["event", "event", "identify"]), min_size=1, max_size=4))
    def append(self, kinds):
        self.count += len(kinds)
        self.outbox.append([draft(self.count, kind=kind) for kind in kinds], {})

    @rule(name=consumers, limit=st.integers(1, 4))
    def read(self, name, limit):
        self.flying[name] = (self.outbox.read(name, limit, MANY), True)

    @rule(name=consumers)
    def due(self, name):
        self.flying[name] = (self.outbox.due(name, 1.0, 3), False)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def settle(self, data):
        name = data.draw(st.sampled_from(sorted(self.flying)))
        entries, first = self.flying.pop(name)
        if not entries:
            return
        fates = [data.draw(st.sampled_from(["delivered", "stale", "dead", "retry"])) for _ in entries]
        by_fate = {fate: [e for e, its in zip(entries, fates, strict=True) if its == fate] for fate in fates}

        def events(fate):
            return sum(entry.kind == "event" for entry in by_fate.get(fate, []))

        settlement = Settlement(
            cursor=entries[-1].seq if first else None,
            settled=() if first else entries,
            delivered=events("delivered"),
            dropped={"stale": events("stale")},
            dead=[DeadLetter(entry, "no") for entry in by_fate.get("dead", [])],
            retries=[Retry(entry, 0.5, "later") for entry in by_fate.get("retry", [])],
        )
        self.outbox.settle(name, self.outbox.claim(name), settlement)

    @rule(name=consumers)
    def fail(self, name):
        self.flying.pop(name, None)
        self.outbox.settle(name, self.outbox.claim(name), Settlement(error="down", breaker="backoff"))

    @invariant()
    def every_event_is_in_one_place(self):
        for stats in self.outbox.stats().consumers.values():
            assert balanced(stats), stats
            assert stats.pending >= 0


TestAccounting = Accounting.TestCase
TestAccounting.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
