"""``collectors``: what each is, and what it says to one event."""

from .conftest import Shop


def test_they_are_listed_with_what_they_are(shop: Shop) -> None:
    shown = shop.run("collectors", "list").stdout.splitlines()
    assert len(shown) == 4
    assert shown[1].split() == ["vendor", "Vendor", "yes", "none", "yes", "kept"]
    assert shown[3].split() == ["live", "Vendor", "yes", "none", "no", "kept"]


def test_one_marked_event_goes_to_the_one_named_and_into_no_log(shop: Shop) -> None:
    said = shop.run("collectors", "test", "vendor").stdout
    assert "vendor took it." in said
    [event] = shop.got("vendor")
    assert event["event_name"] == "analytics_middleware.test"
    assert event["properties"] == {"test": True}
    assert event["event_id"] in said
    assert shop.got("other") == []
    assert not shop.data.exists()


def test_what_the_vendor_says_is_told_and_the_code_is_1(shop: Shop) -> None:
    shop.mode("vendor", "refuse")
    refused = shop.run("collectors", "test", "vendor", check=False)
    assert refused.returncode == 1
    assert refused.stderr == "vendor did not take it: no such project (for good)\n"
    shop.mode("vendor", "down")
    down = shop.run("collectors", "test", "vendor", check=False)
    assert down.stderr == "vendor did not take it: 503 try later (delivery would try again)\n"


def test_a_collector_that_breaks_is_no_traceback(shop: Shop) -> None:
    (shop.path / "broken.py").write_text(
        "from analytics_middleware import Analytics\n"
        "def broken(event): raise KeyError('token')\n"
        "analytics = Analytics([broken])\n"
    )
    ended = shop.program("collectors", "test", "broken", "--app", "broken:analytics", check=False)
    assert (ended.returncode, ended.stderr) == (1, "broken failed: KeyError: 'token'\n")
