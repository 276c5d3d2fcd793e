"""ClickHouseStore over the network: a server that is down, slow, late, or gone between an insert and its answer."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from servers import DEADLINE, PASSWORD, ClickHouse

from analytics_middleware import Analytics, AnalyticsError, Event
from analytics_middleware.demo.servers import serve_asgi
from analytics_middleware.event import Erase, Identify
from analytics_middleware.store import ActiveUsers, Insights
from analytics_middleware.store.clickhouse import ClickHouseStore
from analytics_middleware.store.timeout import QuestionTimeout
from analytics_middleware.web.api import API
from analytics_middleware.web.asgi import ASGIRunner

NOW = datetime(2026, 3, 12, 12, tzinfo=UTC)
MONTH = {"start": NOW - timedelta(days=31), "end": NOW + timedelta(days=1)}


def happened(number: int, user: str = "ann") -> Event:
    at = NOW - timedelta(hours=number % 700)
    return Event(event_id=f"{user}-{number}", event_name="order", timestamp=at, user_id=user)


def total(store: Any) -> int:
    insights = Insights(store, clock=lambda: NOW)
    counted = sum(point.count for point in insights.volume(**MONTH))
    # Every question is answered from the same events, whichever table it reads.
    [order] = insights.top_events(**MONTH) or [None]
    assert counted == (order.count if order is not None else 0)
    return counted


@pytest.fixture
def store(server: ClickHouse) -> Iterator[ClickHouseStore]:
    store = ClickHouseStore(server.url, clock=NOW.timestamp)
    yield store
    store.close()


@pytest.fixture
def recording(server: ClickHouse, tmp_path: Path) -> Iterator[Callable[[], Analytics]]:
    """Makes processes of one host whose store the server is; the last one is closed after the test."""
    made: list[Analytics] = []

    def make() -> Analytics:
        made.append(Analytics(store=server.url, data_dir=tmp_path / "data", enabled=True))
        return made[-1]

    yield make
    for each in made:
        each.close(5.0)


def track(analytics: Analytics, count: int) -> None:
    for number in range(count):
        analytics.track("order", {"n": number}, user_id=f"user-{number % 7}")


def counted(analytics: Analytics) -> int:
    return sum(point.count for point in analytics.insights.volume("order"))


def settled(analytics: Analytics) -> dict[str, Any]:
    assert analytics.flush(DEADLINE)
    store: dict[str, Any] = analytics.stats()["store"]
    assert store["accepted"] == store["delivered"] + sum(store["dropped"].values()) + store["dead"] + store["pending"]
    return store


def test_questions_are_answered_over_http(store: ClickHouseStore) -> None:
    store.apply([happened(number) for number in range(50)])
    store.apply([Identify(user_id="ann", traits={"plan": "pro"}, timestamp=NOW)])
    ask = Insights(store, clock=lambda: NOW)
    assert total(store) == 50
    assert ask.active_users(**MONTH).count == 1
    assert ask.traits("ann") == {"plan": "pro"}
    assert len(ask.timeline(user_id="ann", **MONTH).events) == 50


@pytest.mark.parametrize("do", ["die_before", "die_after"])
def test_a_server_that_dies_around_an_insert_loses_nothing_and_counts_nothing_twice(
    server: ClickHouse, store: ClickHouseStore, do: str
) -> None:
    store.apply([happened(number) for number in range(10)])
    server.fault(do, on="INSERT INTO .*events")
    batch = [happened(number) for number in range(5, 60)]
    with pytest.raises(AnalyticsError):
        store.apply(batch)
    server.ended()
    server.start()
    store.apply(batch)
    assert total(store) == 60
    store.apply(batch)
    assert total(store) == 60


def test_a_server_that_dies_between_the_tables_of_one_batch_ends_up_with_all_of_it(
    server: ClickHouse, store: ClickHouseStore
) -> None:
    store.apply([])
    batch = [happened(number) for number in range(30)]
    for table in ("ties", "first_seen", "taken"):
        server.fault("die_before", on=f"INSERT INTO .*{table}")
        with pytest.raises(AnalyticsError):
            store.apply([*batch, Identify(event_id="i", user_id="ann", anon_id="k", timestamp=NOW)])
        server.ended()
        server.start()
    store.apply([*batch, Identify(event_id="i", user_id="ann", anon_id="k", timestamp=NOW)])
    assert total(store) == 30
    retention = Insights(store, clock=lambda: NOW).retention(NOW - timedelta(hours=29), offsets=(0,))
    assert retention[0].returned == 1


def test_a_connection_closed_without_an_answer_counts_nothing_twice(server: ClickHouse, store: ClickHouseStore) -> None:
    store.apply([])
    server.fault("hang_up", on="INSERT INTO .*events")
    store.apply([happened(number) for number in range(20)])
    assert total(store) == 20


def test_what_is_recorded_while_the_server_is_down_waits_and_arrives_once(
    server: ClickHouse, recording: Callable[[], Analytics]
) -> None:
    analytics = recording()
    track(analytics, 20)
    assert settled(analytics)["delivered"] == 20
    server.kill()
    track(analytics, 30)
    with pytest.raises(AnalyticsError) as refused:
        counted(analytics)
    assert PASSWORD not in str(refused.value)
    server.start()
    assert settled(analytics)["delivered"] == 50
    assert counted(analytics) == 50
    assert PASSWORD not in str(analytics.stats())


@pytest.mark.parametrize("do", ["die_after", "hang_up", "refuse"])
def test_whatever_becomes_of_an_answer_events_count_once(
    server: ClickHouse, recording: Callable[[], Analytics], do: str
) -> None:
    analytics = recording()
    track(analytics, 5)
    settled(analytics)
    server.fault(do, on="INSERT INTO .*events", said="Code: 241. DB::Exception: Memory limit exceeded.")
    track(analytics, 100)
    if do.startswith("die"):
        server.ended()
        server.start()
    store = settled(analytics)
    assert (store["delivered"], store["dropped"], store["dead"]) == (105, {}, 0)
    assert counted(analytics) == 105


def test_a_host_that_stops_and_starts_goes_on_where_it_was(
    server: ClickHouse, recording: Callable[[], Analytics]
) -> None:
    first = recording()
    track(first, 10)
    settled(first)
    server.kill()
    track(first, 10)
    first.close(5.0)
    server.start()
    second = recording()
    track(second, 10)
    assert settled(second)["delivered"] == 30
    assert counted(second) == 30


def test_a_question_that_takes_too_long_ends_in_time(server: ClickHouse) -> None:
    store = ClickHouseStore(server.url, clock=NOW.timestamp, question_timeout=1.0)
    store.apply([happened(1)])
    server.fault("slow", on="SELECT", seconds=30)
    ended = threading.Event()
    errors: list[BaseException] = []

    def ask() -> None:
        try:
            total(store)
        except (AnalyticsError, QuestionTimeout) as error:
            errors.append(error)
        ended.set()

    threading.Thread(target=ask, daemon=True).start()
    assert ended.wait(25.0), "it must not wait for the server's answer"
    assert errors
    store.close()


def test_an_answer_that_comes_too_late_counts_nothing_twice(server: ClickHouse) -> None:
    hasty = ClickHouseStore(server.url, clock=NOW.timestamp, question_timeout=1.0)
    hasty.apply([])
    server.fault("late", on="INSERT INTO .*events", seconds=8)
    batch = [happened(number) for number in range(20)]
    with pytest.raises(AnalyticsError):
        hasty.apply(batch)
    hasty.apply(batch)
    assert total(hasty) == 20
    hasty.close()


def test_a_wrong_password_is_said_and_never_shown(server: ClickHouse) -> None:
    wrong = ClickHouseStore(server.url.replace(PASSWORD, "another-password"))
    with pytest.raises(AnalyticsError) as refused:
        wrong.apply([happened(1)])
    assert "another-password" not in str(refused.value) + repr(wrong)
    wrong.close()


def test_a_hub_may_have_its_store_here_too(server: ClickHouse, tmp_path: Path) -> None:
    key = "the-key-of-the-hub-for-tests"
    hub = Analytics(store=server.url, data_dir=tmp_path / "hub", secret_key=key, enabled=True)
    with serve_asgi(ASGIRunner(API(hub)), 0) as port:
        url = f"http://127.0.0.1:{port}/api/analytics"
        host = Analytics(store=url, store_key=key, data_dir=tmp_path / "host", enabled=True)
        track(host, 20)
        assert settled(host)["delivered"] == 20
        host.close(5.0)
    assert settled(hub)["delivered"] == 20
    assert counted(hub) == 20
    hub.close(5.0)


def test_as_many_records_at_once_as_the_log_gives_are_taken(store: ClickHouseStore) -> None:
    """A server takes no parameter longer than 128 KiB: whoever sent all ids at once would never get on again."""
    at = NOW - timedelta(hours=1)
    users = [f"{'o' * 40}'{number}" for number in range(store.max_batch)]
    events = [
        Event(event_id=str(uuid4()), event_name="order", timestamp=at, user_id=user, anon_id=f"anon-{user}")
        for user in users
    ]
    traits = [Identify(user_id=user, traits={"plan": "pro"}, timestamp=at) for user in users[:3000]]
    store.apply([Erase(user_id="gone", timestamp=at), *events])
    store.apply([*traits, *events])
    assert total(store) == store.max_batch
    found = Insights(store, clock=lambda: NOW).users(ActiveUsers(**MONTH))
    assert len(found) == store.max_batch
    assert sum(row.traits == {"plan": "pro"} for row in found) == 3000
