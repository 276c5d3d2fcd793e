"""From the log to a collector: what is delivered, what waits, what is given up, and that every event is one of them."""

import logging
import threading
from collections import deque

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_middleware import Analytics, DeliveryError, Event
from analytics_middleware.collectors import BaseCollector, BatchCollector
from analytics_middleware.delivery.backoff import BASE, CAP, OPEN_AFTER, RETRY_CAP, Backoff
from analytics_middleware.delivery.consumer import MAX_ATTEMPTS, Consumer
from analytics_middleware.delivery.runner import Runner
from analytics_middleware.event import Identify
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.memory import MemoryOutbox
from analytics_middleware.testing import FakeCollector

DEADLINE = 10.0


class Scripted(BatchCollector):
    """Answers each batch with the next line of its script, then with *forever*: an error, a function or nothing."""

    name = "scripted"
    linger = 0.0

    def __init__(self, *script, forever=None, **options):
        super().__init__()
        self.script = deque(script)
        self.forever = forever
        self.sent = []
        self.delivered = []
        for option, value in options.items():
            setattr(self, option, value)

    def send(self, events):
        names = [event.event_name for event in events]
        self.sent.append(names)
        answer = self.script.popleft() if self.script else self.forever
        if callable(answer):
            answer = answer(events)
        if answer is not None:
            raise answer
        self.delivered += names


class Bench:
    """A log, a collector and a clock that moves only when told to."""

    def __init__(
        self, collector, *, limit=10_000, uniform=lambda low, high: high, withhold=lambda entry: None, durable=False
    ):
        self.now = 1_000_000.0
        self.outbox = MemoryOutbox(limit)
        self.outbox.durable = durable
        self.collector = collector
        self.backoff = Backoff(uniform)
        self.outbox.register(collector.name)
        self.consumer = Consumer(
            collector, self.outbox, withhold=withhold, clock=lambda: self.now, backoff=self.backoff
        )

    def put(self, *names, age=0.0, kind="event", payload=None):
        drafts = []
        for name in names:
            if kind == "event":
                encoded = Event(event_id=name, event_name=name).encode()
            else:
                encoded = msgspec.json.encode(Identify(event_id=name, user_id=name, traits={"n": name}))
            drafts.append(Draft(kind, name, self.now - age, payload or encoded))
        self.outbox.append(drafts, {})

    def step(self):
        return self.consumer.step(hurry=True)

    def run(self, seconds=0.0):
        """Step as the thread would, with the clock jumping over every pause, for *seconds* of its time."""
        until = self.now + seconds
        for _ in range(10_000):
            pause = self.step()
            assert self.balanced(), self.stats
            if pause is None or self.now + pause > until:
                self.now = max(self.now, until)
                return
            self.now += pause
        raise AssertionError("the consumer never rests")

    @property
    def stats(self):
        return self.outbox.stats().consumers[self.collector.name]

    def balanced(self):
        stats = self.stats
        return stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.dead + stats.pending


def letters(bench):
    return {letter.entry.record_id: letter.reason for letter in bench.outbox._consumers[bench.collector.name].dead}


def rejecting(*names):
    """An answer as long as one of *names* is in the batch: 400, without saying which event it is."""

    def answer(events):
        return DeliveryError("400", permanent=True) if {e.event_name for e in events} & set(names) else None

    return answer


def test_a_batch_is_delivered_in_order():
    bench = Bench(Scripted())
    bench.put("a", "b", "c")
    bench.run()
    assert bench.collector.sent == [["a", "b", "c"]]
    assert (bench.stats.delivered, bench.stats.pending, bench.stats.breaker) == (3, 0, "closed")


def test_batches_keep_to_the_collectors_size():
    bench = Bench(Scripted(max_batch=2))
    bench.put(*"abcde")
    bench.run()
    assert bench.collector.sent == [["a", "b"], ["c", "d"], ["e"]]


def test_batches_keep_to_the_collectors_bytes():
    bench = Bench(Scripted(max_bytes=1))
    bench.put(*"abc")
    bench.run()
    assert bench.collector.sent == [["a"], ["b"], ["c"]]


def test_nothing_to_do_is_said_by_none():
    assert Bench(Scripted()).step() is None


