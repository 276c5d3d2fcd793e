"""A store is given what the log holds in the batches that suit it, and all of it."""

from datetime import UTC, datetime, timedelta

import pytest

from analytics_middleware.event import Event
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import MemoryStore
from analytics_middleware.store.feed import StoreFeed

from .conftest import damaged, drafts

NOW = datetime(2025, 3, 12, 12, tzinfo=UTC)


class Large(MemoryStore):
    """Wants few batches, and large ones."""

    max_batch = 20
    linger = 1.0

    def __init__(self):
        super().__init__(clock=lambda: NOW)
        self.sizes = []

    def apply(self, records):
        self.sizes.append(len(records))
        super().apply(records)


@pytest.fixture
def clock():
    return [NOW.timestamp()]


@pytest.fixture
def feed(tmp_path, clock):
    outbox = SqliteOutbox(tmp_path)
    outbox.register("store")
    feed = StoreFeed(Large(), outbox, clock=lambda: clock[0])
    yield feed
    feed.close()
    outbox.close()


def log(feed, count):
    at = NOW + timedelta(seconds=0)
    feed._outbox.append(drafts([Event(event_name="a", timestamp=at) for _ in range(count)]), {})


def test_a_batch_waits_for_company_and_not_for_ever(feed, clock):
    log(feed, 3)
    assert 0 < feed.step() <= 1.0
    log(feed, 3)
    clock[0] += 0.5
    assert 0 < feed.step() <= 0.5
    assert feed._store.sizes == []
    clock[0] += 0.5
    assert feed.step() == 0.0
    assert feed._store.sizes == [6]
    assert feed.step() is None


def test_a_full_batch_does_not_wait(feed):
    log(feed, 45)
    assert feed.step() == feed.step() == 0.0
    assert feed._store.sizes == [20, 20]
    assert 0 < feed.step() <= 1.0


def test_a_batch_that_fills_while_it_waits_goes_at_once(feed):
    log(feed, 3)
    assert feed.step() > 0
    log(feed, 30)
    assert feed.step() == 0.0
    assert feed._store.sizes == [20]


def test_who_is_in_a_hurry_waits_for_nothing(feed):
    log(feed, 3)
    assert feed.step(hurry=True) == 0.0
    assert feed._store.sizes == [3]


def test_a_clock_that_was_set_back_holds_up_nothing(feed, clock):
    log(feed, 3)
    assert feed.step() > 0
    clock[0] -= 3600
    assert feed.step() == 0.0
    assert feed._store.sizes == [3]


def test_what_can_not_be_read_is_passed_over_and_counted(feed):
    feed._outbox.append([*damaged(), *drafts([Event(event_name="a", timestamp=NOW)])], {})
    assert feed.step(hurry=True) == 0.0
    stats = feed._outbox.stats().consumers["store"]
    assert (stats.delivered, stats.dropped, stats.pending) == (1, {"undecodable": 1}, 0)
    assert feed.step(hurry=True) is None


def test_an_outage_is_logged_once(feed, clock, caplog, monkeypatch):
    def refuse(records):
        raise OSError("down")

    log(feed, 1)
    with monkeypatch.context() as outage:
        outage.setattr(feed._store, "apply", refuse)
        for _ in range(3):
            assert feed.step(hurry=True) == 0.0
            clock[0] += 600
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "analytics: the store can't take events now; they wait: down"
    ]
    feed.step(hurry=True)
    assert feed._store.sizes == [1]
