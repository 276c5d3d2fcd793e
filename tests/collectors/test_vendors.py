"""What each destination receives for an event, and how its own answers are understood."""

import base64
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from destinations.amplitude import Amplitude
from destinations.cloudevents import CloudEvents
from destinations.delivering import Delivery
from destinations.ga4 import GA4
from destinations.matomo import Matomo
from destinations.mixpanel import Mixpanel
from destinations.openpanel import OpenPanel
from destinations.otlp import OTLP
from destinations.plausible import Plausible
from destinations.posthog import PostHog
from destinations.segment import RudderStack, Segment
from destinations.server import Reply, Server
from destinations.snowplow import Snowplow, decoded
from destinations.umami import Umami
from destinations.vendor import LOOPBACK, SECRET, UA, Vendor, action, numbered, purchase
from destinations.webhook import KEY, Webhook

from analytics_middleware import ConfigurationError, DeliveryError, Event, EventType, Money
from analytics_middleware import collectors as public
from analytics_middleware.event import Identify, Visit
from analytics_middleware.request import Request

AT = datetime(2026, 5, 4, 10, 30, 15, 123456, tzinfo=UTC)
SESSION = "019df28e-fb80-7000-8000-000000000001"
SESSION_START = 0x019DF28EFB80


def sent(vendor: Vendor, server: Server, *events: Event, **options: Any) -> Any:
    """Send *events* through the vendor's collector and return the collector."""
    server.handler = vendor.answer
    collector = vendor.make(server.url, **options)
    for event in events:
        collector.collect(event)
    collector.flush()
    collector.close()
    assert vendor.violations == []
    return collector


def refused(vendor: Vendor, server: Server, *events: Event, **options: Any) -> DeliveryError:
    """Send *events*, which fails, and return the error."""
    server.handler = vendor.answer
    collector = vendor.make(server.url, **options)
    for event in events:
        collector.collect(event)
    with pytest.raises(DeliveryError) as caught:
        collector.flush()
    collector.close()
    return caught.value


# GA4


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


# Plausible


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


# PostHog


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
    assert properties["utm_campaign"] == "may"
    assert "$geoip_disable" not in properties
    assert "$process_person_profile" not in properties
    assert (second["event"], second["distinct_id"]) == ("$pageview", anonymous.anon_id)
    assert second["properties"]["$process_person_profile"] is False


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


# Segment, RudderStack


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


# Mixpanel


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


# Amplitude


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
    assert vendor.accepted == [0]


# Matomo


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


# Umami


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


# OpenPanel


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


# Snowplow


def test_snowplow_events(server: Server) -> None:
    """Page views, structured and self-describing events, money as an entity with two digits."""
    vendor = Snowplow()
    schema = "iglu:com.acme/signup/jsonschema/1-0-0"
    page, bought = numbered(1, timestamp=AT), purchase(2, revenue=Money("1.235", "KWD"))
    signup = numbered(3, type=EventType.CUSTOM, event_name="signup")
    collector = sent(vendor, server, page, bought, signup, schemas={"signup": schema}, clock=lambda: AT.timestamp())
    pv, se, ue = vendor.events
    assert (pv["e"], pv["eid"], pv["dtm"], pv["stm"]) == ("pv", page.event_id, "1777890615123", "1777890615123")
    assert (pv["uid"], pv["duid"], pv["ip"], pv["ua"], pv["lang"]) == (
        "user-7",
        page.anon_id,
        "203.0.113.9",
        UA,
        "de-DE",
    )
    assert (se["e"], se["se_ca"], se["se_ac"]) == ("se", "custom", "order.completed")
    (entity,) = decoded(se["cx"])["data"]
    assert entity["data"]["revenue"] == 1.24
    assert entity["data"]["transaction_id"] == bought.event_id
    assert decoded(ue["ue_px"])["data"] == {"schema": schema, "data": {"plan": "annual", "seats": 3, "trial": False}}
    assert collector.cut.peek() == {"properties_without_schema": 2}


# OTLP