def test_a_batch_that_is_not_full_waits_for_company_no_longer_than_linger():
    bench = Bench(Scripted(linger=2.0), durable=True)
    bench.put("a")
    assert bench.consumer.step() == 2.0
    bench.now += 1.5
    bench.put("b")
    assert bench.consumer.step() == 0.5
    assert bench.collector.sent == []
    bench.now += 0.5
    bench.consumer.step()
    assert bench.collector.sent == [["a", "b"]]


def test_a_full_batch_and_one_in_a_hurry_wait_for_nobody():
    bench = Bench(Scripted(linger=2.0, max_batch=2), durable=True)
    bench.put("a", "b", "c")
    bench.consumer.step()
    assert bench.collector.sent == [["a", "b"]]
    assert bench.consumer.step() == 2.0
    bench.consumer.step(hurry=True)
    assert bench.collector.sent == [["a", "b"], ["c"]]


def test_what_is_in_memory_alone_waits_for_no_company():
    bench = Bench(Scripted(linger=2.0))
    bench.put("a")
    bench.consumer.step()
    assert bench.collector.sent == [["a"]]


@pytest.mark.parametrize("error", [DeliveryError("503"), OSError("refused"), ValueError("bug")], ids=repr)
def test_a_temporary_failure_holds_the_batch_and_sends_it_again_in_order(error):
    bench = Bench(Scripted(error))
    bench.put("a", "b")
    assert bench.step() == BASE
    assert (bench.stats.pending, bench.stats.breaker) == (2, "backoff")
    assert str(error) in bench.stats.last_error
    bench.put("c")
    assert bench.step() == BASE, "nothing is sent before the pause is over"
    bench.now += BASE
    bench.run()
    assert bench.collector.sent == [["a", "b"], ["a", "b", "c"]]
    assert (bench.stats.delivered, bench.stats.breaker) == (3, "closed")


def test_pauses_double_up_to_the_cap_and_the_breaker_opens():
    bench = Bench(Scripted(forever=DeliveryError("503")))
    bench.put("a")
    pauses, states = [], []
    for _ in range(10):
        pauses.append(bench.step())
        states.append(bench.stats.breaker)
        bench.now += pauses[-1]
    assert pauses == [min(CAP, BASE * 2**failure) for failure in range(10)]
    assert states == ["backoff"] * (OPEN_AFTER - 1) + ["open"] * (10 - OPEN_AFTER + 1)
    assert bench.stats.pending == 1, "waiting uses up nobody's attempts"


def test_a_day_of_failures_loses_nothing_and_costs_no_attempts():
    bench = Bench(Scripted(forever=OSError("down")))
    bench.put(*"abc")
    bench.run(86_400)
    assert (bench.stats.pending, bench.stats.dead) == (3, 0)
    bench.collector.forever = None
    bench.run(CAP)
    assert bench.collector.delivered == ["a", "b", "c"]


def test_a_pause_is_never_shorter_than_retry_after():
    bench = Bench(Scripted(DeliveryError("429", retry_after=30.0)), uniform=lambda low, high: low)
    bench.put("a")
    assert 30.0 < bench.step() <= 30.0 + BASE


@pytest.mark.parametrize(
    ("retry_after", "floor"), [(None, 0.0), (-5.0, 0.0), (0.0, 0.0), (7.0, 7.0), (1e12, 3600.0), (float("inf"), 3600.0)]
)
def test_retry_after_is_a_floor_within_reason(retry_after, floor):
    assert Backoff(lambda low, high: low).delay(1, retry_after) == floor + BASE / 10
    assert Backoff(lambda low, high: high).delay(1, retry_after) == floor + BASE


@given(st.integers(1, 10_000), st.one_of(st.none(), st.floats(0, 1e6)))
def test_delays_are_positive_and_bounded(attempt, retry_after):
    for pick in (min, max):
        delay = Backoff(pick).delay(attempt, retry_after)
        assert 0 < delay <= 3600.0 + RETRY_CAP


def test_a_clock_that_was_set_back_does_not_stop_delivery_for_long():
    bench = Bench(Scripted(DeliveryError("503")))
    bench.put("a")
    bench.step()
    bench.now -= 10 * 86_400
    bench.run(60.0)
    assert bench.collector.delivered == ["a"]


