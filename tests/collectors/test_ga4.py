"""What Google Analytics receives."""

import logging

import pytest
from destinations.ga4 import GA4
from destinations.sending import AT, SESSION, SESSION_START, sent
from destinations.server import Server
from destinations.vendor import SECRET, UA, numbered, purchase

from analytics_middleware import EventType
from analytics_middleware import collectors as public
from analytics_middleware.event import Visit
from analytics_middleware.request import Request


def test_ga4_page_view(server: Server) -> None:
    """The client and session of the tag's cookies, the time beside the name, location and language as parameters."""
    vendor = GA4()
    cookies = b"_ga=GA1.1.1234567890.1700000000; _ga_AB12CD34EF=GS2.1.s1714800000$o3$g1"
    request = Request(headers=[(b"cookie", cookies)])
    sent(vendor, server, numbered(1, timestamp=AT, request=request))
    (body,) = vendor.bodies
    assert {key: value for key, value in body.items() if key != "events"} == {
        "client_id": "1234567890.1700000000",
        "user_id": "user-7",
        "user_agent": UA,
        "ip_override": "203.0.113.9",
    }
    (event,) = body["events"]
    assert event["name"] == "page_view"
    assert event["timestamp_micros"] == 1777890615123456
    assert event["params"] == {
        "session_id": 1714800000,
        "engagement_time_msec": 100,
        "page_location": "https://shop.example/p/1?utm_source=news",
        "page_referrer": "https://search.example/",
        "language": "de-de",
        "plan": "annual",
        "seats": 3,
        "trial": "false",
        "status_code": 200,
        "duration_ms": 12.0,
    }


def test_ga4_without_cookies_derives_stable_ids(server: Server) -> None:
    """The same visitor has the same client in every event, another visitor another; the session is ours."""
    vendor = GA4()
    events = [
        numbered(index, anon_id=anon, user_id=None, request=None, visit=Visit(session_id=SESSION))
        for index, anon in enumerate(("a" * 32, "a" * 32, "b" * 32))
    ]
    sent(vendor, server, *events)
    clients = {body["client_id"]: len(body["events"]) for body in vendor.bodies}
    assert sorted(clients.values()) == [1, 2]
    assert vendor.bodies[0]["events"][0]["params"]["session_id"] == SESSION_START // 1000


def test_ga4_groups_by_identity_and_25(server: Server) -> None:
    """Nothing of one visitor is sent under another; at most 25 in a request."""
    vendor = GA4()
    events = [numbered(index, client_ip=f"203.0.113.{index % 3}") for index in range(90)]
    sent(vendor, server, *events)
    assert sorted(len(body["events"]) for body in vendor.bodies) == [5, 5, 5, 25, 25, 25]
    assert sorted(vendor.accepted) == list(range(90))


def test_ga4_money(server: Server) -> None:
    """Major units, with an id by which Google drops repeated purchases."""
    vendor = GA4()
    event = purchase(1, event_name="purchase", properties={})
    sent(vendor, server, event, purchase(2, properties={"transaction_id": "T-9"}, event_name="purchase"))
    first, second = (each["params"] for body in vendor.bodies for each in body["events"])
    assert (first["value"], first["currency"], first["transaction_id"]) == (29.99, "GBP", event.event_id)
    assert second["transaction_id"] == "T-9"


@pytest.mark.parametrize(
    ("name", "fitted"),
    [
        ("order.completed", "order_completed"),
        ("1st visit", "x_1st_visit"),
        ("session_start", "x_session_start"),
        ("app_open", "x_app_open"),
        ("ga_event", "x_ga_event"),
        ("_hidden", "x_hidden"),
        ("x" * 60, "x" * 40),
        ("大小", "x_"),
        ("purchase", "purchase"),
    ],
)
def test_ga4_names(server: Server, name: str, fitted: str) -> None:
    """Other characters become underscores, reserved names get a prefix, all have 40 characters; counted."""
    vendor = GA4()
    collector = sent(vendor, server, numbered(1, type=EventType.CUSTOM, event_name=name))
    assert vendor.bodies[0]["events"][0]["name"] == fitted
    assert bool(collector.cut.peek()) is (name != fitted)


def test_ga4_validate_logs_what_the_debug_endpoint_says(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """And sends the events all the same; ``debug`` marks them for DebugView."""
    vendor = GA4()
    vendor.messages = [{"fieldPath": "events", "description": "too odd", "validationCode": "NAME_INVALID"}]
    with caplog.at_level(logging.WARNING):
        collector = sent(vendor, server, numbered(1), validate=True, debug=True)
    assert [request.path for request in server.requests] == ["/debug/mp/collect", "/mp/collect"]
    assert server.requests[0].json["validation_behavior"] == "ENFORCE_RECOMMENDATIONS"
    assert "validation_behavior" not in server.requests[1].json
    assert "too odd" in caplog.text
    assert collector.cut.peek() == {"validation_messages": 1}
    assert vendor.bodies[0]["events"][0]["params"]["debug_mode"] == 1


def test_ga4_hosts() -> None:
    """The European one by name."""
    assert public.GA4Collector("G-AB12CD34EF", SECRET).endpoint.host == "www.google-analytics.com"
    assert public.GA4Collector("G-AB12CD34EF", SECRET, region="eu").endpoint.host == "region1.google-analytics.com"
