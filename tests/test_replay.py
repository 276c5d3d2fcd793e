"""Filling a collector with history: each event once and in order, whatever interrupts it, and no faster than told."""

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_middleware import DeliveryError, Event
from analytics_middleware.delivery.replay import Replay
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.replaying import ReplayedMeanwhile, Span, forget_spans, missing_spans
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.testing import FakeCollector

NOW = 1_800_000_000.0
DAY = 86_400_000_000


class World:
    """An outbox on a clock that sleeping moves, a collector, and a history that is read as a store is."""

    def __init__(self, directory, times, **options):
        self.now = NOW
        self.outbox = SqliteOutbox(directory, clock=lambda: self.now, monotonic=lambda: self.now)
        self.times = sorted(times)
        self.sent = []
        self.fail = None
        self.collector = FakeCollector("vendor", fail=self._see, **options)
        self.outbox.register("vendor")

    def _see(self, events):
        if self.fail is not None:
            self.fail(events)
        self.sent += [(self.now, event.event_name) for event in events]

    def history(self, span):
        for number, at in enumerate(self.times):
            if span.start <= at < span.stop:
                event = Event(event_id=f"e{number}", event_name=f"{number}")
                yield Draft("event", event.event_id, at / 1_000_000, event.encode())

    def replay(self, **options):
        return Replay(self.collector, self.outbox, self.history, clock=lambda: self.now, sleep=self._sleep, **options)

    def _sleep(self, seconds):
        self.now += seconds

    def run(self, span=None, **options):
        for _ in self.replay(**options).run(span or Span(0, round(NOW * 1e6))):
            assert self.waiting <= 2000
        assert self.balanced()

    @property
    def waiting(self):
        return self.outbox.stats().consumers["vendor"].pending

    @property
    def names(self):
        return [int(name) for _, name in self.sent]

    def balanced(self):
        each = self.outbox.stats().consumers["vendor"]
        return each.accepted == each.delivered + sum(each.dropped.values()) + each.dead + each.pending


@pytest.fixture
def world(tmp_path):
    made = []

    def build(count, **options):
        made.append(World(tmp_path, [number * 1000 for number in range(count)], **options))
        return made[-1]

    yield build
    for each in made:
        each.outbox.close()


def test_much_of_it_arrives_in_order_and_little_of_it_waits_at_a_time(world):
    past = world(4321)
    past.run()
    assert sorted(past.names) == list(range(4321))
    # A batch that is tried apart from the others is sent in halves, in order all the same.
    assert past.names == sorted(past.names)


def test_no_more_events_go_out_in_a_second_than_told(world):
    past = world(300)
    past.run(rate=20)
    seconds = Counter(int(at - NOW) for at, _ in past.sent)
    assert len(past.sent) == 300
    assert max(seconds.values()) <= 20
    assert past.now - NOW == pytest.approx(300 / 20, abs=1.5)


def test_a_rate_below_one_is_one_event_at_a_time(world):
    past = world(3)
    past.run(rate=0.1)
    assert [at - NOW for at, _ in past.sent] == pytest.approx([0, 10, 20], abs=0.3)


def test_a_destination_that_is_down_ends_it_and_the_same_again_goes_on(world):
    past = world(700)

    def down(events):
        if past.now < NOW + 3600:
            raise DeliveryError("503 try later")

    past.fail = down
    with pytest.raises(DeliveryError, match="vendor can't be delivered to: DeliveryError: 503 try later"):
        past.run()
    assert past.sent == []
    assert past.balanced()
    past.now = NOW + 3600
    past.run()
    assert sorted(past.names) == list(range(700))


def test_two_at_once_do_not_double_anything(world):
    past = world(1200)
    span = Span(0, DAY)
    first = past.replay().run(span)
    next(first)
    second = past.replay().run(span)
    next(second)
    with pytest.raises(ReplayedMeanwhile):
        list(first)
    list(second)
    assert sorted(past.names) == list(range(1200))


def test_what_is_erased_while_it_waits_is_counted_so(world):
    from analytics_middleware.erasing import erase_record

    past = world(0)
    event = Event(user_id="ann", event_name="0")
    past.history = lambda span: iter([Draft("event", "e0", event.timestamp.timestamp(), event.encode())])

    def erase_first(events):
        past.fail = None
        past.outbox.erase(*erase_record("ann"))
        raise DeliveryError("try later")

    past.fail = erase_first
    past.run(Span(0, round((NOW + DAY) * 1e6)))
    assert past.sent == []
    assert past.outbox.stats().consumers["vendor"].dropped == {"erased": 1}
    past.history = lambda span: iter([Draft("event", "e1", event.timestamp.timestamp(), event.encode())])
    forget_spans(past.outbox.database, "vendor", Span(0, 2**60))
    past.run(Span(0, round((NOW + DAY) * 1e6)))
    assert past.sent == []
    assert past.balanced()


def test_nobodys_flush_waits_for_the_past(world):
    past = world(10)
    past.fail = lambda events: (_ for _ in ()).throw(DeliveryError("503"))
    with pytest.raises(DeliveryError):
        past.run()
    assert past.waiting == 10
    assert past.outbox.passed("vendor", 0)
    assert past.outbox.stats().consumers["vendor"].oldest_pending is None, "nor does it lag"


spans = st.tuples(st.integers(0, 30), st.integers(0, 30)).map(sorted).map(lambda both: Span(both[0], both[1] + 1))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(0, 30), max_size=1500),
    st.lists(st.tuples(spans, st.integers(0, 6)), min_size=1, max_size=5),
    st.sets(st.integers(0, 30), max_size=4),
)
def test_whatever_is_asked_for_and_wherever_it_stops_each_event_goes_out_once(times, runs, failing):
    with TemporaryDirectory() as directory:
        world = World(Path(directory), times, max_batch=7)
        batches = iter(range(10**6))

        def sometimes(events):
            if next(batches) in failing:
                raise DeliveryError("not now")

        world.fail = sometimes
        for span, steps in runs:
            stopped = world.replay().run(span)
            for _ in zip(range(steps), stopped, strict=False):
                pass
            stopped.close()
            assert world.balanced()
        for span, _ in runs:
            world.run(span)
        wanted = [n for n, at in enumerate(world.times) if any(span.start <= at < span.stop for span, _ in runs)]
        assert sorted(world.names) == wanted
        for span, _ in runs:
            assert missing_spans(world.outbox.database, "vendor", span) == []
        world.outbox.close()


@given(st.lists(st.tuples(spans, st.booleans()), max_size=8), spans)
@settings(max_examples=60, deadline=None)
def test_spans_are_remembered_and_forgotten_exactly(steps, whole):
    from analytics_middleware.outbox.replaying import hand_over

    with TemporaryDirectory() as directory:
        outbox = SqliteOutbox(Path(directory))
        outbox.register("vendor")
        given = set()
        for span, again in steps:
            if again:
                forget_spans(outbox.database, "vendor", span)
                given -= set(range(*span))
            for part in missing_spans(outbox.database, "vendor", span):
                hand_over(outbox.database, "vendor", [], [], part)
            given |= set(range(*span))
        missing = {at for span in missing_spans(outbox.database, "vendor", whole) for at in range(*span)}
        assert missing == set(range(*whole)) - given
        outbox.close()