def test_a_clock_that_was_set_back_does_not_keep_a_retry_for_long():
    bench = Bench(Scripted(DeliveryError("part", retry={"b"})))
    bench.put("a", "b")
    bench.step()
    assert bench.stats.pending == 1
    bench.now -= 10 * 86_400
    bench.run(60.0)
    assert bench.collector.delivered == ["b"]
    assert bench.stats.pending == 0


@pytest.mark.parametrize("size", [1, 2, 3, 7, 16, 100])
def test_a_permanent_refusal_is_narrowed_down_to_the_poison_event(size):
    names = [f"e{number}" for number in range(size)]
    poison = names[size // 3]
    bench = Bench(Scripted(forever=rejecting(poison)))
    bench.put(*names)
    bench.run()
    assert letters(bench) == {poison: "400"}
    assert bench.collector.delivered == [name for name in names if name != poison]
    assert (bench.stats.dead, bench.stats.delivered) == (1, size - 1)
    assert len(bench.collector.sent) <= 2 * (size - 1).bit_length() + 1


def test_several_poison_events_are_each_found():
    names = [f"e{number}" for number in range(20)]
    bench = Bench(Scripted(forever=rejecting("e0", "e7", "e8", "e19")))
    bench.put(*names)
    bench.run()
    assert sorted(letters(bench)) == ["e0", "e19", "e7", "e8"]
    assert bench.stats.delivered == 16


def test_a_batch_too_large_is_split_and_one_event_too_large_is_dead():
    def answer(events):
        too_much = len(events) > 2 or any(event.event_name == "huge" for event in events)
        return DeliveryError("413", too_large=True) if too_much else None

    bench = Bench(Scripted(forever=answer))
    bench.put("a", "b", "c", "huge", "d", "e", "f")
    bench.run()
    assert letters(bench) == {"huge": "413"}
    assert bench.collector.delivered == ["a", "b", "c", "d", "e", "f"]


def test_a_destination_that_goes_down_while_a_batch_is_split_is_left_alone():
    bench = Bench(Scripted(DeliveryError("413", too_large=True), OSError("down")))
    bench.put(*"abcd")
    bench.step()
    assert bench.collector.sent == [["a", "b", "c", "d"], ["a", "b"]]
    bench.run(60)
    assert sorted(bench.collector.delivered) == ["a", "b", "c", "d"]
    assert bench.stats.dead == 0


def test_a_partial_answer_is_followed_for_each_event():
    answer = DeliveryError("207", rejected={"b": "bad name"}, retry=["c"])
    bench = Bench(Scripted(answer))
    bench.put(*"abcd")
    bench.step()
    assert letters(bench) == {"b": "bad name"}
    assert (bench.stats.delivered, bench.stats.dead, bench.stats.pending) == (2, 1, 1)
    bench.put("e")
    bench.run(60)
    assert bench.collector.sent == [["a", "b", "c", "d"], ["e"], ["c"]]
    assert bench.stats.delivered == 4


def test_a_destination_that_takes_a_part_and_asks_for_a_pause_is_left_alone():
    bench = Bench(Scripted(DeliveryError("429", retry=["a"], retry_after=600.0, pause=True)))
    bench.put("a", "b")
    bench.step()
    bench.put("c")
    bench.run(590)
    assert bench.collector.sent == [["a", "b"]]
    assert bench.stats.breaker != "open"
    bench.run(700)
    assert (bench.stats.delivered, bench.stats.dead) == (3, 0)


def test_a_pause_that_is_asked_for_while_events_are_tried_again_is_kept_too():
    later = DeliveryError("later", retry=["a", "b"])
    bench = Bench(Scripted(later, None, DeliveryError("429", retry=["b"], retry_after=600.0, pause=True)))
    bench.put("a", "b")
    bench.run(60)
    bench.put("c")
    bench.run(500)
    assert bench.collector.sent == [["a", "b"], ["a"], ["b"]]
    bench.run(700)
    assert (bench.stats.delivered, bench.stats.dead) == (3, 0)


def test_an_event_that_must_wait_holds_up_no_other():
    bench = Bench(Scripted(DeliveryError("later", retry=["a"], retry_after=100.0)))
    bench.put("a", "b")
    bench.step()
    bench.put("c")
    bench.run(50)
    assert bench.collector.sent == [["a", "b"], ["c"]]
    bench.run(100)
    assert bench.collector.sent[-1] == ["a"]


@pytest.mark.parametrize(
    "answer", [DeliveryError("207", rejected={}), DeliveryError("207", retry=[])], ids=["rejected", "retry"]
)
def test_a_partial_answer_that_names_no_event_means_all_arrived(answer):
    bench = Bench(Scripted(answer))
    bench.put("a", "b")
    bench.run()
    assert (bench.stats.delivered, bench.stats.pending) == (2, 0)


def test_ids_of_other_events_in_a_partial_answer_are_ignored():
    bench = Bench(Scripted(DeliveryError("207", rejected={"x": "?"}, retry=["y"])))
    bench.put("a")
    bench.run()
    assert bench.stats.delivered == 1


def test_an_event_that_is_always_to_be_retried_ends_as_a_dead_letter():
    bench = Bench(Scripted(forever=DeliveryError("again", retry=["a"])))
    bench.put("a")
    bench.run(7 * 86_400)
    assert len(bench.collector.sent) == MAX_ATTEMPTS
    assert letters(bench) == {"a": f"given up after {MAX_ATTEMPTS} attempts: again"}


def test_what_may_have_arrived_is_dropped_unless_the_destination_deduplicates():
    bench = Bench(Scripted(DeliveryError("timeout", ambiguous=True)))
    bench.put("a", "b")
    bench.run(60)
    assert bench.collector.sent == [["a", "b"]]
    assert bench.stats.dropped == {"ambiguous": 2}


def test_what_may_have_arrived_is_sent_again_to_a_destination_that_deduplicates():
    bench = Bench(Scripted(DeliveryError("timeout", ambiguous=True), dedupes=True))
    bench.put("a", "b")
    bench.run(60)
    assert bench.collector.sent == [["a", "b"], ["a", "b"]]
    assert (bench.stats.delivered, bench.stats.dropped) == (2, {})


def test_one_event_that_breaks_the_collector_does_not_hold_up_the_others():
    def answer(events):
        return ZeroDivisionError("poison") if "poison" in [event.event_name for event in events] else None

    bench = Bench(Scripted(forever=answer))
    bench.put("a", "poison", "b", "c")
    bench.run(300)
    assert sorted(bench.collector.delivered) == ["a", "b", "c"]
    assert bench.stats.pending == 1
    # Alone it can't be told from a destination that is down; what gets through beside it uses up its attempts.
    for number in range(2 * MAX_ATTEMPTS):
        bench.put(f"later{number}")
        bench.run(RETRY_CAP)
    assert bench.stats.delivered == 3 + 2 * MAX_ATTEMPTS
    assert letters(bench) == {"poison": f"given up after {MAX_ATTEMPTS} attempts: ZeroDivisionError: poison"}


def poisoned(*poison, others="abc", **options):
    """A log that begins with *poison*, each of which fails without a reason that says so."""

    def answer(events):
        return DeliveryError("500") if {event.event_name for event in events} & set(poison) else None

    bench = Bench(
        Scripted(forever=answer, **options), withhold=lambda entry: "bot" if "bot" in entry.record_id else None
    )
    bench.put(*poison, *others)
    return bench


@pytest.mark.parametrize("pace", [{"max_batch": 1}, {"max_bytes": 1}])
@pytest.mark.parametrize("poison", [["x"], ["x", "y"], ["bot", "x"], ["x", "bot", "y", "z"]])
def test_events_that_fail_alone_do_not_hold_up_a_collector_that_takes_one_at_a_time(pace, poison):
    bench = poisoned(*poison, **pace)
    bench.run(600)
    assert sorted(bench.collector.delivered) == ["a", "b", "c"]
    bots = poison.count("bot")
    assert (bench.stats.pending, bench.stats.dropped.get("bot", 0)) == (len(poison) - bots, bots)
    assert bench.stats.dead == 0
    assert {len(batch) for batch in bench.collector.sent} == {1}


def test_retries_are_sent_in_batches_of_as_many_bytes_as_the_collector_takes():
    def later(events):
        return DeliveryError("later", retry=[event.event_id for event in events])

    size = len(Event(event_id="a", event_name="a").encode())
    bench = Bench(Scripted(later, later, later, max_bytes=2 * size))
    bench.put(*"abcdef")
    bench.run(600)
    assert sorted(bench.collector.delivered) == list("abcdef")
    assert max(len(batch) for batch in bench.collector.sent) == 2


def test_what_is_set_aside_while_a_destination_is_down_uses_up_no_attempt():
    bench = Bench(Scripted(forever=OSError("down"), max_batch=1))
    bench.put(*"abcdef")
    bench.run(86_400)
    assert bench.stats.pending == 6
    bench.collector.forever = None
    bench.run(3600)
    assert sorted(bench.collector.delivered) == list("abcdef")


class Choosy(BaseCollector):
    """Raises in `collect`, per event."""

    name = "choosy"
    linger = 0.0

    def __init__(self, refuses):
        self.refuses = refuses
        self.taken = []
        self.calls = []

    def start(self):
        self.calls.append("start")

    def collect(self, event):
        if error := self.refuses.get(event.event_name):
            raise error
        self.taken.append(event.event_name)

    def flush(self):
        self.calls.append("flush")

    def close(self):
        self.calls.append("close")


def test_an_event_that_collect_refuses_for_good_is_dead_and_the_others_are_delivered():
    bench = Bench(Choosy({"b": DeliveryError("no", permanent=True)}))
    bench.put("a", "b", "c")
    bench.run()
    assert bench.collector.taken == ["a", "c"]
    assert letters(bench) == {"b": "no"}


@pytest.mark.parametrize("error", [DeliveryError("later"), ValueError("bug")], ids=repr)
def test_an_event_that_collect_raises_for_is_retried_and_the_others_are_delivered(error):
    bench = Bench(Choosy({"b": error}))
    bench.put("a", "b", "c")
    bench.step()
    assert bench.collector.taken == ["a", "c"]
    assert (bench.stats.delivered, bench.stats.pending) == (2, 1)
    bench.collector.refuses.clear()
    bench.run(60)
    assert bench.collector.taken == ["a", "c", "b"]


def test_a_collector_that_raises_for_every_event_is_down_and_its_events_wait():
    bench = Bench(Choosy(dict.fromkeys("abc", TypeError("broken"))))
    bench.put(*"abc")
    bench.run(86_400)
    assert (bench.stats.pending, bench.stats.dead, bench.stats.breaker) == (3, 0, "open")
    bench.collector.refuses.clear()
    bench.run(CAP)
    assert bench.collector.taken == ["a", "b", "c"]


def test_start_is_called_before_the_first_event_and_again_until_it_succeeds():
    bench = Bench(Choosy({}))
    tries = iter([OSError("no socket"), OSError("no socket"), None])

    def start():
        bench.collector.calls.append("start")
        if error := next(tries):
            raise error

    bench.collector.start = start
    assert bench.step() is None
    assert bench.collector.calls == []
    bench.put("a")
    bench.run(60)
    bench.put("b")
    bench.run()
    assert bench.collector.calls == ["start", "start", "start", "flush", "flush"]
    assert bench.collector.taken == ["a", "b"]


def test_close_closes_a_collector_that_was_started_and_no_other():
    started, idle = Bench(Choosy({})), Bench(Choosy({}))
    started.put("a")
    started.run()
    started.consumer.close()
    idle.consumer.close()
    assert started.collector.calls == ["start", "flush", "close"]
    assert idle.collector.calls == []


def test_events_older_than_the_collectors_maximum_age_are_dropped_as_stale():
    bench = Bench(Scripted(max_age=60.0))
    bench.put("old", age=61.0)
    bench.put("new", age=59.0)
    bench.run()
    assert bench.collector.sent == [["new"]]
    assert bench.stats.dropped == {"stale": 1}


def test_events_that_go_stale_while_the_destination_is_down_are_counted():
    bench = Bench(Scripted(forever=OSError("down"), max_age=60.0))
    bench.put("a", "b")
    bench.run(600)
    assert bench.stats.dropped == {"stale": 2}


def test_withheld_events_are_counted_under_their_reason_and_never_sent():
    bench = Bench(Scripted(), withhold=lambda entry: "bot" if entry.record_id == "b" else None)
    bench.put(*"abc")
    bench.run()
    assert bench.collector.sent == [["a", "c"]]
    assert bench.stats.dropped == {"bot": 1}


@pytest.mark.parametrize("withheld", ["a", "b", "c"])
def test_a_withheld_event_in_a_batch_that_failed_does_not_make_the_destination_half_alive(withheld):
    bench = Bench(
        Scripted(forever=OSError("down")), withhold=lambda entry: "bot" if entry.record_id == withheld else None
    )
    bench.put(*"abc")
    for _ in range(OPEN_AFTER):
        bench.now += bench.step()
    assert bench.stats.breaker == "open"
    assert bench.outbox.next_due("scripted") is None, "what waits for the destination keeps its place in the log"
    bench.collector.forever = None
    bench.run(86_400)
    assert bench.collector.delivered == [name for name in "abc" if name != withheld]
    assert bench.stats.dropped == {"bot": 1}


def test_a_batch_of_which_nothing_is_sent_says_nothing_about_the_destination():
    bench = Bench(
        Scripted(forever=OSError("down"), max_batch=1),
        withhold=lambda entry: "bot" if "bot" in entry.record_id else None,
    )
    bench.put("bot1")
    bench.backoff.failed(bench.now, None)
    bench.now += CAP
    bench.step()
    assert bench.stats.dropped == {"bot": 1}
    assert bench.stats.breaker == "backoff"
    assert bench.backoff.failures == 1


def test_what_an_incompatible_version_wrote_is_dropped_and_counted():
    bench = Bench(Scripted())
    bench.put("a")
    bench.put("broken", payload=b'{"timestamp": "yesterday"}')
    bench.put("garbled", payload=b"\xff{")
    bench.put("b")
    bench.run()
    assert bench.collector.delivered == ["a", "b"]
    assert bench.stats.dropped == {"undecodable": 2}


class Crm(Scripted):
    def __init__(self, *script, **options):
        super().__init__(*script, **options)
        self.known = []

    def identify(self, user_id, traits):
        self.known.append((user_id, traits))


def test_identify_goes_to_collectors_that_know_it_and_is_counted_as_no_event():
    knows, knows_not = Bench(Crm()), Bench(Scripted())
    for bench in (knows, knows_not):
        bench.put("u1", kind="identify")
        bench.put("a")
        bench.run()
        assert bench.collector.delivered == ["a"]
        assert (bench.stats.accepted, bench.stats.delivered) == (1, 1)
    assert knows.collector.known == [("u1", {"n": "u1"})]


def test_who_takes_the_whole_record_needs_no_second_method():
    taken = []
    collector = Scripted()
    collector.take_identify = taken.append
    bench = Bench(collector)
    bench.put("u1", kind="identify")
    bench.run()
    assert [(record.user_id, record.traits) for record in taken] == [("u1", {"n": "u1"})]


def test_an_identify_that_fails_is_tried_again():
    bench = Bench(Crm())
    errors = iter([OSError("down"), None, None])

    def identify(user_id, traits):
        if error := next(errors):
            raise error
        bench.collector.known.append(user_id)

    bench.collector.identify = identify
    bench.consumer = Consumer(bench.collector, bench.outbox, clock=lambda: bench.now, backoff=bench.backoff)
    bench.put("u1", kind="identify")
    bench.run(60)
    assert bench.collector.known == ["u1"]


def test_an_event_keeps_its_id_on_every_attempt():
    ids = []
    bench = Bench(Scripted(*[lambda events: ids.extend(e.event_id for e in events) or OSError("x")] * 4))
    bench.put("a")
    bench.run(60)
    assert ids == ["a"] * 4


def test_events_that_overflow_while_they_are_sent_are_counted_once():
    bench = Bench(Scripted(), limit=3)

    def answer(events):
        bench.put("d", "e", "f", "g")

    bench.collector.script.append(answer)
    bench.put("a", "b", "c")
    bench.run()
    assert bench.collector.delivered == ["a", "b", "c", "e", "f", "g"]
    assert (bench.stats.delivered, bench.stats.dropped) == (6, {"overflow": 1})


# What a collector may answer to any batch: by name, for hypothesis to pick and to shrink.
def _some(events, of):
    return [event.event_id for event in events if hash_of(event) % of == 0]


def hash_of(event):
    return sum(event.event_id.encode())


ANSWERS = {
    "fine": lambda events: None,
    "503": lambda events: DeliveryError("503"),
    "429": lambda events: DeliveryError("429", retry_after=5.0),
    "exception": lambda events: RuntimeError("bug"),
    "400": lambda events: DeliveryError("400", permanent=True),
    "400 for some": lambda events: DeliveryError("400", permanent=True) if _some(events, 3) else None,
    "413": lambda events: DeliveryError("413", too_large=True) if len(events) > 1 else None,
    "timeout": lambda events: DeliveryError("timeout", ambiguous=True),
    "rejects some": lambda events: DeliveryError("207", rejected=dict.fromkeys(_some(events, 2), "no")),
    "retries some": lambda events: DeliveryError("207", retry=_some(events, 2)),
    "both": lambda events: DeliveryError("207", rejected=dict.fromkeys(_some(events, 3), "no"), retry=_some(events, 2)),
    "some uncertain": lambda events: DeliveryError("207", uncertain=_some(events, 2)),
}
steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(1, 6)),
        st.tuples(st.just("identify"), st.integers(1, 2)),
        st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 60.0, 1000.0])),
        st.tuples(st.just("step"), st.integers(1, 4)),
        st.tuples(st.just("answer"), st.sampled_from(sorted(ANSWERS))),
        st.tuples(st.just("choosy"), st.integers(0, 3)),
    ),
    max_size=40,
)


