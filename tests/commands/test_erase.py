"""``erase`` and ``export``: what the outbox holds of a user is handed out, or gone for good."""

import json

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
    assert "Your own systems that got events, too: other." in said
    without_application = shop.run("erase", "--user", "bob", "--data-dir", str(shop.data)).stdout
    assert "Events have been sent to live, other, vendor" in without_application


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
    assert {line["where"] for line in lines} == {"log", "dead"}
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
