"""``worker``: delivery outside the web processes."""

import signal
import subprocess
import time

import pytest

from analytics_middleware.outbox.base import STORE
from analytics_middleware.outbox.database import FILE
from analytics_middleware.outbox.sqlite import SqliteOutbox

from .conftest import Shop


def test_what_web_processes_leave_is_delivered_by_the_worker(shop: Shop) -> None:
    shop.record("for n in range(5): analytics.track('order')", flush=0.2, SHOP_BACKGROUND="no")
    assert shop.got("other") == []
    assert shop.program("worker", "--once", SHOP_BACKGROUND="no").returncode == 0
    assert [len(shop.got(name)) for name in ("vendor", "other", "live")] == [5, 5, 5]
    assert shop.status()["collectors"]["vendor"]["delivered"] == 5


def _wait_until_it_delivers(process: "subprocess.Popen[str]") -> None:
    assert process.stderr is not None
    line = process.stderr.readline()
    while not line.startswith("Delivering from"):
        assert line, "the worker ended"
        line = process.stderr.readline()


def _wait_for_an_event(shop: Shop, collector: str) -> None:
    deadline = time.monotonic() + 10
    while not shop.got(collector):
        assert time.monotonic() < deadline, "the worker does not deliver what comes"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_at_once_and_well_although_a_collector_is_down(shop: Shop, number: signal.Signals) -> None:
    shop.mode("vendor", "down")
    with shop.start("worker", SHOP_BACKGROUND="no") as process:
        _wait_until_it_delivers(process)
        shop.record("analytics.track('order')", flush=0.2, SHOP_BACKGROUND="no")
        _wait_for_an_event(shop, "other")
        told = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 0
        assert time.monotonic() - told < 3
    assert shop.status()["collectors"]["vendor"]["pending"] == 1


def test_it_waits_for_a_database_that_cannot_be_opened_as_web_processes_do(shop: Shop) -> None:
    in_its_place = shop.data / FILE
    in_its_place.mkdir(parents=True)
    with shop.start("worker", SHOP_BACKGROUND="no") as process:
        _wait_until_it_delivers(process)
        in_its_place.rmdir()
        shop.record("analytics.track('order')", flush=0.2, SHOP_BACKGROUND="no")
        _wait_for_an_event(shop, "vendor")
        process.terminate()
        assert process.wait(10) == 0


def test_it_tells_nobody_how_to_sign_in_for_it_serves_no_pages(shop: Shop) -> None:
    source = (shop.path / "shop.py").read_text().replace("store=None", "store=MemoryStore()")
    (shop.path / "pages.py").write_text(
        "from analytics_middleware.store import MemoryStore\n"
        "from analytics_middleware_starlette import AnalyticsDashboard\n" + source + "AnalyticsDashboard(analytics)\n"
    )
    ended = shop.program("worker", "--once", "--app", "pages:analytics")
    assert "sign in" not in ended.stderr
    said = shop.python("-c", "from pages import analytics; analytics.track('x'); analytics.close(1)").stderr
    assert "to sign in, open /analytics/login?token=" in said


def test_once_ends_with_1_when_something_could_not_be_delivered(shop: Shop) -> None:
    shop.mode("vendor", "down")
    shop.record("analytics.track('order')", flush=0.2, SHOP_BACKGROUND="no")
    ended = shop.run("worker", "--once", "--timeout", "1", check=False)
    assert ended.returncode == 1
    assert "2 delivered or dropped, 1 pending" in ended.stdout
    assert "503 try later" in ended.stderr


def test_once_does_not_wait_for_the_store_that_another_process_seals(stored: Shop) -> None:
    stored.record("analytics.track('order')", flush=0.2, SHOP_BACKGROUND="no")
    web = SqliteOutbox(stored.data)
    assert web.claim(STORE) is not None
    ended = stored.run("worker", "--once", "--timeout", "4")
    web.close()
    assert ended.stdout == "3 delivered or dropped, 0 pending\n"


def test_there_is_nothing_to_do_for_events_in_memory(shop: Shop) -> None:
    (shop.path / "brief.py").write_text("from analytics_middleware import Analytics\nanalytics = Analytics()")
    ended = shop.program("worker", "--app", "brief:analytics", check=False)
    assert ended.returncode == 1
    assert "data_dir" in ended.stderr
