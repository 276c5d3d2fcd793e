"""``copy``: a host's own history goes to the hub that is its store from now on."""

from datetime import UTC, datetime, timedelta

from hub_servers import KEY

from analytics_middleware import Analytics, Event, cli
from analytics_middleware.event import Erase, Identify
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import DuckDBStore

NOW = datetime.now(UTC)


def history(directory, count):
    outbox = SqliteOutbox(directory)
    store = DuckDBStore(outbox)
    store.apply(
        [
            Event(event_id=f"e{number}", event_name="order", timestamp=NOW - timedelta(hours=number), user_id="ann")
            for number in range(count)
        ]
    )
    store.apply([Identify(user_id="ann", traits={"plan": "pro"}), Event(event_name="order", user_id="bob")])
    store.apply([Erase(user_id="bob")])
    store.close()
    outbox.close()


def copy(analytics, capsys, *words):
    code = cli.main(("copy", *words), application=lambda: analytics)
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_history_goes_to_the_hub_once_and_a_hub_that_is_down_is_said(instance, tmp_path, capsys):
    hub = instance("hub")
    history(tmp_path / "data", 300)
    analytics = Analytics(data_dir=tmp_path / "data", store=hub.url, store_key=KEY, enabled=True)
    hub.start()
    code, out, err = copy(analytics, capsys)
    assert code == 0, err
    assert f"300 events and 2 records of people copied to {hub.url}." in out
    assert KEY not in out + err
    code, out, _ = copy(analytics, capsys)
    assert "Going on after 300 events" in out
    assert "0 events" in out
    assert copy(analytics, capsys, "--restart")[0] == 0
    assert cli.main(("sql", "SELECT 1"), application=lambda: analytics) == 1
    assert f"elsewhere: {hub.url}" in capsys.readouterr().err
    month = {"from": (NOW - timedelta(days=30)).isoformat(), "to": (NOW + timedelta(hours=1)).isoformat()}
    assert sum(point["count"] for point in hub.ask("volume", **month)) == 300
    assert hub.ask("traits", user_id="ann") == {"plan": "pro"}
    analytics.close()


def test_the_embedded_store_is_not_copied_to_itself(tmp_path, capsys):
    history(tmp_path / "data", 1)
    analytics = Analytics(data_dir=tmp_path / "data", enabled=True)
    code, _, err = copy(analytics, capsys)
    assert code == 1
    assert "give the other one with --to" in err
    code = cli.main(("copy", "--data-dir", str(tmp_path / "data")))
    assert code == 1
    assert "give the store with --to" in capsys.readouterr().err
    code = cli.main(("copy", "--data-dir", str(tmp_path / "data"), "--to", "https://hub.example/api"))
    assert code == 1
    assert "store_key" in capsys.readouterr().err
    analytics.close()


def test_a_host_that_changes_its_store_has_every_event_in_the_other_once(instance, tmp_path, capsys):
    """Sealed or not: what the old store has not sealed goes on from the log, the rest is copied."""
    hub = instance("hub")
    hub.start()
    history(tmp_path / "data", 10)
    settings = {"data_dir": tmp_path / "data", "enabled": True}
    for flushed in (True, False):
        before = Analytics(**settings)
        for _ in range(5):
            before.track("order", user_id="eve")
        assert not flushed or before.flush(20)
        before.close(5)
    after = Analytics(store=hub.url, store_key=KEY, **settings)
    after.track("order", user_id="eve")
    assert after.flush(20)
    assert copy(after, capsys)[0] == 0
    after.close(5)
    assert hub.ask("active") == {"count": 2}
    assert sum(point["count"] for point in hub.ask("volume", event="order")) == 21