def test_otlp_records(server: Server) -> None:
    """A static event name, the event's own as an attribute, integers as text, nanoseconds."""
    vendor = OTLP()
    sent(vendor, server, purchase(1, timestamp=AT, visit=Visit(trace_id="ab" * 16)))
    (record,) = vendor.records
    assert (record["eventName"], record["timeUnixNano"]) == ("analytics.custom", "1777890615123456000")
    assert record["traceId"] == "ab" * 16
    flat = record["flat"]
    assert flat["analytics.event.name"] == "order.completed"
    assert (flat["user.id"], flat["client.address"], flat["http.response.status_code"]) == (
        "user-7",
        "203.0.113.9",
        200,
    )
    assert (flat["analytics.revenue.amount"], flat["analytics.property.seats"]) == (29.99, 3)


def test_otlp_partial_success_is_never_sent_again(server: Server) -> None:
    """So many count as ambiguous as were rejected; all rejected are dead letters."""
    vendor = OTLP()
    vendor.reject = 2
    error = refused(vendor, server, *(numbered(index) for index in range(5)))
    assert (len(error.uncertain), len(error.retry), len(error.rejected)) == (2, 0, 0)
    vendor.reject = 2
    error = refused(vendor, server, numbered(6), numbered(7))
    assert len(error.rejected) == 2
    assert "too old" in str(error)


# CloudEvents, webhook


def test_cloudevents_are_sent_one_by_one_unless_told(server: Server) -> None:
    """Structured mode; nothing personal in attributes; batches only on request."""
    vendor = CloudEvents()
    event = purchase(1, timestamp=AT, client_ip=None)
    sent(vendor, server, event, numbered(2))
    assert len(server.requests) == 2
    made = next(each for each in vendor.events if each["id"] == event.event_id)
    data = made.pop("data")
    assert made == {
        "specversion": "1.0",
        "id": event.event_id,
        "source": "/shop",
        "type": "analytics.custom",
        "time": "2026-05-04T10:30:15.123Z",
        "datacontenttype": "application/json",
    }
    assert data == event.to_dict()
    sent(vendor, server, numbered(3), numbered(4), batched=True)
    assert len(server.requests) == 3
    assert server.requests[2].headers["content-type"].startswith("application/cloudevents-batch+json")


def test_webhook_body_is_the_events(server: Server) -> None:
    """As an array, each as it would be encoded; the id is that of the events, the time that of the attempt."""
    vendor = Webhook()
    events = [numbered(1), purchase(2)]
    sent(vendor, server, *events)
    sent(vendor, server, *events)
    first, second = server.requests
    assert first.json == [event.to_dict() for event in events]
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.headers["content-type"] == "application/json"


def test_webhook_signs_with_every_secret_while_they_change(server: Server) -> None:
    """The receiver accepts either; the signature is of the bytes as sent, compressed or not."""
    other = "whsec_" + base64.b64encode(b"o" * 32).decode()
    vendor = Webhook()
    large = numbered(1, properties={f"key{index}": "text" * 50 for index in range(20)})
    sent(vendor, server, large, secret=[other, KEY], gzip=True)
    (request,) = server.requests
    assert len(request.headers["webhook-signature"].split()) == 2
    assert request.headers["content-encoding"] == "gzip"


def test_webhook_headers_are_sent_and_hidden(server: Server) -> None:
    """They may hold a token."""
    vendor = Webhook()
    collector = sent(vendor, server, numbered(1), headers={"X-Token": "canary-token-1"})
    assert server.requests[0].headers["x-token"] == "canary-token-1"
    assert "canary-token-1" not in repr(vars(collector))


def test_webhook_without_a_secret_is_not_signed(server: Server) -> None:
    """But has its id and time."""
    collector = public.WebhookCollector(f"{server.url}/x", **LOOPBACK)
    collector.collect(numbered(1))
    collector.flush()
    collector.close()
    assert "webhook-signature" not in server.requests[0].headers
    assert "webhook-id" in server.requests[0].headers


