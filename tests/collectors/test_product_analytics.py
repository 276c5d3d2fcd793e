"""What PostHog, Segment, RudderStack, Mixpanel and Amplitude receive, and how their answers are understood."""

import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from destinations.amplitude import Amplitude
from destinations.delivering import Delivery
from destinations.mixpanel import Mixpanel
from destinations.posthog import PostHog
from destinations.segment import RudderStack, Segment
from destinations.sending import AT, SESSION, SESSION_START, refused, sent
from destinations.server import Reply, Server
from destinations.vendor import SECRET, UA, numbered, purchase

from analytics_middleware import Money
from analytics_middleware import collectors as public
from analytics_middleware.event import Identify, Visit


def test_posthog_events(server: Server) -> None:
    """Names, ids and properties as its own SDKs send them; no person profile for the anonymous."""
    vendor = PostHog()
    visit = Visit(session_id=SESSION, browser="Chrome", os="Linux", device="desktop", medium="email", campaign="may")
    known = purchase(1, timestamp=AT, visit=visit)
    anonymous = numbered(2, user_id=None)
    sent(vendor, server, known, anonymous, clock=lambda: AT.timestamp())
    (body,) = vendor.bodies
    assert body["sent_at"] == "2026-05-04T10:30:15.123Z"
    assert body["historical_migration"] is False
    first, second = body["batch"]
    assert (first["event"], first["distinct_id"], first["uuid"]) == ("order.completed", "user-7", known.event_id)
    assert first["timestamp"] == "2026-05-04T10:30:15.123Z"
    properties = first["properties"]
    assert properties["revenue"] == 29.99
    assert properties["currency"] == "GBP"
    assert properties["$session_id"] == SESSION
    assert properties["$ip"] == "203.0.113.9"
    assert properties["$browser"] == "Chrome"
    assert properties["$device_type"] == "Desktop"
    assert (properties["$referrer"], properties["$referring_domain"]) == ("https://search.example/", "search.example")
    assert properties["utm_campaign"] == "may"
    assert "$geoip_disable" not in properties
    assert "$process_person_profile" not in properties
    assert (second["event"], second["distinct_id"]) == ("$pageview", anonymous.anon_id)
    assert second["properties"]["$process_person_profile"] is False


def test_posthog_is_told_which_pages_nobody_referred_to(server: Server) -> None:
    """Otherwise its channel of such a visit would be unknown, not direct."""
    vendor = PostHog()
    job = numbered(2, url=None, referrer=None, properties={"at": "/p/2"})
    sent(vendor, server, numbered(1, referrer=None), job)
    first, second = (each["properties"] for each in vendor.bodies[0]["batch"])
    assert (first["$referrer"], first["$referring_domain"]) == ("$direct", "$direct")
    assert "$referring_domain" not in second


def test_posthog_history_is_marked(server: Server) -> None:
    """Events of more than two days go apart, as a migration."""
    vendor = PostHog()
    sent(vendor, server, numbered(1), numbered(2, timestamp=datetime.now(UTC) - timedelta(days=9)))
    assert {body["historical_migration"]: len(body["batch"]) for body in vendor.bodies} == {True: 1, False: 1}


def test_posthog_identify_never_merges_a_cookieless_visitor(server: Server) -> None:
    """Such an id is shared by the people behind an address."""
    vendor = PostHog()
    server.handler = vendor.answer
    collector = vendor.make(server.url)
    collector.take_identify(Identify(user_id="u", anon_id="cl_abc", traits={"plan": "gold", "old": None}))
    collector.take_identify(Identify(user_id="u", anon_id="f" * 32, traits={}))
    collector.flush()
    collector.close()
    first, second = vendor.bodies[0]["batch"]
    assert (first["event"], first["distinct_id"], second["event"]) == ("$set", "u", "$identify")
    assert first["properties"]["$set"] == {"plan": "gold"}
    assert first["properties"]["$unset"] == ["old"]
    assert "$anon_distinct_id" not in first["properties"]
    assert second["properties"]["$anon_distinct_id"] == "f" * 32