class Moody(Scripted):
    """Gives the same answer until told another; *choosy* makes `collect` raise for some events as well."""

    mood = "fine"
    choosy = 0

    def collect(self, event):
        if self.choosy and hash_of(event) % 4 < self.choosy:
            raise ValueError("not this one")
        super().collect(event)

    def send(self, events):
        if (answer := ANSWERS[self.mood](events)) is not None:
            raise answer
        self.delivered += [event.event_name for event in events]


@settings(max_examples=150, deadline=None)
@given(
    script=steps,
    dedupes=st.booleans(),
    max_batch=st.integers(1, 8),
    max_age=st.sampled_from([None, 30.0]),
    limit=st.sampled_from([8, 1000]),
    withheld=st.integers(1, 5),
)
def test_whatever_a_collector_answers_every_event_is_in_exactly_one_place(
    script, dedupes, max_batch, max_age, limit, withheld
):
    collector = Moody(dedupes=dedupes, max_batch=max_batch, max_age=max_age)
    bench = Bench(
        collector, limit=limit, withhold=lambda entry: "bot" if sum(entry.record_id.encode()) % 5 == withheld else None
    )
    count = 0
    for what, argument in script:
        if what in ("put", "identify"):
            names = [f"{what}{count + number}" for number in range(argument)]
            count += argument
            bench.put(*names, kind="event" if what == "put" else "identify")
        elif what == "wait":
            bench.now += argument
        elif what == "step":
            for _ in range(argument):
                bench.step()
                assert bench.balanced(), bench.stats
        elif what == "answer":
            collector.mood = argument
        else:
            collector.choosy = argument
        assert bench.balanced(), bench.stats

    # When all is well again nothing stays behind, and nothing was delivered twice to who can't tell.
    collector.mood, collector.choosy = "fine", 0
    bench.run(86_400)
    assert bench.stats.pending == 0
    assert bench.balanced()
    assert len(set(collector.delivered)) == len(collector.delivered)


