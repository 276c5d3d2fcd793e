"""What Plausible, Matomo, Umami and OpenPanel receive, and how their answers are understood."""

import pytest
from destinations.delivering import Delivery
from destinations.matomo import Matomo
from destinations.openpanel import OpenPanel
from destinations.plausible import Plausible
from destinations.sending import AT, refused, sent
from destinations.server import Reply, Server
from destinations.umami import Umami
from destinations.vendor import UA, action, numbered, purchase

from analytics_middleware import DeliveryError, EventType, Money


def test_plausible_page_view_and_action(server: Server) -> None:
    """The visitor's own headers; automatic actions are not interactive; the configured domain, not the host's."""
    vendor = Plausible()
    event = numbered(1, hostname="www.shop.example")
    sent(vendor, server, event)
    sent(vendor, server, action(2), purchase(3))
    page, act, bought = sorted(vendor.bodies, key=lambda body: body["url"])
    page.pop("headers")
    assert page == {
        "domain": "shop.example",
        "name": "pageview",
        "url": "https://shop.example/p/1?utm_source=news",
        "referrer": "https://search.example/",
        "props": {"plan": "annual", "seats": 3, "trial": False},
    }
    assert (act["name"], act["interactive"]) == ("shop.views.add_to_cart", False)
    assert "interactive" not in bought
    assert bought["revenue"] == {"currency": "GBP", "amount": 29.99}


def test_plausible_cuts_a_long_url_at_its_query_first(server: Server) -> None:
    """The whole URL has 2000 bytes."""
    vendor = Plausible()
    collector = sent(vendor, server, numbered(1, url="https://shop.example/p/1?utm_source=" + "x" * 2000))
    assert vendor.bodies[0]["url"] == "https://shop.example/p/1"
    assert collector.cut.peek() == {"url": 1}


def test_plausible_dropping_an_event_is_no_success(server: Server) -> None:
    """A 202 with x-plausible-dropped is a dead letter that says why it may be."""
    vendor = Plausible()
    vendor.drop = {1}
    error = refused(vendor, server, numbered(0), numbered(1))
    assert len(error.rejected) == 1
    assert "site is unknown" in str(error)
    assert vendor.accepted == [0]


def test_matomo_hits(server: Server) -> None:
    """Page views, events, orders, goals and dimensions; the visitor as 16 hexadecimal digits."""
    vendor = Matomo()
    options = {"goals": {"signup": 7}, "orders": ("order.completed",), "dimensions": {"plan": 2}, "currency": "GBP"}
    page, order = numbered(1, timestamp=AT), purchase(2)
    signup = numbered(3, type=EventType.CUSTOM, event_name="signup", revenue=Money(5, "USD"))
    collector = sent(vendor, server, page, order, signup, **options)
    hits = {hit["url"].rpartition("/")[2][:1]: hit for hit in vendor.hits}
    assert hits["1"] == {
        "idsite": "3",
        "rec": "1",
        "apiv": "1",
        "url": "https://shop.example/p/1?utm_source=news",
        "urlref": "https://search.example/",
        "uid": "user-7",
        "cid": hits["2"]["cid"],
        "ua": UA,
        "lang": "de-DE",
        "cip": "203.0.113.9",
        "cdt": "2026-05-04 10:30:15",
        "dimension2": "annual",
        "pf_srv": "12",
    }
    assert (hits["2"]["e_c"], hits["2"]["e_a"], hits["2"]["ca"]) == ("custom", "order.completed", "1")
    assert (hits["2"]["idgoal"], hits["2"]["ec_id"], hits["2"]["revenue"]) == ("0", order.event_id, "29.99")
    assert hits["3"]["idgoal"] == "7"
    assert "revenue" not in hits["3"]
    assert collector.cut.peek() == {"revenue_currency": 1}


def test_matomo_without_a_token_sends_no_address(server: Server) -> None:
    """Matomo would refuse it; the day is the limit then."""
    vendor = Matomo()
    collector = sent(vendor, server, numbered(1), token_auth=None)
    assert "cip" not in vendor.hits[0]
    assert not collector.accepts_history
    assert collector.max_age == 23.5 * 3600


def test_matomo_skipping_hits_is_not_success(server: Server) -> None:
    """So many as are missing count as ambiguous, whichever they are; all missing means try again."""
    vendor = Matomo()
    vendor.skip = 2
    error = refused(vendor, server, *(numbered(index) for index in range(5)))
    assert (len(error.uncertain), len(error.rejected)) == (2, 0)
    vendor = Matomo()
    vendor.skip = 5
    error = refused(vendor, server, *(numbered(index) for index in range(5)))
    assert not error.partial
    assert not error.permanent
    vendor = Matomo()
    vendor.refuse, vendor.indices = {1}, False
    assert len(refused(vendor, server, numbered(0), numbered(1)).uncertain) == 1


def test_matomo_answering_a_page_is_ambiguous(server: Server) -> None:
    """A proxy's login page is no word of Matomo's."""
    vendor = Matomo()
    server.handler = lambda _request: Reply(200, "<html>Sign in</html>")
    collector = vendor.make(server.url)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError) as caught:
        collector.flush()
    collector.close()
    assert caught.value.ambiguous


def test_what_nobody_can_name_is_counted_all_the_same(server: Server) -> None:
    """Two of five skipped are two ambiguous ones, three delivered; nothing is sent twice."""
    vendor = Matomo()
    vendor.skip = 2
    server.handler = vendor.answer
    delivery = Delivery(vendor.make(server.url))
    delivery.put(*(numbered(index) for index in range(5)))
    stats = delivery.finish()
    delivery.close()
    assert (stats.delivered, stats.dead, stats.dropped) == (3, 0, {"ambiguous": 2})
    assert len(server.requests) == 1


def test_umami_items(server: Server) -> None:
    """A page view has no name, revenue is data when positive, time is in whole seconds."""
    vendor = Umami()
    refund = purchase(3, revenue=Money(-1, "EUR"))
    collector = sent(vendor, server, numbered(1, timestamp=AT), purchase(2), refund)
    page, bought, returned = (item["payload"] for item in vendor.items)
    assert "name" not in page
    assert (page["timestamp"], page["id"], page["ip"], page["userAgent"]) == (1777890615, "user-7", "203.0.113.9", UA)
    assert bought["name"] == "order.completed"
    assert (bought["data"]["revenue"], bought["data"]["currency"]) == (29.99, "GBP")
    assert "revenue" not in returned["data"]
    assert collector.cut.peek() == {"pageview_data": 1, "refund": 1}


def test_openpanel_calls(server: Server) -> None:
    """A page view is screen_view; money is an event of its own, in minor units; a bot is a dead letter."""
    vendor = OpenPanel()
    sent(vendor, server, numbered(1, timestamp=AT), purchase(2))
    page, bought = sorted((body["payload"] for body in vendor.bodies), key=lambda body: body["name"] == "revenue")
    assert (page["name"], page["profileId"]) == ("screen_view", "user-7")
    assert page["properties"]["__path"] == "https://shop.example/p/1?utm_source=news"
    assert page["properties"]["__timestamp"] == "2026-05-04T10:30:15.123Z"
    assert (bought["properties"]["__revenue"], bought["properties"]["event"]) == (2999, "order.completed")
    vendor.bots = {3}
    assert "bot" in str(refused(vendor, server, numbered(3)))
