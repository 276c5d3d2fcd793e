"""``replay``: what is still in the log is sent once more, to those who can take the past."""

from .conftest import Shop


def lagging(shop: Shop) -> None:
    """Five events that other has, and that the log keeps for vendor."""
    shop.mode("vendor", "down")
    shop.record("for n in range(5): analytics.track('order', {'n': n})", flush=1.0)


def test_the_collector_gets_it_again_and_the_accounting_stays_exact(shop: Shop) -> None:
    lagging(shop)
    assert "5 events since" in shop.run("replay", "--collector", "other", "--since", "1h", "--dry-run").stdout
    assert shop.status()["collectors"]["other"]["pending"] == 0
    said = shop.run("replay", "--collector", "other", "--since", "1h").stdout
    assert "5 events since" in said
    assert "counts them once more" not in said
    assert shop.status()["collectors"]["other"]["pending"] == 5
    shop.mode("vendor", "up")
    shop.run("worker", "--once")
    state = shop.status()
    assert state["collectors"]["other"]["delivered"] == 10
    assert state["collectors"]["vendor"]["delivered"] == 5
    assert [event["properties"]["n"] for event in shop.got("other")] == [*range(5), *range(5)]
    ids = [event["event_id"] for event in shop.got("other")]
    assert ids[:5] == ids[5:]


def test_only_what_is_recent_enough_and_passed(shop: Shop) -> None:
    lagging(shop)
    assert shop.run("replay", "--collector", "other", "--since", "2999-01-01").stdout.startswith("0 events")
    # Its own backlog it gets anyway.
    assert shop.run("replay", "--collector", "vendor", "--since", "1h").stdout.startswith("0 events")
    shop.status()


def test_a_collector_without_history_is_refused_with_the_reason(shop: Shop) -> None:
    lagging(shop)
    ended = shop.run("replay", "--collector", "live", "--since", "1h", check=False)
    assert ended.returncode == 1
    assert ended.stderr == "analytics-middleware: live can't take events of the past: it has no timestamps\n"


def test_the_application_must_be_known(shop: Shop) -> None:
    ended = shop.python("-m", "analytics_middleware", "replay", "--collector", "x", "--since", "1h", check=False)
    assert ended.returncode == 1
    assert "--app MODULE:ATTRIBUTE" in ended.stderr


def test_a_collector_that_is_not_there_is_named_with_those_that_are(shop: Shop) -> None:
    lagging(shop)
    ended = shop.run("replay", "--collector", "vendro", "--since", "1h", check=False)
    assert ended.stderr == "analytics-middleware: there is no collector 'vendro'; there are: vendor, other, live\n"