# Threads.


def test_one_failing_or_hanging_collector_delays_no_other():
    gate, entered = threading.Event(), threading.Event()

    def hang(events):
        entered.set()
        assert gate.wait(DEADLINE)

    def fail(events):
        raise RuntimeError("always")

    hanging, failing, fine = (
        FakeCollector("hanging", fail=hang),
        FakeCollector("failing", fail=fail),
        FakeCollector("fine"),
    )
    analytics = Analytics([hanging, failing, fine], enabled=True)
    arrived = threading.Event()
    fine_send = fine.send
    fine.send = lambda events: (fine_send(events), arrived.set())
    for name in ("one", "two"):
        analytics.track(name)
        assert arrived.wait(DEADLINE)
        arrived.clear()
        assert entered.wait(DEADLINE)
    assert [event.event_name for event in fine.events] == ["one", "two"]
    assert (hanging.events, failing.events) == ([], [])
    assert not analytics.flush(0.05)
    gate.set()
    analytics.close()
    assert [event.event_name for event in hanging.events][:1] == ["one"]
    assert analytics.stats()["collectors"]["fine"]["delivered"] == 2


def test_flush_says_when_everything_has_arrived():
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True)
    for number in range(250):
        analytics.track(f"e{number}")
    assert analytics.flush()
    assert [event.event_name for event in collector.events] == [f"e{number}" for number in range(250)]
    analytics.close()
    assert collector.closed


