"""``replay``: what happened before is sent to those who can take the past, from the store or from the log."""

import json
import shutil
import signal
import time
from pathlib import Path

import pytest

from .conftest import Shop

LATE = 'Vendor("late")'


def lagging(shop: Shop) -> None:
    """Five events that other has, and that the log keeps for vendor."""
    shop.mode("vendor", "down")
    shop.record("for n in range(5): analytics.track('order', {'n': n})", flush=1.0)


def numbers(shop: Shop, name: str) -> list[int]:
    return [event["properties"]["n"] for event in shop.got(name)]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a shop's history was recorded once, for all tests that begin with it."""
    shop = Shop(tmp_path_factory.mktemp("recorded"))
    shop.keep_a_store()
    shop.record("for n in range(5): analytics.track('order', {'n': n})")
    shop.configure(LATE)
    shop.record("analytics.flush(5)\nfor n in (5, 6): analytics.track('order', {'n': n})")
    assert numbers(shop, "late") == [5, 6]
    return shop.path


@pytest.fixture
def history(recorded: Path, tmp_path: Path) -> Shop:
    """Five events in the store; then a new collector, and two events that it gets as they happen."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    return Shop(tmp_path)


def test_a_new_collector_is_given_what_it_has_missed_and_nothing_twice(history: Shop) -> None:
    said = history.run("replay", "--collector", "late", "--since", "1h").stdout
    assert said.startswith("5 events from ")
    assert "since when it gets all events went to late: 5 delivered." in said
    assert numbers(history, "late") == [5, 6, 0, 1, 2, 3, 4]
    assert sorted(event["event_id"] for event in history.got("late")) == sorted(
        event["event_id"] for event in history.got("other")
    )
    again = history.run("replay", "--collector", "late", "--since", "1h").stdout
    assert again.startswith("0 events from ")
    assert "--again sends it once more" in again
    assert len(history.got("late")) == 7
    history.status()


def test_what_it_had_is_sent_again_when_asked_for(history: Shop) -> None:
    since = str(history.got("late")[0]["timestamp"])
    assert history.run("replay", "--collector", "late", "--since", since).stdout.startswith("2 events from ")
    assert numbers(history, "late") == [5, 6, 5, 6]
    assert history.run("replay", "--collector", "late", "--since", since, "--dry-run").stdout.startswith("0 events")
    said = history.run("replay", "--collector", "late", "--since", "1h", "--until", "0s", "--again").stdout
    assert said.startswith("7 events from ")
    assert "late does not recognise duplicates: it counts events that it already has once more." in said
    assert numbers(history, "late") == [5, 6, 5, 6, 0, 1, 2, 3, 4, 5, 6]
    history.status()


def test_a_part_that_was_replayed_before_is_left_out_of_the_whole(history: Shop) -> None:
    bounds = [str(event["timestamp"]) for event in history.got("other")]
    history.run("replay", "--collector", "late", "--since", bounds[1], "--until", bounds[3])
    assert numbers(history, "late") == [5, 6, 1, 2]
    history.run("replay", "--collector", "late", "--since", "1h")
    assert numbers(history, "late") == [5, 6, 1, 2, 0, 3, 4]


def test_a_collector_that_the_application_has_not_started_yet_is_filled_too(stored: Shop) -> None:
    stored.record("for n in range(3): analytics.track('order', {'n': n})")
    stored.configure(LATE)
    assert stored.run("replay", "--collector", "late", "--since", "1h", "--dry-run").stdout.startswith("3 events from")
    assert "late" not in stored.status()["collectors"]
    stored.run("replay", "--collector", "late", "--since", "1h")
    stored.record("analytics.track('order', {'n': 3})")
    assert numbers(stored, "late") == [0, 1, 2, 3]


def test_events_older_than_a_collector_takes_are_left_out_and_told_of(stored: Shop) -> None:
    stored.record(
        "from datetime import UTC, datetime, timedelta\nfrom analytics_middleware import Event\n"
        "for hours in (3, 1): analytics.track(Event(event_name='order', properties={'n': hours}, "
        "timestamp=datetime.now(UTC) - timedelta(hours=hours)))"
    )
    stored.configure('Vendor("late", max_age=7200.0)')
    said = stored.run("replay", "--collector", "late", "--since", "1d").stdout
    assert said.startswith("late takes no event older than ")
    assert "1 event from " in said
    assert numbers(stored, "late") == [1]
    assert stored.status()["collectors"]["late"]["dropped"] == {}


def test_where_there_is_nothing_to_replay_the_reason_is_told(stored: Shop) -> None:
    stored.record("")
    stored.record("analytics.track('order')")
    whole = ("--collector", "vendor", "--since", "2020-01-01")
    earlier = ("--collector", "vendor", "--since", "2019-01-01", "--until", "2019-02-01")
    for again in ([], ["--again"]):
        shown = stored.run("replay", *whole, *again).stdout
        assert "0 events" in shown
        assert "The store has nothing older; vendor got later events as they happened (see --until)." in shown
    assert "The store has no events of that time." in stored.run("replay", *earlier).stdout


def test_a_refusal_is_a_dead_letter_as_ever_and_the_command_says_so(history: Shop) -> None:
    history.mode("late", "refuse")
    assert "0 delivered, 5 dead letters." in history.run("replay", "--collector", "late", "--since", "1h").stdout
    history.mode("late", "up")
    history.run("dead-letters", "retry")
    history.run("worker", "--once")
    assert numbers(history, "late") == [5, 6, 0, 1, 2, 3, 4]
    history.status()


def test_what_an_interrupted_replay_left_waiting_is_delivered_by_a_worker(history: Shop) -> None:
    history.mode("late", "down")
    process = history.start("replay", "--collector", "late", "--since", "1h")
    while not history.status()["collectors"]["late"]["pending"]:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    process.communicate()
    assert process.returncode == 130
    history.mode("late", "up")
    history.run("worker", "--once")
    assert sorted(numbers(history, "late")) == list(range(7))
    assert history.status()["collectors"]["late"]["pending"] == 0


def test_the_whole_address_is_kept_for_what_is_recorded_meanwhile(stored: Shop) -> None:
    stored.configure('Vendor("late", needs=("client_ip",))')
    code = (
        "from analytics_middleware import Event\n"
        "with analytics.context(client_ip='203.0.113.9', user_agent='x'): analytics.track('order', {'n': 1})"
    )
    stored.record(code, SHOP_BACKGROUND="no", flush=0.1)
    stored.run("replay", "--collector", "late", "--since", "1h", "--until", "59m")
    assert [event["client_ip"] for event in stored.got("late")] == ["203.0.113.9"]


def test_in_debug_third_parties_get_no_history_either(history: Shop) -> None:
    source = (history.path / "shop.py").read_text()
    (history.path / "shop.py").write_text(source.replace("enabled=True", "enabled=True, debug=True"))
    ended = history.run("replay", "--collector", "late", "--since", "1h", check=False)
    assert "late is a third party and gets nothing in debug; debug_sends=True permits it" in ended.stderr
    assert history.run("replay", "--collector", "other", "--since", "1h", "--until", "0s").stdout


def test_without_a_store_what_is_in_the_log_is_sent_again_and_the_accounting_stays_exact(shop: Shop) -> None:
    lagging(shop)
    assert "5 events from" in shop.run("replay", "--collector", "other", "--since", "1h", "--dry-run").stdout
    assert len(shop.got("other")) == 5
    said = shop.run("replay", "--collector", "other", "--since", "1h").stdout
    assert "went to other: 5 delivered." in said
    assert "does not recognise duplicates" not in said
    shop.mode("vendor", "up")
    shop.run("worker", "--once")
    state = shop.status()
    assert state["collectors"]["other"]["delivered"] == 10
    assert state["collectors"]["vendor"]["delivered"] == 5
    assert numbers(shop, "other") == [*range(5), *range(5)]
    ids = [event["event_id"] for event in shop.got("other")]
    assert ids[:5] == ids[5:]


def test_what_a_collector_waits_for_anyway_is_not_sent_twice(shop: Shop) -> None:
    lagging(shop)
    shop.mode("vendor", "up")
    said = shop.run("replay", "--collector", "vendor", "--since", "1h").stdout
    assert said.startswith("0 events")
    assert "Without a store there is only the log" in said
    assert numbers(shop, "vendor") == list(range(5))
    shop.status()


def test_a_time_that_is_none_is_refused(shop: Shop) -> None:
    lagging(shop)
    ended = shop.run("replay", "--collector", "other", "--since", "2999-01-01", check=False)
    assert ended.stderr.startswith("analytics-middleware: --since 2999-01-01 00:00:00Z is not before ")
    assert shop.run("replay", "--collector", "other", "--since", "1h", "--rate", "0", check=False).returncode == 2


def test_a_collector_without_history_is_refused_with_the_reason(shop: Shop) -> None:
    lagging(shop)
    ended = shop.run("replay", "--collector", "live", "--since", "1h", check=False)
    assert ended.returncode == 1
    assert ended.stderr == "analytics-middleware: live can't take past events: it has no timestamps\n"


def test_the_application_must_be_known(shop: Shop) -> None:
    ended = shop.python("-m", "analytics_middleware", "replay", "--collector", "x", "--since", "1h", check=False)
    assert ended.returncode == 1
    assert "--app MODULE:ATTRIBUTE" in ended.stderr


def test_a_collector_that_is_not_there_is_named_with_those_that_are(shop: Shop) -> None:
    lagging(shop)
    ended = shop.run("replay", "--collector", "vendro", "--since", "1h", check=False)
    assert ended.stderr == "analytics-middleware: there is no collector 'vendro'; there are: vendor, other, live\n"


def test_somebody_erased_is_in_no_replay(history: Shop) -> None:
    history.record("analytics.track('order', {'n': 7}, user_id='ann')")
    history.run("erase", "--user", "ann")
    history.run("replay", "--collector", "late", "--since", "1h", "--until", "0s", "--again")
    assert "ann" not in json.dumps(history.got("late")[3:])
    assert sorted(numbers(history, "late")[3:]) == list(range(7))
