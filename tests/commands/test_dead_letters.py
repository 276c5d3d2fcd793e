"""``dead-letters``: what was refused is looked at, sent once more, thrown away; each event stays in one place."""

import json

from .conftest import Shop


def refused(shop: Shop, count: int) -> None:
    shop.mode("vendor", "refuse")
    shop.record(f"for n in range({count}): analytics.track('order', {{'n': n}})")


def test_they_are_listed_with_the_reason(shop: Shop) -> None:
    refused(shop, 3)
    shown = shop.run("dead-letters", "list").stdout
    assert shown.count("no such project") == 3
    assert "order" in shown
    lines = [json.loads(line) for line in shop.run("dead-letters", "list", "--json").stdout.splitlines()]
    assert [line["record"]["properties"]["n"] for line in lines] == [0, 1, 2]
    assert {line["collector"] for line in lines} == {"vendor"}
    assert "… and 2 more" in shop.run("dead-letters", "list", "--limit", "1").stdout
    assert shop.run("dead-letters", "list", "--collector", "other").stdout == "No dead letters.\n"


def test_retried_they_are_delivered_by_the_next_process(shop: Shop) -> None:
    refused(shop, 700)
    shop.mode("vendor", "up")
    data = ["--data-dir", str(shop.data)]
    assert shop.run("dead-letters", "retry", *data).stdout == "700 dead letters will be sent once more.\n"
    before = shop.status()["collectors"]["vendor"]
    assert (before["dead"], before["pending"]) == (0, 700)
    assert shop.run("worker", "--once").returncode == 0
    after = shop.status()["collectors"]["vendor"]
    assert (after["delivered"], after["pending"]) == (700, 0)
    assert len({event["event_id"] for event in shop.got("vendor")}) == 700


def test_refused_again_they_are_dead_again(shop: Shop) -> None:
    refused(shop, 2)
    shop.run("dead-letters", "retry")
    shop.run("worker", "--once")
    assert shop.status()["collectors"]["vendor"]["dead"] == 2


def test_those_of_a_collector_that_is_gone_stay(shop: Shop) -> None:
    refused(shop, 2)
    shop.python(
        "-c",
        "from analytics_middleware.outbox.database import Database\nfrom pathlib import Path\n"
        "with Database(Path('data')).write() as c: c.execute(\"DELETE FROM consumer WHERE name = 'vendor'\")",
    )
    said = shop.run("dead-letters", "retry").stdout
    assert "0 dead letters will be sent" in said
    assert "2 stayed" in said


def test_purged_they_count_as_dropped_and_are_gone_from_the_disk(shop: Shop) -> None:
    shop.mode("vendor", "refuse")
    shop.record("analytics.track('order', {'card': 'CANARY-4711'})")
    assert shop.run("dead-letters", "purge", "--collector", "vendor").stdout == "1 dead letter purged.\n"
    vendor = shop.status()["collectors"]["vendor"]
    assert (vendor["dead"], vendor["dropped"]) == (0, {"purged": 1})
    shop.record("analytics.track('next')")
    assert not [file for file in shop.data.iterdir() if b"CANARY-4711" in file.read_bytes()]


def test_a_collector_that_nobody_knows_is_an_error(shop: Shop) -> None:
    refused(shop, 1)
    ended = shop.run("dead-letters", "purge", "--collector", "vendro", check=False)
    assert ended.returncode == 1
    assert ended.stderr == "analytics-middleware: the outbox knows no collector 'vendro'\n"
