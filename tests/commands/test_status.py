"""``status``: the host's counters, whichever processes made them."""

import json
import signal

from .conftest import Shop


def test_it_tells_where_each_collector_stands(shop: Shop) -> None:
    shop.mode("vendor", "down")
    shop.mode("live", "refuse")
    shop.record("for _ in range(3): analytics.track('signup')", flush=1.0)
    state = shop.status()
    assert state["accepted"] == 3
    assert state["collectors"]["other"]["delivered"] == 3
    assert state["collectors"]["other"]["lag"] is None
    vendor = state["collectors"]["vendor"]
    assert vendor["pending"] == 3
    assert vendor["lag"] > 0
    assert "503 try later" in vendor["last_error"]
    assert state["collectors"]["live"]["dead"] == 3

    shown = shop.run("status").stdout
    assert "3 events accepted" in shown
    assert "vendor can't be delivered to: DeliveryError: 503 try later" in shown


def test_the_data_directory_is_enough(shop: Shop) -> None:
    shop.record("analytics.track('signup')")
    shown = shop.run("status", "--data-dir", str(shop.data)).stdout
    assert "other" in shown
    named = shop.python("-m", "analytics_middleware", "status", ANALYTICS_DATA_DIR=str(shop.data)).stdout
    assert named == shown


def test_a_collector_that_nobody_configures_any_more_is_called_that(shop: Shop) -> None:
    shop.record("analytics.track('signup')")
    source = (shop.path / "shop.py").read_text()
    (shop.path / "shop.py").write_text(source.replace('Vendor("vendor")', 'Vendor("newcomer")'))
    shown = shop.run("status").stdout
    assert "not configured any more" in shown
    assert "newcomer: not started yet" in shown


def test_looking_makes_no_database(shop: Shop) -> None:
    ended = shop.run("status", "--data-dir", str(shop.data), check=False)
    assert ended.returncode == 1
    said = f"analytics-middleware: there is no analytics database in {str(shop.data)!r}: "
    assert ended.stderr.startswith(said)
    assert "data_dir" in ended.stderr
    assert "--app" in ended.stderr
    assert not shop.data.exists()


def test_memory_of_other_processes_can_not_be_seen_and_that_is_said(shop: Shop) -> None:
    (shop.path / "brief.py").write_text("from analytics_middleware import Analytics\nanalytics = Analytics()")
    ended = shop.program("status", "--app", "brief:analytics", check=False)
    assert ended.returncode == 1
    assert "data_dir" in ended.stderr
    assert ended.stderr.count("\n") == 1


def test_watching_shows_it_again_until_interrupted(shop: Shop) -> None:
    shop.record("analytics.track('signup')")
    with shop.start("status", "--watch", "0.05", "--json") as process:
        assert process.stdout is not None
        first = json.loads(process.stdout.readline())
        shop.record("analytics.track('signup')")
        while json.loads(process.stdout.readline())["accepted"] == first["accepted"]:
            pass
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
