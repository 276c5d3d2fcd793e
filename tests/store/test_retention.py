"""Retention by age: old events go, the dates of first visits stay."""

from datetime import UTC, date, datetime, timedelta

import pytest

from analytics_middleware.event import Event
from analytics_middleware.store import Insights

from .conftest import LoggedStore

NOW = datetime(2025, 6, 15, 12, tzinfo=UTC)
YEAR = {"start": date(2025, 1, 1), "end": date(2026, 1, 1)}


def event(days_ago, user="ann", **fields):
    return Event(event_name="a", timestamp=NOW - timedelta(days=days_ago), user_id=user, **fields)


@pytest.fixture
def clock():
    return [NOW]


@pytest.fixture
def store(tmp_path, clock):
    store = LoggedStore(tmp_path, retention_days=30, clock=lambda: clock[0].timestamp())
    yield store
    store.close()


def total(store):
    return sum(point.count for point in Insights(store).volume("", **YEAR, bucket="month"))


def stored(store):
    return store.sql("SELECT count(*) FROM events").rows[0][0]


def test_events_older_than_so_many_days_are_deleted(store, clock):
    store.apply([event(29), event(1)])
    store.maintain()
    assert total(store) == 2
    clock[0] = NOW + timedelta(days=10)
    store.maintain()
    assert (total(store), stored(store)) == (1, 1)
    assert [segment.month for segment in store.sealer.state().segments] == ["2025-06"]


def test_a_month_that_is_wholly_too_old_has_no_file_any_more(store, clock):
    store.apply([event(20), event(25)])
    store.maintain()
    clock[0] = NOW + timedelta(days=60)
    store.maintain()
    assert store.sealer.state().segments == ()
    assert (total(store), stored(store)) == (0, 0)


def test_it_happens_by_itself(store, clock):
    store.apply([event(29), event(1)])
    store.sealer.step(hurry=True)
    store.sealer.step()
    clock[0] = NOW + timedelta(days=2)
    store.sealer._tended = None
    assert store.sealer.step() == 0.0
    assert stored(store) == 1


def test_first_seen_dates_outlive_the_events(store, clock):
    store.apply([event(29), event(1), event(1, "bob"), event(28, None, anon_id="k"), event(2, "cy", anon_id="k")])
    store.maintain()
    clock[0] = NOW + timedelta(days=10)
    store.maintain()
    ask = Insights(store, clock=lambda: clock[0])
    assert ask.retention(NOW - timedelta(days=1), (0,))[0].returned == 1  # bob; ann had been there before
    assert ask.timeline("ann", **YEAR).user.first_seen == NOW - timedelta(days=29)
    assert ask.timeline("cy", **YEAR).user.first_seen == NOW - timedelta(days=28)


def test_what_is_too_old_does_not_come_back(store, clock):
    store.apply([event(29, event_id="old")])
    store.maintain()
    clock[0] = NOW + timedelta(days=10)
    store.maintain()
    store.apply([event(29, event_id="old"), event(100)])
    assert total(store) == 0
    store.maintain()
    assert (total(store), stored(store)) == (0, 0)


def test_without_a_limit_events_stay(tmp_path):
    store = LoggedStore(tmp_path / "all", clock=lambda: NOW.timestamp())
    store.apply([event(3650), event(1)])
    store.maintain()
    assert stored(store) == 2
    store.close()


def test_less_than_a_day_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="retention_days 0"):
        LoggedStore(tmp_path / "none", retention_days=0)


def test_after_a_clock_that_was_years_ahead_events_count_again(store, clock):
    store.apply([event(1)])
    store.maintain()
    clock[0] = NOW + timedelta(days=2000)
    store.maintain()
    assert total(store) == 0
    clock[0] = NOW
    store.maintain()
    store.apply([event(2), event(31)])
    assert total(store) == 1


def test_events_that_are_to_be_kept_longer_now_are_taken(store, tmp_path, clock):
    store.apply([event(29), event(1)])
    store.maintain()
    clock[0] = NOW + timedelta(days=10)
    store.maintain()
    store.close()
    longer = LoggedStore(tmp_path, retention_days=60, clock=lambda: clock[0].timestamp())
    longer.maintain()
    longer.apply([event(45), event(55)])
    assert total(longer) == 2
    longer.close()


def test_who_does_not_know_how_long_events_are_kept_changes_nothing_about_it(store, tmp_path, clock):
    store.apply([event(29), event(1)])
    clock[0] = NOW + timedelta(days=10)
    store.maintain()
    store.close()
    unaware = LoggedStore(tmp_path, clock=lambda: clock[0].timestamp())
    unaware.apply([event(29, user="bob")])
    assert unaware.maintain()
    assert total(unaware) == 1
    unaware.close()