@pytest.mark.parametrize("vendor", [PostHog(), Mixpanel(), Segment()], ids=lambda vendor: vendor.name)
def test_a_referrer_is_no_campaign(server: Server, vendor: Any) -> None:
    """Reports by UTM parameters count links that somebody tagged, as written, and not what we derived."""
    found = Visit(source="Google", medium="organic", channel="Organic Search")
    tagged = Visit(source="Google", medium="cpc", channel="Paid Search")
    url = "https://shop.example/p/2?utm_source=google&utm_medium=cpc"
    sent(vendor, server, numbered(1, url="https://shop.example/p/1", visit=found), numbered(2, url=url, visit=tagged))
    first, second = vendor.events if isinstance(vendor, Mixpanel) else vendor.bodies[0]["batch"]
    if isinstance(vendor, Segment):
        assert "campaign" not in first["context"]
        assert second["context"]["campaign"] == {"source": "google", "medium": "cpc"}
    else:
        assert not [name for name in first["properties"] if name.startswith("utm_")]
        assert (second["properties"]["utm_source"], second["properties"]["utm_medium"]) == ("google", "cpc")


@pytest.mark.parametrize("kind", [Segment, RudderStack])
def test_segment_calls(server: Server, kind: type[Segment]) -> None:
    """Page views are page calls, the rest track calls; sentAt is the attempt's, messageId the event's."""
    vendor = kind()
    page, bought = numbered(1, timestamp=AT), purchase(2, user_id=None)
    sent(vendor, server, page, bought, clock=lambda: AT.timestamp() + 60)
    (body,) = vendor.bodies
    assert body["sentAt"] == "2026-05-04T10:31:15.123Z"
    first, second = body["batch"]
    assert (first["type"], first["messageId"]) == ("page", page.event_id)
    assert (first["userId"], first["anonymousId"]) == ("user-7", page.anon_id)
    assert first["properties"]["search"] == "?utm_source=news"
    assert first["context"]["page"]["path"] == "/p/1"
    assert first["context"]["ip"] == "203.0.113.9"
    assert first["context"]["userAgent"] == UA
    assert (second["type"], second["event"]) == ("track", "order.completed")
    assert (second["properties"]["revenue"], second["properties"]["currency"]) == (29.99, "GBP")
    assert "userId" not in second


def test_segment_knows_its_regions() -> None:
    """The wrong one would lose events without a word."""
    assert public.SegmentCollector(SECRET, region="eu").endpoint.host == "events.eu1.segmentapis.com"
    assert public.SegmentCollector(SECRET).endpoint.host == "api.segment.io"


def test_segment_sentat_is_of_the_attempt(server: Server) -> None:
    """Segment would shift the events' time by how long they waited otherwise."""
    vendor = Segment()
    now = [AT.timestamp()]
    script = iter([Reply(503)])
    server.handler = lambda request: next(script, None) or vendor.answer(request)
    delivery = Delivery(vendor.make(server.url, clock=lambda: now[0]))
    delivery.put(numbered(1, timestamp=AT))
    delivery.step()
    now[0] += 3600
    delivery.finish()
    delivery.close()
    assert vendor.bodies[0]["sentAt"] == "2026-05-04T11:30:15.123Z"
    assert vendor.bodies[0]["batch"][0]["timestamp"] == "2026-05-04T10:30:15.123Z"


def test_mixpanel_event(server: Server) -> None:
    """Milliseconds, ids of the simplified merge, an address or none at all."""
    vendor = Mixpanel()
    known, anonymous = purchase(1, timestamp=AT), numbered(2, user_id=None, client_ip=None)
    cookieless = numbered(3, anon_id="cl_abc")
    sent(vendor, server, known, anonymous, cookieless)
    first, second, third = (event["properties"] for event in vendor.events)
    assert vendor.events[1]["event"] == "$mp_web_page_view"
    assert (first["time"], first["$insert_id"]) == (1777890615123, known.event_id)
    assert (first["distinct_id"], first["$user_id"], first["$device_id"]) == ("user-7", "user-7", known.anon_id)
    assert (first["revenue"], first["currency"], first["ip"]) == (29.99, "GBP", "203.0.113.9")
    assert first["$referring_domain"] == "search.example"
    assert (second["distinct_id"], second["ip"]) == (f"$device:{anonymous.anon_id}", "0")
    assert "$device_id" not in third


