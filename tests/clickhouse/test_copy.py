"""``copy`` to a ClickHouse over the network: interrupted, resumed, and compared by counts."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from servers import PASSWORD, ClickHouse

from analytics_middleware import Analytics, Event, cli
from analytics_middleware.event import Erase, Identify
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import DuckDBStore, Insights
from analytics_middleware.store.clickhouse import ClickHouseStore

NOW = datetime.now(UTC)
SPAN = {"start": NOW - timedelta(days=90), "end": NOW + timedelta(days=1)}
EVENTS = 7_000


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A data directory with history."""
    outbox = SqliteOutbox(tmp_path / "data")
    store = DuckDBStore(outbox)
    store.apply(
        [
            Event(
                event_id=f"e{number}",
                event_name=("view", "order")[number % 2],
                timestamp=NOW - timedelta(minutes=number * 12),
                user_id=f"user-{number % 300}" if number % 3 else None,
                anon_id=f"anon-{number % 300}",
                properties={"n": number % 5},
            )
            for number in range(EVENTS)
        ]
    )
    store.apply([Identify(user_id="user-1", traits={"plan": "pro"})])
    store.apply([Event(event_name="order", user_id="bob", timestamp=NOW), Erase(user_id="bob", timestamp=NOW)])
    store.maintain()
    store.close()
    outbox.close()
    return tmp_path / "data"


def copy(directory: Path, server: ClickHouse, capsys: Any, *words: str) -> tuple[int, str]:
    code = cli.main(("copy", "--data-dir", str(directory), "--to", server.url, *words))
    printed = capsys.readouterr()
    assert PASSWORD not in printed.out + printed.err
    return code, printed.out + printed.err


def test_both_stores_give_the_same_answers_after_a_copy_that_was_interrupted(
    directory: Path, server: ClickHouse, capsys: Any
) -> None:
    ClickHouseStore(server.url).migrate()
    server.fault("die_after", on="INSERT INTO .*events")
    code, said = copy(directory, server, capsys)
    assert code == 1
    assert str(server.port) in said
    server.ended()
    server.start()
    code, said = copy(directory, server, capsys)
    assert code == 0, said
    assert f"All events of every month are there: {EVENTS}." in said
    outbox = SqliteOutbox(directory)
    old, new = DuckDBStore(outbox), ClickHouseStore(server.url)
    here, there = Insights(old), Insights(new)
    for ask in (
        lambda insights: insights.volume(**SPAN, breakdown="name"),
        lambda insights: insights.active_users(**SPAN),
        lambda insights: insights.funnel(["view", "order"], **SPAN),
        lambda insights: insights.retention(NOW - timedelta(days=30), offsets=(0, 1, 7)),
        lambda insights: insights.top_properties("order", "n", **SPAN),
        lambda insights: insights.sessions(**SPAN),
        lambda insights: insights.traits("user-1"),
        lambda insights: insights.traits("bob"),
    ):
        assert ask(here) == ask(there)
    new.apply([Event(event_name="order", user_id="bob", timestamp=NOW)])
    assert there.timeline(user_id="bob", **SPAN).user is None, "who was erased here stays so there"
    for store in (old, new):
        store.close()
    outbox.close()


def test_an_application_goes_on_while_its_history_is_copied(directory: Path, server: ClickHouse, capsys: Any) -> None:
    analytics = Analytics(data_dir=directory, store=server.url, enabled=True)
    analytics.track("order", user_id="new")
    assert analytics.flush(30)
    assert cli.main(("copy",), application=lambda: analytics) == 0
    said = capsys.readouterr().out
    assert f"{EVENTS} events" in said
    assert f"copied to clickhouse://127.0.0.1:{server.port}/default" in said
    analytics.track("order", user_id="new")
    assert analytics.flush(30)
    assert sum(point.count for point in analytics.insights.volume(**SPAN)) == EVENTS + 2
    analytics.close(5)


def test_what_is_not_there_is_said_month_by_month(directory: Path, server: ClickHouse, capsys: Any) -> None:
    assert copy(directory, server, capsys)[0] == 0
    outbox = SqliteOutbox(directory)
    store = DuckDBStore(outbox)
    store.apply([Event(event_name="order", timestamp=NOW - timedelta(days=50), user_id="late")])
    store.close()
    outbox.close()
    code, said = copy(directory, server, capsys)
    assert code == 1
    assert "try --restart" in said
    assert (NOW - timedelta(days=50)).strftime("%Y-%m") in said
    assert copy(directory, server, capsys, "--restart")[0] == 0
