"""What is DuckDBStore's own: what it needs, what it remembers, what it keeps in memory, several threads at once."""

import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta

import pytest

from analytics_middleware.event import Erase, Event, Identify
from analytics_middleware.store import ActiveUsers, Insights, TopEvents
from analytics_middleware.store._base import ColumnCache
from analytics_middleware.store._months import month_name, month_number
from analytics_middleware.store.columns import SCHEMA, event_hashes, table_of

from .conftest import LoggedStore, damaged, drafts, seal

START = datetime(2025, 3, 1, tzinfo=UTC)
MARCH = {"start": date(2025, 3, 1), "end": date(2025, 4, 1)}
NOW = datetime(2025, 3, 20, tzinfo=UTC)


def events(count, first=0, user="ann", **fields):
    return [
        Event(event_name="a", timestamp=START + timedelta(hours=number), user_id=user, **fields)
        for number in range(first, first + count)
    ]


@pytest.fixture
def store(tmp_path):
    store = LoggedStore(tmp_path)
    yield store
    store.close()


def total(store):
    return Insights(store).volume("", **MARCH, bucket="month")[0].count


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize("missing", ["duckdb", "numpy", "pyarrow"])
def test_without_its_libraries_the_error_names_the_extra(missing):
    done = python(f"import sys; sys.modules[{missing!r}] = None; from analytics_middleware.store import DuckDBStore")
    assert f"MissingExtraError: the embedded store needs {missing}" in done.stderr
    assert "pip install 'analytics-middleware[insights]'" in done.stderr


def test_importing_the_package_loads_none_of_its_libraries():
    done = python(
        "import sys, analytics_middleware.store; "
        "print([name for name in ('duckdb', 'numpy', 'pyarrow') if name in sys.modules])"
    )
    assert done.stdout == "[]\n"


def test_an_answer_is_remembered_until_something_changes(store):
    store.apply(events(2))
    question = TopEvents(start=START, end=NOW)
    first = store.top_events(question)
    assert store.top_events(question) is first
    store.apply(events(1, first=5))
    assert store.top_events(question)[0].count == 3


def test_what_is_not_over_yet_is_not_remembered_past_its_end(store):
    now = [datetime(2025, 3, 1, 23, 59, 30, tzinfo=UTC)]
    ask = Insights(store, clock=lambda: now[0])
    assert ask.volume("", date(2025, 3, 1), date(2025, 3, 2))[0].incomplete
    now[0] += timedelta(seconds=30)
    assert not ask.volume("", date(2025, 3, 1), date(2025, 3, 2))[0].incomplete


def test_the_same_events_sealed_late_and_in_many_pieces_answer_the_same(store):
    for number in range(20):
        store.apply(events(1, first=19 - number, user=f"u{number % 3}"))
        assert total(store) == number + 1
        if number % 7 == 6:
            seal(store)
        if number == 10:
            store.maintain()
    assert Insights(store).active_users(**MARCH).count == 3


def test_of_two_events_with_one_id_the_first_counts(store):
    store.apply([Event(event_id="1", event_name="first", timestamp=START)])
    store.apply([Event(event_id="1", event_name="second", timestamp=START + timedelta(days=1))])
    for change in (lambda: None, lambda: seal(store), store.maintain):
        change()
        assert [item.key for item in Insights(store).top_events(**MARCH)] == ["first"]
    store.apply([Event(event_id="1", event_name="third", timestamp=START)])
    assert [item.key for item in Insights(store).top_events(**MARCH)] == ["first"]


def test_a_record_that_can_not_be_read_is_counted_and_holds_up_nothing(store):
    store.outbox.append([*damaged(), *drafts(events(2))], {})
    assert total(store) == 2
    store.maintain()
    stats = store.outbox.stats().consumers["store"]
    assert (stats.delivered, stats.dropped, stats.pending) == (2, {"undecodable": 1}, 0)
    assert total(store) == 2


def test_refused_events_are_counted(store):
    store.apply([Event(timestamp=datetime.now(UTC) + timedelta(hours=2)), *events(1)])
    store.maintain()
    stats = store.outbox.stats().consumers["store"]
    assert (stats.delivered, stats.dropped) == (1, {"refused": 1})


def test_history_can_be_loaded_as_a_table(store):
    people = [Event(event_name="b", timestamp=START, user_id="ann", anon_id="k"), *events(1, user=None, anon_id="k")]
    table = table_of([*events(3), *people])
    store.append_table(table)
    store.append_table(table)
    assert total(store) == 5
    assert Insights(store).active_users(**MARCH).count == 1
    store.maintain()
    store.append_table(table)
    assert (total(store), Insights(store).active_users(**MARCH).count) == (5, 1)


