"""Moving over: another store answers as the embedded one does, wherever the copy was interrupted."""

from datetime import timedelta

import pytest

from analytics_middleware.event import Erase, Event, EventType, Identify, Visit
from analytics_middleware.outbox.shelf import SharedShelf
from analytics_middleware.store import Insights, MemoryStore
from analytics_middleware.store.copying import Copy

from .conftest import NOW, LoggedStore

YEAR = {"start": NOW - timedelta(days=365), "end": NOW + timedelta(days=1)}


def happened(number, user="ann", **fields):
    return Event(
        event_id=f"{user}-{number}", event_name="order", timestamp=NOW - timedelta(days=number), user_id=user, **fields
    )


@pytest.fixture
def source(tmp_path):
    store = LoggedStore(tmp_path, clock=NOW.timestamp)
    yield store
    store.close()


@pytest.fixture
def shelf(source):
    return SharedShelf(source.outbox.database)


def memory():
    return MemoryStore(clock=lambda: NOW)


def copied(source, shelf, destination):
    copy = Copy(source, destination, shelf, "there")
    return copy.events(lambda _: None), copy.people(), copy.first_seen()


class Failing(MemoryStore):
    """Takes one batch, and then one without saying so."""

    batches = 0

    def apply(self, records):
        super().apply(records)
        self.batches += 1
        if self.batches == 2:
            raise OSError("no answer")


def test_the_other_store_answers_as_this_one_and_forgets_whom_this_one_forgot(source, shelf):
    source.apply([happened(number, anon_id="k", properties={"n": number}) for number in range(30)])
    source.apply([happened(number, "bob") for number in range(5)])
    source.apply([Event(timestamp=NOW - timedelta(days=40), anon_id="k", type=EventType.PAGEVIEW)])
    source.apply([Event(timestamp=NOW, type=EventType.PAGEVIEW, visit=Visit(is_bot=True))])
    source.apply([Identify(user_id="ann", traits={"plan": "pro", "gone": None}, timestamp=NOW)])
    source.apply([Erase(user_id="bob", timestamp=NOW - timedelta(days=2))])
    source.maintain()
    source.apply([happened(30)])
    other = memory()
    events, people, _ = copied(source, shelf, other)
    assert events == 31 + 2 + 2
    assert people >= 2
    here, there = (Insights(store, clock=lambda: NOW) for store in (source, other))
    for ask in (
        lambda insights: insights.volume(**YEAR, bots=True, breakdown="user_id"),
        lambda insights: insights.active_users(**YEAR),
        lambda insights: insights.timeline(user_id="ann", **YEAR),
        lambda insights: insights.traits("ann"),
        lambda insights: insights.retention(NOW - timedelta(days=40), offsets=(0, 10, 40)),
        lambda insights: insights.sessions(**YEAR),
    ):
        assert ask(here) == ask(there)
    other.apply([happened(3, "bob")])
    assert Insights(other, clock=lambda: NOW).traits("bob") == {}
    assert there.volume(**YEAR, where=[{"field": "user_id", "op": "eq", "value": "bob"}])[-1].count == 0


def test_first_dates_outlive_the_events_they_are_of(tmp_path):
    source = LoggedStore(tmp_path, clock=NOW.timestamp, retention_days=30)
    source.apply([happened(29), happened(0), happened(29, "bob", type=EventType.CUSTOM)])
    source.maintain()
    later = NOW + timedelta(days=10)
    source.close()
    source = LoggedStore(tmp_path, clock=later.timestamp, retention_days=30)
    source.maintain()
    other = MemoryStore(clock=lambda: later)
    assert copied(source, SharedShelf(source.outbox.database), other)[2] == 2
    here, there = (Insights(store, clock=lambda: later) for store in (source, other))
    assert here.retention(NOW, offsets=(0,)) == there.retention(NOW, offsets=(0,))
    assert there.retention(NOW, offsets=(0,))[0].returned == 0, "ann had been there before"
    assert there.timeline(user_id="ann", **YEAR).user == here.timeline(user_id="ann", **YEAR).user
    source.close()


def test_a_copy_goes_on_where_it_stopped(source, shelf):
    source.apply([happened(number, user) for user in map(str, range(130)) for number in range(100)])
    source.maintain()
    other = Failing(clock=lambda: NOW)
    copy = Copy(source, other, shelf, "there")
    steps = []
    with pytest.raises(OSError, match="no answer"):
        copy.events(steps.append)
    assert steps == [5000]
    assert copy.position is not None
    assert copy.position.copied == 5000
    # In another process, with what has come meanwhile; what came without a word counts once.
    source.apply([happened(0, "new")])
    again = Copy(source, other, shelf, "there")
    assert again.events(steps.append) == 8001
    assert sum(month.there for month in again.months(other, NOW)) == 13_001
    assert [month.here for month in again.months(other, NOW)] == [month.there for month in again.months(other, NOW)]
    assert again.events(steps.append) == 0


def test_each_destination_has_its_own_place(source, shelf):
    source.apply([happened(1)])
    for name in ("there", "elsewhere"):
        assert Copy(source, memory(), shelf, name).events(lambda _: None) == 1


def test_what_came_late_shows_in_the_counts_and_is_copied_from_the_start(source, shelf):
    source.apply([happened(1), happened(40)])
    other = memory()
    copied(source, shelf, other)
    source.apply([happened(39, "late")])
    copy = Copy(source, other, shelf, "there")
    assert copy.events(lambda _: None) == 0
    assert [(f"{month.time:%Y-%m}", month.here, month.there) for month in copy.months(other, NOW)] == [
        ("2025-01", 1, 1),
        ("2025-02", 1, 0),
        ("2025-03", 1, 1),
    ]
    copy.restart()
    assert copy.events(lambda _: None) == 3
    assert all(month.here == month.there for month in copy.months(other, NOW))


def test_an_empty_store_is_soon_copied(source, shelf):
    copy = Copy(source, memory(), shelf, "there")
    assert (copy.events(lambda _: None), copy.people(), copy.first_seen(), copy.months(None, NOW)) == (0, 0, 0, [])