# Constructors.

WRONG: list[tuple[str, tuple[Any, ...], dict[str, Any], str]] = [
    ("GA4Collector", ("", SECRET), {}, "measurement_id"),
    ("GA4Collector", ("UA-1234-5", SECRET), {}, "measurement_id"),
    ("GA4Collector", ("G-AB12CD34EF", ""), {}, "api_secret"),
    ("GA4Collector", ("G-AB12CD34EF", "a b"), {}, "api_secret"),
    ("GA4Collector", ("G-AB12CD34EF", SECRET), {"region": "mars"}, "region"),
    ("PlausibleCollector", ("",), {}, "domain"),
    ("PlausibleCollector", ("https://shop.example",), {}, "domain"),
    ("PostHogCollector", ("",), {}, "project_key"),
    ("PostHogCollector", ("phx_personal",), {}, "project_key"),
    ("PostHogCollector", ("phc_abcdefgh",), {"region": "mars"}, "region"),
    ("SegmentCollector", ("",), {}, "write_key"),
    ("SegmentCollector", (SECRET,), {"region": "mars"}, "region"),
    ("RudderStackCollector", (SECRET, ""), {}, "data_plane_url"),
    ("RudderStackCollector", ("", "https://x.example"), {}, "write_key"),
    ("MixpanelCollector", ("",), {}, "project_token"),
    ("MixpanelCollector", (SECRET,), {"project_id": 4}, "project_id"),
    ("MixpanelCollector", (SECRET,), {"project_id": "x", "service_account": ("a", "bcdef")}, "project_id"),
    ("AmplitudeCollector", ("",), {}, "api_key"),
    ("MatomoCollector", ("", 1), {}, "base_url|url"),
    ("MatomoCollector", ("https://m.example", ""), {}, "site_id"),
    ("MatomoCollector", ("https://m.example/matomo.php", 1), {}, "matomo.php"),
    ("MatomoCollector", ("https://m.example", 1), {"goals": {"a": "b"}}, "goals"),
    ("UmamiCollector", ("not-a-uuid",), {}, "website_id"),
    ("UmamiCollector", (None,), {}, "website_id"),
    ("OpenPanelCollector", ("", SECRET), {}, "client_id"),
    ("OpenPanelCollector", ("abc", ""), {}, "client_secret"),
    ("SnowplowCollector", ("https://sp.example",), {"app_id": ""}, "app_id"),
    ("SnowplowCollector", ("https://sp.example",), {"app_id": "a", "schemas": {"x": "y"}}, "schemas"),
    ("OTLPCollector", ("",), {}, "endpoint"),
    ("OTLPCollector", ("https://o.example",), {"headers": {"x": "a\r\nb"}}, "header"),
    ("CloudEventsCollector", ("https://c.example",), {"source": ""}, "source"),
    ("CloudEventsCollector", ("https://c.example",), {"source": "/x", "headers": {"a b": "c"}}, "header"),
    ("WebhookCollector", ("",), {}, "url"),
    ("WebhookCollector", ("https://h.example",), {"secret": "short"}, "secret"),
    ("WebhookCollector", ("https://h.example",), {"headers": {"Host": "x"}}, "Host"),
    ("WebhookCollector", ("https://h.example",), {"headers": {"X-A": "b\nc"}}, "X-A"),
    ("JSONLinesCollector", ("",), {}, "path"),
    ("JSONLinesCollector", ("x.jsonl",), {"keep": 0}, "keep"),
]


@pytest.mark.parametrize(("name", "args", "options", "word"), WRONG, ids=[f"{w[0]} {i}" for i, w in enumerate(WRONG)])
def test_a_missing_or_malformed_id_is_refused_at_once(
    name: str, args: tuple[Any, ...], options: dict[str, Any], word: str
) -> None:
    """By the constructor, which names it and repeats no secret."""
    with pytest.raises(ConfigurationError, match=word) as caught:
        getattr(public, name)(*args, **options)
    assert SECRET not in str(caught.value)


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