def test_of_copies_in_a_table_the_first_that_is_not_refused_counts(store):
    def copies(name, *hours, **fields):
        return [
            Event(event_id=name, event_name=name, timestamp=START + timedelta(hours=hour), **fields) for hour in hours
        ]

    far = datetime.now(UTC) + timedelta(hours=200)
    future = Event(event_id="f", event_name="f", timestamp=far)
    taken = store.append_table(table_of([future, *copies("f", 1, 2)]))
    assert taken == (1, 1, {"of the future": 1})
    store.apply(
        [*copies("g", 1, user_id="ann", anon_id="k"), Erase(user_id="ann", timestamp=START + timedelta(hours=4))]
    )
    store.maintain()
    taken = store.append_table(table_of([*copies("x", 1, 5, 6, anon_id="k"), *copies("y", 2, 7, user_id="ann")]))
    assert taken == (2, 1, {"erased": 2})
    assert [(event.event_name, event.timestamp.hour) for event in store.events()] == [("f", 1), ("x", 5), ("y", 7)]


def test_months_are_files_of_their_own_and_every_file_has_the_same_columns(store):
    store.apply([*events(3), *events(2, first=24 * 40)])
    store.maintain()
    store.apply(events(1, first=10))
    seal(store)
    segments = store.sealer.state().segments
    assert [(segment.month, segment.rows) for segment in segments] == [("2025-03", 3), ("2025-04", 2), (None, 1)]
    for segment in segments:
        assert set(SCHEMA.names) <= set(store.segments.open(segment.file).schema_arrow.names)


def test_no_address_and_no_request_is_kept(store):
    store.apply(events(1, client_ip="203.0.113.7"))
    store.maintain()
    assert not any(b"203.0.113.7" in path.read_bytes() for path in store.segments.directory.iterdir())


def test_columns_in_memory_are_bounded():
    import numpy as np

    cache = ColumnCache(1000)
    loaded = []

    def column(name):
        loaded.append(name)
        return np.zeros(50)

    for name in "abcab":
        cache.get(name, lambda name=name: column(name))
    assert loaded == ["a", "b", "c", "a", "b"]
    cache.get("b", lambda: column("b"))
    assert len(loaded) == 5


def test_answers_are_one_consistent_point_while_others_write_and_seal(store, tmp_path):
    """Each batch holds two events; no question may see one of them only, from any process."""
    other, failed, done = LoggedStore(tmp_path), [], threading.Event()

    def write():
        for number in range(60):
            at = START + timedelta(minutes=number)
            store.apply([Event(event_name=name, timestamp=at, user_id=f"u{number % 7}") for name in "ab"])
            if number % 9 == 8:
                seal(store)
            if number % 25 == 24:
                store.maintain()
        done.set()

    def read(asked):
        while not done.is_set():
            counts = Insights(asked).top_events(**MARCH)
            if len({item.count for item in counts}) > 1 or len(counts) not in (0, 2):
                failed.append(counts)
            Insights(asked).funnel(["a", "b"], **MARCH, breakdown="name")

    threads = [threading.Thread(target=write)]
    threads += [threading.Thread(target=read, args=(asked,)) for asked in (store, store, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other_total, own_total = total(other), total(store)
    other.close()
    assert (failed, own_total, other_total) == ([], 120, 120)


def test_traits_of_the_tail_and_of_the_catalogue_are_merged(store):
    ask = Insights(store)
    store.apply([*events(1), *events(1, user="bob"), Identify(user_id="ann", traits={"plan": "pro"}, timestamp=START)])
    store.maintain()
    where = [{"field": "traits.plan", "op": "eq", "value": "pro"}]
    assert ask.active_users(where=where, **MARCH).count == 1
    store.apply([Identify(user_id="bob", traits={"plan": "pro"}, timestamp=START)])
    assert ask.active_users(where=where, **MARCH).count == 2
    later = START + timedelta(hours=1)
    store.apply([Identify(user_id="ann", traits={"plan": None, "age": 3}, timestamp=later)])
    assert ask.active_users(where=where, **MARCH).count == 1
    rows = ask.users(ActiveUsers(start=START, end=NOW))
    assert [row.traits for row in rows] == [{"age": 3}, {"plan": "pro"}]


def test_hashes_of_event_ids_are_the_same_in_every_process():
    assert event_hashes(["a", "0195f6a0-0000-7000-8000-000000000000"]).tolist() == [
        3405396810240292928,
        2255912001010358338,
    ]


@pytest.mark.parametrize("name", ["1970-01", "1999-12", "2000-02", "2025-03"])
def test_months_have_numbers(name):
    assert month_name(month_number(name)) == name