@pytest.mark.parametrize(
    ("options", "sent"),
    [({"third_party": False}, True), ({}, False), ({"debug_sends": True}, True)],
    ids=["own", "vendor", "vendor told to send"],
)
def test_in_debug_a_third_party_gets_nothing_unless_told_otherwise(caplog, options, sent):
    collector = FakeCollector(**{"third_party": True, **options})
    analytics = Analytics([collector], enabled=True, debug=True)
    analytics.track("x")
    assert analytics.flush()
    analytics.close()
    stats = analytics.stats()["collectors"]["fake"]
    assert (len(collector.events), stats["dropped"]) == ((1, {}) if sent else (0, {"debug": 1}))
    assert ("fake would get" in caplog.text) is not sent


@pytest.mark.parametrize(
    ("error", "shown"), [(KeyError("propertis"), True), (DeliveryError("503"), False), (OSError("refused"), False)]
)
def test_a_bug_in_a_collector_is_told_with_its_traceback_and_a_destinations_trouble_in_one_line(caplog, error, shown):
    def send(_events):
        raise error

    collector = FakeCollector()
    collector.send = send
    analytics = Analytics([collector], enabled=True)
    analytics.track("x")
    assert not analytics.flush(0.5)
    analytics.close(0.1)
    told = [record for record in caplog.records if "can't be delivered to" in record.message]
    assert [record.levelname for record in told if record.levelno >= logging.WARNING] == ["WARNING"]
    assert bool(told[0].exc_info) is shown


