"""What is MemoryStore's own: its bound, what outlives dropped events, threads."""

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_middleware.event import Erase, Event, Identify
from analytics_middleware.store import COOKIELESS_PREFIX, ActiveUsers, Insights, MemoryStore

START = datetime(2025, 3, 1, tzinfo=UTC)
MARCH = {"start": date(2025, 3, 1), "end": date(2025, 4, 1)}


def events(count, user=None, anon=None, first=0):
    return [
        Event(event_name="a", timestamp=START + timedelta(hours=hour), user_id=user, anon_id=anon)
        for hour in range(first, first + count)
    ]


def total(store):
    return sum(count.count for count in Insights(store).top_events(**MARCH))


def test_the_oldest_events_make_room_and_are_counted():
    store = MemoryStore(max_events=10)
    store.apply(events(25)[::-1])
    assert (len(store), store.dropped) == (10, 15)
    assert Insights(store).top_events(START + timedelta(hours=15), end=date(2025, 4, 1))[0].count == 10


def test_a_dropped_event_that_comes_again_is_not_kept_for_a_newer_one():
    store = MemoryStore(max_events=3)
    batch = events(5)
    store.apply(batch)
    store.apply(batch)
    assert [event.time for event in Insights(store).volume("", **MARCH)[:1]] == [START]
    assert total(store) == 3


def test_first_seen_ties_and_traits_outlive_dropped_events():
    store = MemoryStore(max_events=3)
    store.apply([*events(1, "ann", "cookie"), Identify(user_id="ann", traits={"plan": "pro"}, timestamp=START)])
    store.apply(
        [Identify(user_id=f"u{number}", traits={"n": 1}, timestamp=START + timedelta(1)) for number in range(3)]
    )
    store.apply([*events(2, "bob", first=30), *events(1, anon="cookie", first=40)])
    ask = Insights(store)
    assert (store.dropped, ask.traits("ann")) == (1, {"plan": "pro"})
    timeline = ask.timeline("ann", **MARCH)
    assert len(timeline.events) == 1
    assert timeline.user is not None
    assert timeline.user.first_seen == START
    assert ask.retention(date(2025, 3, 2), (0,))[0].returned == 1  # bob; ann was seen the day before


def test_what_remains_of_dropped_events_is_bounded_and_erased_too():
    store = MemoryStore(max_events=2)
    for number in range(10):
        store.apply(events(1, f"u{number}", f"c{number}", first=number))
    store.apply([Erase(user_id="u7", timestamp=START + timedelta(days=5))])
    store.apply(events(1, anon="c7", first=7))
    assert store.refused == 1
    assert total(store) == 2


def test_the_clock_decides_what_is_the_future():
    store = MemoryStore(clock=lambda: START)
    store.apply(
        [Event(timestamp=START + timedelta(hours=1)), Event(timestamp=START + timedelta(hours=1, microseconds=1))]
    )
    store.apply([Identify(user_id="ann", traits={"a": 1}, timestamp=START + timedelta(hours=2))])
    assert (len(store), store.refused, Insights(store).traits("ann")) == (1, 2, {})


def test_later_changes_to_an_event_do_not_reach_the_store():
    store = MemoryStore()
    [event] = events(1)
    event.properties["p"] = "before"
    store.apply([event])
    event.event_name, event.properties["p"] = "changed", "after"
    ask = Insights(store)
    assert [item.key for item in ask.top_properties("a", "p", **MARCH)] == ["before"]


def test_an_answer_is_one_consistent_point_while_others_write():
    store, failed = MemoryStore(), []

    def write(user):
        for event in events(50, user):
            store.apply([event, Event(event_name="twin", timestamp=event.timestamp, user_id=user)])

    def read():
        for _ in range(20):
            counts = Insights(store).top_events(**MARCH)
            if len({item.count for item in counts}) > 1 or len(counts) not in (0, 2):
                failed.append(counts)

    threads = [threading.Thread(target=write, args=(user,)) for user in "xyz"] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert total(store) == 300


moments = st.integers(0, 9).map(lambda hour: START + timedelta(hours=hour))
users = st.sampled_from(["ann", "bob"])
cookies = st.sampled_from(["k", "l", COOKIELESS_PREFIX + "x"])
records = st.lists(
    st.builds(
        Event,
        event_id=st.uuids().map(str),
        event_name=st.sampled_from("ab"),
        timestamp=moments,
        user_id=st.none() | users,
        anon_id=st.none() | cookies,
    )
    | st.builds(
        Identify,
        event_id=st.uuids().map(str),
        timestamp=moments,
        user_id=users,
        anon_id=st.none() | cookies,
        traits=st.dictionaries(st.just("plan"), st.sampled_from(["free", "pro", None])),
    )
    | st.builds(Erase, event_id=st.uuids().map(str), timestamp=moments, user_id=users),
    max_size=10,
)


def answers(*batches):
    store = MemoryStore()
    for batch in batches:
        store.apply(batch)
    ask = Insights(store)
    return [
        ask.volume(**MARCH),
        ask.active_users(**MARCH),
        ask.funnel(["a", "b"], **MARCH),
        ask.retention(START),
        ask.users(ActiveUsers(start=START, end=START + timedelta(days=9))),
        [ask.timeline(user, **MARCH) for user in ("ann", "bob")],
        [ask.traits(user) for user in ("ann", "bob")],
    ]


@settings(max_examples=300, deadline=None)
@given(records.flatmap(lambda batch: st.tuples(st.just(batch), st.permutations(batch))))
def test_neither_order_nor_repetition_of_records_changes_an_answer(orders):
    batch, shuffled = orders
    assert answers(batch) == answers(shuffled, batch) == answers(*([record] for record in shuffled))


def test_room_for_no_event_is_an_error():
    with pytest.raises(ValueError, match="max_events 0"):
        MemoryStore(0)
