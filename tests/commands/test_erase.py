"""``erase`` and ``export --user``: what is held of a user is handed out, or gone for good, however it comes back."""

import json
from typing import Any

import pyarrow.parquet as pq
import pytest

from .conftest import Shop

CANARY = "CANARY-4711"
TRAFFIC = f"""
from analytics_middleware import Event
analytics.track(Event(event_name="browsed", anon_id="cookie-1", properties={{"about": "{CANARY} before signing in"}}))
analytics.track(Event(event_name="browsed", anon_id="cl_shared", properties={{"about": "the office"}}))
analytics.track(Event(event_name="signed in", anon_id="cookie-1", user_id="ann"))
analytics.track("order", {{"card": "{CANARY}"}}, user_id="ann")
analytics.identify("ann", {{"mail": "{CANARY}@example.org"}})
analytics.track("order", {{"card": "BOB-0815"}}, user_id="bob")
"""


def on_disk(shop: Shop, text: str) -> list[str]:
    return [file.name for file in shop.data.iterdir() if text.encode() in file.read_bytes()]


def waiting(shop: Shop) -> None:
    """Ann's and Bob's traffic: in the log and as retries for vendor, as dead letters of live, delivered to other."""
    shop.mode("vendor", "down")
    shop.mode("live", "refuse")
    shop.record(TRAFFIC, flush=1.0)


def test_everything_about_the_user_is_gone_from_the_disk_and_nothing_of_others(shop: Shop) -> None:
    waiting(shop)
    assert on_disk(shop, CANARY)
    said = shop.run("erase", "--user", "ann").stdout
    assert "The user 'ann' is forgotten: 4 records in the log" in said
    assert "3 dead letters" in said
    assert "the anonymous records of 1 browser" in said
    assert on_disk(shop, CANARY) == []
    assert on_disk(shop, "cookie-1") == ["analytics.sqlite3"], "only the ids are kept, so that they can be refused"
    assert on_disk(shop, "BOB-0815")
    assert on_disk(shop, "the office")


def test_it_says_whom_to_ask_as_well(shop: Shop) -> None:
    waiting(shop)
    said = shop.run("erase", "--user", "ann").stdout
    assert "- vendor (Vendor)" in said
    assert "- live (Vendor)" in said
    assert "- other" not in said
    assert "Your own systems that also got events: other." in said
    without_application = shop.run("erase", "--user", "bob", "--data-dir", str(shop.data)).stdout
    assert "Events have been sent to live, other, vendor" in without_application
    assert "The store" not in without_application, "there is none"


def test_the_accounting_stays_exact_and_the_user_is_not_delivered_any_more(shop: Shop) -> None:
    waiting(shop)
    shop.run("erase", "--user", "ann")
    state = shop.status()
    assert state["collectors"]["live"]["dropped"] == {"erased": 3}
    assert state["collectors"]["live"]["dead"] == 2
    shop.mode("vendor", "up")
    shop.run("worker", "--once")
    vendor = shop.status()["collectors"]["vendor"]
    assert (vendor["delivered"], vendor["dropped"], vendor["pending"]) == (2, {"erased": 3}, 0)
    assert [event.get("user_id", event.get("anon_id")) for event in shop.got("vendor")] == ["cl_shared", "bob"]


def test_what_waits_for_a_retry_is_erased_too(shop: Shop) -> None:
    shop.mode("vendor", "retry")
    shop.record(TRAFFIC, flush=0.5)
    assert "0 waiting" not in shop.run("erase", "--user", "ann").stdout
    assert on_disk(shop, CANARY) == ["other.got"] or on_disk(shop, CANARY) == []
    shop.mode("vendor", "up")
    shop.run("worker", "--once")
    assert CANARY not in json.dumps(shop.got("vendor"))
    assert shop.status()["collectors"]["vendor"]["pending"] == 0


def test_what_comes_in_late_is_refused_and_what_happens_later_is_new(shop: Shop) -> None:
    waiting(shop)
    shop.run("erase", "--user", "ann")
    shop.record(
        "from datetime import UTC, datetime, timedelta\nfrom analytics_middleware import Event\n"
        "earlier = datetime.now(UTC) - timedelta(hours=1)\n"
        f"analytics.track(Event(event_name='late', user_id='ann', timestamp=earlier, properties={{'c': '{CANARY}'}}))\n"
        "analytics.track(Event(event_name='late', anon_id='cookie-1', timestamp=earlier))\n"
        "analytics.track(Event(event_name='late', user_id='bob', timestamp=earlier))\n"
        "analytics.track('signed up again', user_id='ann')\n",
        flush=1.0,
    )
    assert on_disk(shop, CANARY) == []
    assert shop.status()["dropped"] == {"erased": 2}
    assert [event["event_name"] for event in shop.got("other")][-2:] == ["late", "signed up again"]


def test_retry_and_replay_bring_nobody_back(shop: Shop) -> None:
    waiting(shop)
    shop.run("erase", "--user", "ann")
    shop.run("dead-letters", "retry")
    shop.run("replay", "--collector", "other", "--since", "1h")
    before = len(shop.got("other"))
    shop.mode("live", "up")
    shop.mode("vendor", "up")
    shop.run("worker", "--once")
    for name in ("live", "vendor"):
        assert CANARY not in json.dumps(shop.got(name))
    assert CANARY not in json.dumps(shop.got("other")[before:])
    shop.status()


