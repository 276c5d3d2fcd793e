"""What arrives over Snowplow's protocol, OTLP, CloudEvents and webhooks."""

import base64

import pytest
from destinations.cloudevents import CloudEvents
from destinations.delivering import Delivery
from destinations.otlp import OTLP
from destinations.sending import AT, refused, sent
from destinations.server import Reply, Server
from destinations.snowplow import Snowplow, decoded
from destinations.vendor import LOOPBACK, UA, numbered, purchase
from destinations.webhook import KEY, Webhook

from analytics_middleware import DeliveryError, EventType, Money
from analytics_middleware import collectors as public
from analytics_middleware.event import Visit


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


def test_snowplow_leaves_out_properties_that_would_make_the_event_too_large(server: Server) -> None:
    """Beyond a megabyte the collector says yes and makes it a failed event."""
    vendor = Snowplow()
    huge = numbered(1, properties={f"k{index}": "\U0001f600" * 4096 for index in range(64)})
    schema = "iglu:com.acme/properties/jsonschema/1-0-0"
    collector = sent(vendor, server, huge, numbered(2), properties_schema=schema)
    kept = [list(decoded(event["cx"])["data"][0]["data"]) for event in vendor.events]
    count = len(kept[0])
    assert 30 < count < 64
    assert kept[0] == [f"k{index}" for index in range(count)]
    assert kept[1] == ["plan", "seats", "trial"]
    assert collector.cut.peek() == {"properties": 64 - count}


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
    assert flat["http.request.header.referer"] == ["https://search.example/"]


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


def test_otlp_sends_nothing_again_after_an_answer_that_is_not_to_be_retried(server: Server) -> None:
    """No part of it either: a backend that stored it before it failed would have each record several times."""
    server.handler = lambda _request: Reply(500, "stored, and then it failed")
    delivery = Delivery(OTLP().make(server.url))
    delivery.put(*(numbered(index) for index in range(5)))
    stats = delivery.finish()
    delivery.close()
    assert (len(server.requests), stats.dead) == (1, 5)
    assert "answered 500: stored" in delivery.dead[0]


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


def test_cloudevents_are_paused_when_some_are_throttled(server: Server) -> None:
    """The receiver asks for it on account of all that comes, not of these events."""
    vendor = CloudEvents()
    first = iter([Reply(202)])
    server.handler = lambda _request: next(first, Reply(429, headers={"Retry-After": "600"}))
    collector = vendor.make(server.url)
    for index in range(3):
        collector.collect(numbered(index))
    with pytest.raises(DeliveryError) as caught:
        collector.flush()
    collector.close()
    assert (caught.value.pause, caught.value.retry_after, len(caught.value.retry)) == (True, 600, 2)


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