def test_mixpanel_service_account(server: Server) -> None:
    """Requests carry its name and secret, and the project's number."""
    server.handler = lambda _request: Reply(200, {"code": 200})
    vendor = Mixpanel()
    collector = vendor.make(server.url, service_account=("robot.1", "pass-word-1"), project_id=42)
    collector.collect(numbered(1))
    collector.flush()
    collector.close()
    (request,) = server.requests
    assert base64.b64decode(request.headers["authorization"].removeprefix("Basic ")) == b"robot.1:pass-word-1"
    assert request.query == {"strict": "1", "project_id": "42"}


def test_mixpanel_profiles(server: Server) -> None:
    """Traits set and removed, without an address."""
    vendor = Mixpanel()
    server.handler = vendor.answer
    collector = vendor.make(server.url)
    collector.identify("u", {"plan": "gold", "old": None})
    collector.flush()
    collector.close()
    assert vendor.profiles == [
        {"$token": SECRET, "$distinct_id": "u", "$ip": "0", "$set": {"plan": "gold"}},
        {"$token": SECRET, "$distinct_id": "u", "$ip": "0", "$unset": ["old"]},
    ]


def test_amplitude_event(server: Server) -> None:
    """Milliseconds, revenue as a number at the top, the session as its start."""
    vendor = Amplitude()
    event = purchase(1, timestamp=AT, visit=Visit(session_id=SESSION, os="Linux"), revenue=Money("-5.00", "EUR"))
    sent(vendor, server, event)
    (body,) = vendor.bodies
    (made,) = body["events"]
    assert body["options"] == {"min_id_length": 1}
    assert (made["event_type"], made["user_id"], made["device_id"]) == ("order.completed", "user-7", event.anon_id)
    assert (made["time"], made["insert_id"], made["session_id"]) == (1777890615123, event.event_id, SESSION_START)
    assert (made["revenue"], made["currency"]) == (-5.0, "EUR")
    assert (made["ip"], made["user_agent"], made["os_name"]) == ("203.0.113.9", UA, "Linux")
    assert made["event_properties"]["plan"] == "annual"


def test_amplitude_sends_the_rest_again_without_those_at_fault(server: Server) -> None:
    """It names only the first; all at fault are found, one after the other, and nothing is sent twice."""
    vendor = Amplitude()
    vendor.refuse = {1, 3}
    events = [numbered(index) for index in range(5)]
    error = refused(vendor, server, *events)
    assert set(error.rejected) == {events[1].event_id, events[3].event_id}
    assert vendor.accepted == [0, 2, 4]
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    "said",
    [
        {"code": 400, "error": f"Invalid API key: {SECRET}"},
        {"code": 400, "error": "Request missing required field", "missing_field": "api_key"},
    ],
    ids=["wrong", "missing"],
)
def test_amplitude_events_wait_while_the_key_is_wrong(server: Server, said: dict[str, object]) -> None:
    """It says 400 where others say 401; no event is at fault, and one request is enough to know."""
    vendor = Amplitude()
    wrong = iter([Reply(400, said)])
    server.handler = lambda request: next(wrong, None) or vendor.answer(request)
    delivery = Delivery(vendor.make(server.url))
    delivery.put(*(numbered(index) for index in range(5)))
    delivery.step()
    assert (len(server.requests), delivery.stats.pending, delivery.stats.dead) == (1, 5, 0)
    assert SECRET not in str(delivery.stats.last_error)
    assert delivery.finish().delivered == 5
    delivery.close()


def test_amplitude_throttling_is_of_some(server: Server) -> None:
    """Throttled users wait half a minute, users over their quota are refused, all others are sent at once."""
    vendor = Amplitude()
    vendor.throttle = {1}
    vendor.quota_users = {"over"}
    events = [numbered(0), numbered(1), numbered(2, user_id="over")]
    error = refused(vendor, server, *events)
    assert error.rejected.keys() == {events[2].event_id}
    assert error.retry == {events[1].event_id}
    assert error.retry_after == 30
    assert not error.pause
    assert vendor.accepted == [0]