def test_a_user_is_exported_with_the_anonymous_past_and_nobody_else(shop: Shop) -> None:
    waiting(shop)
    lines = [json.loads(line) for line in shop.run("export", "--user", "ann").stdout.splitlines()]
    assert {line["where"] for line in lines} == {"log", "dead", "session"}
    assert sum(line["where"] == "log" for line in lines) == 4
    assert {line["collector"] for line in lines if line["where"] == "dead"} == {"live"}
    assert "BOB-0815" not in json.dumps(lines)
    assert "the office" not in json.dumps(lines)
    assert any(line["record"].get("traits") for line in lines)


def test_an_export_is_written_for_its_owner_alone_and_over_nothing(shop: Shop) -> None:
    waiting(shop)
    file = shop.path / "ann.jsonl"
    assert shop.run("export", "--user", "ann", "--output", str(file)).stdout == ""
    assert file.stat().st_mode & 0o777 == 0o600
    assert CANARY in file.read_text()
    again = shop.run("export", "--user", "ann", "--output", str(file), check=False)
    assert again.returncode == 1
    assert "exists" in again.stderr


def test_a_user_without_a_name_is_refused(shop: Shop) -> None:
    waiting(shop)
    ended = shop.run("erase", "--user", "", check=False)
    assert ended.returncode == 1
    assert "user id '' is empty" in ended.stderr


def told(shop: Shop, user: str) -> list[tuple[str, Any]]:
    """What `export` tells of a user: where it is, and what it is called."""
    lines = [json.loads(line) for line in shop.run("export", "--user", user).stdout.splitlines()]
    names = ("event_name", "traits", "session_id")
    return [(line["where"], next(line["record"][name] for name in names if name in line["record"])) for line in lines]


def test_what_has_left_the_log_is_exported_from_the_store_with_traits(stored: Shop) -> None:
    stored.record(TRAFFIC)
    stored.run("worker", "--once")
    found = told(stored, "ann")
    assert [name for where, name in found if where == "store"][:3] == ["browsed", "signed in", "order"]
    assert ("store", {"mail": f"{CANARY}@example.org"}) in found
    assert sum(where == "session" for where, _ in found) == 2, "of the browser, and of the user"
    assert [name for where, name in told(stored, "bob") if where == "store"] == ["order"]
    assert told(stored, "nobody") == []
    ended = stored.run("export", "--user", "ann", "--data-dir", str(stored.data))
    assert CANARY in ended.stdout
    assert "Events have been sent to live, other, vendor" in ended.stderr
    assert "- vendor (Vendor)" in stored.run("export", "--user", "ann").stderr


def test_what_waits_beside_an_event_for_one_collector_is_exported_too(stored: Shop) -> None:
    stored.configure('Vendor("needy", needs=("client_ip",))')
    stored.mode("needy", "down")
    stored.record("with analytics.context(client_ip='203.0.113.9', user_id='ann'): analytics.track('order')", flush=1)
    lines = [json.loads(line) for line in stored.run("export", "--user", "ann").stdout.splitlines()]
    assert [line.get("private") for line in lines if line["where"] == "log"] == [{"client_ip": "203.0.113.9"}]


@pytest.mark.parametrize("sealed", [True, False])
def test_somebody_erased_stays_erased_through_retry_replay_and_import(stored: Shop, sealed: bool) -> None:
    """From the log, retries, dead letters, the store, traits, and from a copy that was exported before."""
    stored.mode("vendor", "down")
    stored.mode("live", "refuse")
    stored.record(TRAFFIC, flush=1.0)
    if sealed:
        stored.run("worker", "--once", "--timeout", "1", check=False)
    copy = stored.path / "copy"
    copy.mkdir()
    stored.run("export", "--jsonl", str(copy))
    assert CANARY in "".join(file.read_text() for file in copy.iterdir())
    said = stored.run("erase", "--user", "ann").stdout
    assert "The store has forgotten the user, too: events and traits." in said
    assert told(stored, "ann") == []

    before = len(stored.got("other"))
    stored.run("import", str(copy))
    stored.run("dead-letters", "retry")
    stored.mode("vendor", "up")
    stored.mode("live", "up")
    stored.configure('Vendor("late")')
    for collector in ("other", "late"):
        stored.run("replay", "--collector", collector, "--since", "1h", "--until", "0s", "--again")
    stored.run("worker", "--once")
    for name, since in (("vendor", 0), ("live", 0), ("late", 0), ("other", before)):
        got = stored.got(name)[since:]
        assert CANARY not in json.dumps(got), name
        assert {event.get("user_id", event.get("anon_id")) for event in got} == {"cl_shared", "bob"}, name
    assert told(stored, "ann") == []
    query = "SELECT count(*) AS found FROM events WHERE user_id = 'ann' OR anon_id = 'cookie-1'"
    assert stored.run("sql", query).stdout.split() == ["found", "0"]
    assert told(stored, "bob")
    stored.status()


def test_nothing_of_somebody_erased_is_left_in_the_stores_files(stored: Shop) -> None:
    """Files that were replaced stay for those who are reading them, and go when it is tidied after a while."""
    stored.record(TRAFFIC)
    stored.run("worker", "--once")
    stored.run("erase", "--user", "ann")
    code = (
        "import time\nfrom analytics_middleware.store import DuckDBStore\n"
        "later = DuckDBStore(analytics.outbox, clock=lambda: time.time() + 600)\nassert later.maintain()"
    )
    stored.record(code, SHOP_BACKGROUND="no")
    files = [file for file in stored.data.rglob("*") if file.is_file()]
    assert any("segments" in str(file) for file in files)
    texts = {file.name: b"" if file.suffix == ".parquet" else file.read_bytes() for file in files}
    texts |= {file.name: str(pq.read_table(file).to_pydict()).encode() for file in files if file.suffix == ".parquet"}
    assert [name for name, text in texts.items() if CANARY.encode() in text] == []