@pytest.mark.parametrize("method", ["start", "collect", "flush", "close"])
def test_a_collector_that_raises_anywhere_harms_nobody(method):
    def broken(*_args):
        raise RuntimeError(f"{method} is broken")

    bad, good = FakeCollector("bad"), FakeCollector("good")
    setattr(bad, method, broken)
    analytics = Analytics([bad, good], enabled=True)
    analytics.track("x")
    analytics.flush(0.2)
    analytics.close()
    assert [event.event_name for event in good.events] == ["x"]
    assert good.closed
    stats = analytics.stats()["collectors"]
    assert stats["good"]["delivered"] == 1
    assert stats["bad"]["delivered"] == (1 if method == "close" else 0)


def test_a_thread_whose_log_fails_goes_on_when_it_works_again():
    class Flaky(MemoryOutbox):
        fail = 2

        def claim(self, consumer):
            if self.fail:
                self.fail -= 1
                raise OSError("disk gone")
            return super().claim(consumer)

    outbox = Flaky(10)
    outbox.register("fake")
    collector = FakeCollector()
    arrived = threading.Event()
    collector.send = lambda events: arrived.set()
    outbox.append([Draft("event", "a", 0.0, Event(event_id="a").encode())], {})
    runner = Runner(Consumer(collector, outbox), poll=False)
    runner.start()
    while not arrived.is_set():
        runner.wake()
        arrived.wait(0.01)
    runner.stop()
    assert runner.join(DEADLINE)
    assert outbox.fail == 0
    assert collector.closed


def test_a_runner_ends_after_the_batch_that_it_is_sending():
    gate, entered = threading.Event(), threading.Event()

    def hang(events):
        entered.set()
        assert gate.wait(DEADLINE)

    outbox = MemoryOutbox(10)
    outbox.register("fake")
    outbox.append([Draft("event", "a", 0.0, Event(event_id="a").encode())], {})
    runner = Runner(Consumer(FakeCollector(fail=hang), outbox), poll=False)
    runner.start()
    assert entered.wait(DEADLINE)
    runner.stop()
    assert not runner.join(0.01)
    gate.set()
    assert runner.join(DEADLINE)
    assert outbox.stats().consumers["fake"].delivered == 1
