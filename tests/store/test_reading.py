"""Reading everything back: at one point, in order, whatever happens to files meanwhile, and complete for a copy."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_middleware.event import Erase, Event, EventType, Identify, Visit
from analytics_middleware.money import Money
from analytics_middleware.outbox.base import LeaseLost
from analytics_middleware.store import FirstSeen, Insights, MemoryStore
from analytics_middleware.store.columns import events_of, table_of
from analytics_middleware.store.instants import micros
from analytics_middleware.store.spilling import sorted_tables

from .conftest import NOW, LoggedStore, seal

START = datetime(2025, 3, 1, tzinfo=UTC)


def days(count, user="ann", first=0, **fields):
    return [
        Event(event_id=f"{user}{number}", timestamp=START + timedelta(days=number), user_id=user, **fields)
        for number in range(first, first + count)
    ]


@pytest.fixture
def durable(tmp_path):
    store = LoggedStore(tmp_path, clock=NOW.timestamp)
    yield store
    store.close()


def test_an_event_comes_back_as_it_went_in(store):
    """All but the address and the request, which no store keeps."""
    event = Event(
        event_name="bought",
        action_name="buy",
        timestamp=START + timedelta(microseconds=1),
        client_ip="192.0.2.1",
        locale="en-GB",
        hostname="shop.example",
        user_id="ann",
        anon_id="k",
        matched_pattern="/buy/{id}",
        url="https://shop.example/buy/1",
        path="/buy/1",
        method="POST",
        user_agent="a \x00 b",
        referrer="https://é.example/",
        duration=0.25,
        status_code=201,
        properties={"n": 1, "f": 1.0, "none": None, "yes": True, "text": "=1+1", "": "\N{SNOWMAN}"},
        revenue=Money("-12.345", "BHD"),
        visit=Visit(session_id="s", is_bot=True, browser="B", country="GB", trace_id="t"),
    )
    store.apply([event])
    assert list(store.events()) == [event.replace(client_ip=None)]


def test_what_names_nobody_is_no_id(store):
    store.apply([Event(event_id="e", timestamp=START, user_id="undefined", anon_id="")])
    assert [(event.user_id, event.anon_id) for event in store.events()] == [(None, None)]


def test_a_reading_is_of_the_point_at_which_it_was_asked_for(durable):
    """Also when meanwhile events come, users are erased, and files are compacted and deleted."""
    durable.apply(days(5))
    durable.maintain()
    durable.apply(days(5, first=5))
    seal(durable)
    reading = durable.events()
    durable.apply([*days(1, first=9, user="bob"), Erase(user_id="ann", timestamp=NOW)])
    durable.maintain()
    durable.sealer.compactor.collect(-1)
    assert [event.event_id for event in reading] == [f"ann{number}" for number in range(10)]
    assert [event.event_id for event in durable.events()] == ["bob9"]


def test_what_is_too_old_is_left_out_before_files_are_rewritten(tmp_path):
    store = LoggedStore(tmp_path, retention_days=5, clock=NOW.timestamp)
    store.apply(days(10))
    store.maintain()
    assert [event.timestamp for event in store.events()] == [START + timedelta(days=number) for number in range(6, 10)]
    store.close()


def test_first_dates_outlive_events(tmp_path):
    store = LoggedStore(tmp_path, retention_days=1, clock=NOW.timestamp)
    store.apply([Event(timestamp=START, anon_id="k", type=EventType.PAGEVIEW, visit=Visit(is_bot=True)), *days(3)])
    store.maintain()
    assert list(store.events()) == []
    assert sorted(store.first_seen(), key=lambda seen: seen.user_id or "") == [
        FirstSeen(None, "k", START, None),
        FirstSeen("ann", None, START, START),
    ]
    store.close()
    memory = MemoryStore(max_events=1)
    memory.apply(days(3))
    assert list(memory.first_seen()) == [FirstSeen("ann", None, START, START)]


@pytest.mark.parametrize("compacted", [False, True])
def test_a_copy_knows_newcomers_whose_first_events_are_deleted(tmp_path, compacted):
    """And nobody who was erased."""
    store = LoggedStore(tmp_path / "store", retention_days=5, clock=NOW.timestamp)
    store.apply([*days(11), *days(11, "bob", 2), *days(2, "gone"), *days(1, "gone", 10)])
    store.maintain()
    copy, memory = LoggedStore(tmp_path / "copy"), MemoryStore()
    seen = list(store.first_seen())
    for each in (copy, memory):
        each.apply([*store.events(), *store.people(), Erase(user_id="gone", timestamp=START + timedelta(days=5))])
        if compacted and each is copy:
            assert each.maintain()
        each.apply_first_seen(seen)
    span = {"start": START, "end": NOW}
    answers = [
        [
            ask.retention_matrix(**span),
            ask.lifecycle(**span),
            ask.retention(START),
            [ask.timeline(user, **span).user for user in ("ann", "bob", "gone")],
        ]
        for ask in (Insights(each, clock=lambda: NOW) for each in (copy, memory))
    ]
    assert answers[0] == answers[1]
    assert [user.first_seen for user in answers[0][3]] == [START + timedelta(days=day) for day in (0, 2, 10)]
    copy.apply([Erase(user_id="bob", timestamp=NOW)])
    assert copy.maintain()
    assert {each.user_id for each in copy.first_seen()} == {"ann", "gone"}
    copy.close()
    store.close()


def test_first_dates_are_refused_while_another_process_serves_the_store(tmp_path):
    store, other = LoggedStore(tmp_path), LoggedStore(tmp_path)
    assert store.maintain()
    with pytest.raises(LeaseLost, match="another process"):
        other.apply_first_seen([FirstSeen("ann", None, START, START)])
    store.close()
    other.apply_first_seen([FirstSeen("ann", None, START, START), FirstSeen("null", None, START, None)])
    assert list(other.first_seen()) == [FirstSeen("ann", None, START, START)]
    other.close()


def test_one_users_events_hold_their_anonymous_past_but_nobody_elses(store):
    store.apply(
        [
            Event(event_id="a", timestamp=START, anon_id="k"),
            Event(event_id="b", timestamp=START + timedelta(hours=1), anon_id="k", user_id="ann"),
            Event(event_id="c", timestamp=START + timedelta(hours=2), anon_id="k", user_id="bob"),
            Event(event_id="d", timestamp=START, anon_id="l"),
        ]
    )
    assert [event.event_id for event in store.events(user_id="ann")] == ["a", "b"]
    assert [event.event_id for event in store.events(user_id="bob")] == ["c"]
    assert list(store.events(user_id="eve")) == []


def test_reading_goes_on_after_any_event(store):
    same_time = [Event(event_id=f"e{number}", timestamp=START) for number in range(4)]
    store.apply([*same_time, *days(2, first=1)])
    everything = list(store.events())
    for index, event in enumerate(everything):
        assert list(store.events(after=(event.timestamp, event.event_id))) == everything[index + 1 :]


def test_people_are_told_as_the_records_that_made_them_known(store):
    """Who was erased, and whose browser; who is who; what is known of whom, removed traits included."""
    store.apply(
        [
            Event(event_id="tie", timestamp=START, anon_id="g", user_id="gone"),
            Erase(user_id="gone", timestamp=START + timedelta(days=1)),
            Identify(event_id="i", user_id="ann", anon_id="k", traits={"plan": "pro", "age": 30}, timestamp=START),
            Identify(event_id="j", user_id="ann", traits={"plan": None}, timestamp=START + timedelta(hours=1)),
        ]
    )
    [erase, browser, *known] = store.people()
    assert (erase.user_id, erase.timestamp) == ("gone", START + timedelta(days=1))
    assert (browser.user_id, browser.anon_id) == ("gone", "g")
    assert [(each.event_id, each.anon_id, each.traits) for each in known] == [
        ("i", "k", {"age": 30}),
        ("j", None, {"plan": None}),
    ]
    assert list(store.people(user_id="ann")) == known
    copy = MemoryStore()
    copy.apply([*store.events(), *store.people(), Event(event_id="late", timestamp=START, anon_id="g")])
    assert list(copy.events()) == []
    assert Insights(copy).traits("ann") == {"age": 30}


@settings(deadline=None)
@given(
    st.lists(st.lists(st.tuples(st.integers(0, 50), st.text("ab", max_size=3)), max_size=30), max_size=5),
    st.integers(1, 20),
)
def test_more_than_fits_into_memory_comes_out_sorted(tmp_path_factory, batches, at_once):
    tables = [
        table_of([Event(event_id=text, timestamp=START + timedelta(hours=hour)) for hour, text in batch])
        for batch in batches
    ]
    times = np.array([micros(START + timedelta(hours=hour)) for batch in batches for hour, _ in batch], np.int64)
    found = sorted_tables(tables, times, tmp_path_factory.getbasetemp(), at_once=at_once)
    rows = [((event.timestamp - START) // timedelta(hours=1), event.event_id) for t in found for event in events_of(t)]
    assert rows == sorted(row for batch in batches for row in batch)
