"""The same event through a vendor's own SDK and through ours: what arrives differs only where it is meant to.

Each difference is listed with its reason; one that appears or disappears fails the test.
"""

import base64
import json
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs

import pytest
from destinations.server import Received, Reply, Server
from destinations.snowplow import decoded
from destinations.vendor import LOOPBACK, UA

from analytics_middleware import Event, EventType, Money, collectors
from analytics_middleware.event import Identify

AT = datetime(2026, 5, 4, 10, 30, 15, 123000, tzinfo=UTC)
MILLISECONDS = 1777890615123
EVENT_ID = "019df28e-fb80-7000-8000-000000000009"
ANON = "0123456789abcdef0123456789abcdef"
URL = "https://shop.example/p/1"
PROPERTIES: dict[str, Any] = {"plan": "annual", "seats": 3, "trial": False}
TRAITS = Identify(event_id=EVENT_ID, user_id="user-7", traits={"plan": "gold"}, timestamp=AT)

pytestmark = [
    # What SDKs warn of at import is theirs.
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::PendingDeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def event(**fields: Any) -> Event:
    given: dict[str, Any] = {
        "event_id": EVENT_ID,
        "type": EventType.CUSTOM,
        "event_name": "order.completed",
        "timestamp": AT,
        "user_id": "user-7",
        "anon_id": ANON,
        "url": URL,
        "client_ip": "203.0.113.9",
        "user_agent": UA,
        "locale": "de-DE",
        "properties": dict(PROPERTIES),
        **fields,
    }
    return Event(**given)


def ours(server: Server, collector: Any, *items: Event | Identify) -> list[Received]:
    """Send *items* through *collector* and return the requests that they made."""
    before = len(server.requests)
    for item in items:
        if isinstance(item, Identify):
            collector.take_identify(item)
        else:
            collector.collect(item)
    collector.flush()
    collector.close()
    return server.requests[before:]


def flat(value: Any, path: str = "") -> dict[str, Any]:
    """Return nested *value* as one level of dotted paths."""
    if isinstance(value, Mapping):
        return {key: leaf for name in value for key, leaf in flat(value[name], f"{path}.{name}".strip(".")).items()}
    return {path: value}


def differences(theirs: Any, mine: Any) -> dict[str, str]:
    """Return which paths differ, and how."""
    left, right = flat(theirs), flat(mine)
    found: dict[str, str] = {}
    for path in left.keys() | right.keys():
        if path not in right:
            found[path] = "theirs"
        elif path not in left:
            found[path] = "ours"
        elif left[path] != right[path]:
            found[path] = "other"
    return found


def check(theirs: Any, mine: Any, reasons: Mapping[str, tuple[str, str]]) -> None:
    """Fail unless exactly the differences with *reasons* are there."""
    assert differences(theirs, mine) == {path: kind for path, (kind, _reason) in reasons.items()}


LIBRARY = ("other", "each says who it is")


def test_posthog(server: Server) -> None:
    """posthog: same envelope, event, ids and times."""
    posthog = pytest.importorskip("posthog")
    client = posthog.Posthog("phc_abcdefgh", host=server.url, sync_mode=True, disable_geoip=False)
    properties = {**PROPERTIES, "$current_url": URL, "$ip": "203.0.113.9", "$raw_user_agent": UA}
    properties |= {"$device_id": ANON, "revenue": 29.99, "currency": "GBP"}
    client.capture("order.completed", distinct_id="user-7", properties=properties, timestamp=AT, uuid=EVENT_ID)
    client.set(distinct_id="user-7", properties={"plan": "gold"}, timestamp=AT, uuid=EVENT_ID)
    client.shutdown()
    theirs = [request.json for request in server.requests]
    collector = collectors.PostHogCollector("phc_abcdefgh", base_url=server.url, **LOOPBACK)
    (request,) = ours(server, collector, event(revenue=Money("29.99", "GBP")), TRAITS)
    mine = request.json
    assert request.path == server.requests[0].path == "/batch/"
    check(
        {key: value for key, value in theirs[0].items() if key != "batch"},
        {key: value for key, value in mine.items() if key != "batch"},
        {
            "sent_at": ("other", "the time of the attempt"),
            "historical_migration": ("other", "ours marks events of more than two days, which this one is"),
        },
    )
    check(
        theirs[0]["batch"][0],
        mine["batch"][0],
        {
            "timestamp": ("other", "microseconds and +00:00 there, milliseconds and Z here: the same instant"),
            "properties.$lib": LIBRARY,
            "properties.$lib_version": LIBRARY,
            "properties.$is_server": ("theirs", "ours is about a visitor's browser"),
            "properties.$referrer": (
                "ours",
                "a page that nobody referred to is direct, as its own script says",
            ),
            "properties.$referring_domain": ("ours", "as above"),
            "properties.$os": ("theirs", "that of the server, which is not the visitor's"),
            "properties.$os_version": ("theirs", "as above"),
            "properties.$os_distro": ("theirs", "as above"),
            "properties.$python_runtime": ("theirs", "tells of the server, not of the event"),
            "properties.$python_version": ("theirs", "as above"),
            "properties.type": ("ours", "whether it was an action or a custom event"),
            "properties.locale": ("ours", "the visitor's language"),
        },
    )
    check(
        theirs[1]["batch"][0],
        mine["batch"][1],
        {
            "timestamp": ("other", "as above"),
            "$set.plan": ("theirs", "PostHog reads it from the properties as well, where its API docs put it"),
            "properties.$set.plan": ("ours", "as above"),
            "properties.$geoip_disable": ("ours", "the address would be our server's"),
            "properties.$is_server": ("theirs", "as above"),
            "properties.$lib": LIBRARY,
            "properties.$lib_version": LIBRARY,
        },
    )


def test_segment(server: Server) -> None:
    """segment-analytics-python: same calls, ids, times and authorisation."""
    pytest.importorskip("segment.analytics")
    from segment.analytics.client import Client

    context = {"ip": "203.0.113.9", "userAgent": UA, "locale": "de-DE", "page": {"url": URL}}
    client = Client("abcdefgh", host=server.url, sync_mode=True)
    shared: dict[str, Any] = {"timestamp": AT, "message_id": EVENT_ID}
    client.track(
        "user-7",
        "order.completed",
        {**PROPERTIES, "revenue": 29.99, "currency": "GBP"},
        context=context,
        anonymous_id=ANON,
        **shared,
    )
    client.page("user-7", properties={**PROPERTIES, "url": URL}, context=context, anonymous_id=ANON, **shared)
    client.identify("user-7", {"plan": "gold"}, **shared)
    theirs = [request.json for request in server.requests]
    authorization = server.requests[0].headers["authorization"]
    collector = collectors.SegmentCollector("abcdefgh", base_url=server.url, **LOOPBACK)
    page = event(event_name=None, type=EventType.PAGEVIEW)
    (request,) = ours(server, collector, event(revenue=Money("29.99", "GBP")), page, TRAITS)
    assert request.path == server.requests[0].path == "/v1/batch"
    assert request.headers["authorization"] == authorization
    check(
        {key: value for key, value in theirs[0].items() if key != "batch"},
        {key: value for key, value in request.json.items() if key != "batch"},
        {
            "sentAt": ("other", "the time of the attempt"),
            "writeKey": ("theirs", "once is enough: it is in the Authorization header"),
        },
    )
    same = {
        "timestamp": ("other", "+00:00 there, Z here: the same instant"),
        "context.library.name": LIBRARY,
        "context.library.version": LIBRARY,
    }
    first, second, third = request.json["batch"]
    locale = {"properties.locale": ("ours", "beside the context's, for destinations that see properties only")}
    check(strip(theirs[0]), first, {**same, **locale})
    nothing = "an empty field of theirs"
    empty = {"category": ("theirs", nothing), "name": ("theirs", nothing)}
    check(strip(theirs[1]), second, {**same, **locale, **empty})
    check(strip(theirs[2]), third, {**same, "anonymousId": ("theirs", nothing)})


def strip(body: dict[str, Any]) -> dict[str, Any]:
    """Return the only call in *body*; its empty ``integrations`` mean all, as does leaving them out."""
    (call,) = body["batch"]
    assert call.pop("integrations") == {}
    return dict(call)


def test_mixpanel(server: Server) -> None:
    """mixpanel: same event and properties; another form of request, which reports each refused event."""
    mixpanel = pytest.importorskip("mixpanel")
    server.handler = lambda _request: Reply(200, {"status": 1, "code": 200})
    consumer = mixpanel.Consumer(import_url=f"{server.url}/import", people_url=f"{server.url}/engage")
    client = mixpanel.Mixpanel("abcdefgh", consumer=consumer)
    properties = {**PROPERTIES, "$insert_id": EVENT_ID, "$user_id": "user-7", "$device_id": ANON, "$current_url": URL}
    properties |= {"revenue": 29.99, "currency": "GBP", "ip": "203.0.113.9"}
    client.import_data("key", "user-7", "order.completed", AT.timestamp(), properties, api_secret="secret")
    client.people_set("user-7", {"plan": "gold"}, meta={"$ip": "0"})
    theirs = [json.loads(parse_qs(request.body.decode())["data"][0]) for request in server.requests]
    collector = collectors.MixpanelCollector("abcdefgh", base_url=server.url, **LOOPBACK)
    imported, engaged = ours(server, collector, event(revenue=Money("29.99", "GBP")), TRAITS)
    (mine,) = imported.json
    assert imported.target == "/import?strict=1"
    check(
        theirs[0],
        mine,
        {
            "properties.time": ("other", "seconds there, milliseconds here: Mixpanel takes both"),
            "properties.token": ("theirs", "the project is in the Authorization header"),
            "properties.mp_lib": LIBRARY,
            "properties.$lib_version": LIBRARY,
            "properties.type": ("ours", "whether it was an action or a custom event"),
            "properties.locale": ("ours", "the visitor's language"),
        },
    )
    assert (int(theirs[0]["properties"]["time"]), mine["properties"]["time"]) == (MILLISECONDS // 1000, MILLISECONDS)
    (profile,) = engaged.json
    check(theirs[1], profile, {"$time": ("theirs", "the time of sending; Mixpanel takes its own without it")})


def test_amplitude(server: Server) -> None:
    """amplitude-analytics: same event, options and identification."""
    amplitude = pytest.importorskip("amplitude")
    from amplitude.config import Config

    arrived = threading.Semaphore(0)

    def handler(_request: Received) -> Reply:
        arrived.release()
        return Reply(200, {"code": 200, "events_ingested": 1})

    server.handler = handler
    config = Config(server_url=f"{server.url}/2/httpapi", flush_queue_size=1, min_id_length=1)
    client = amplitude.Amplitude("abcdefgh", config)
    client.track(
        amplitude.BaseEvent(
            "order.completed",
            user_id="user-7",
            device_id=ANON,
            time=MILLISECONDS,
            insert_id=EVENT_ID,
            event_properties={**PROPERTIES, "[Amplitude] Page URL": URL},
            revenue=29.99,
            ip="203.0.113.9",
            language="de-DE",
            platform="Web",
        )
    )
    traits = amplitude.Identify()
    traits.set("plan", "gold")
    options = amplitude.EventOptions(user_id="user-7", time=MILLISECONDS, insert_id=EVENT_ID)
    client.identify(traits, options)
    client.flush()
    assert arrived.acquire(timeout=10)
    assert arrived.acquire(timeout=10)
    client.shutdown()
    theirs = {made["event_type"]: made for request in server.requests for made in request.json["events"]}
    collector = collectors.AmplitudeCollector("abcdefgh", base_url=server.url, **LOOPBACK)
    (request,) = ours(server, collector, event(revenue=Money("29.99", "GBP")), TRAITS)
    first, second = request.json["events"]
    assert request.path == server.requests[0].path == "/2/httpapi"
    assert request.json["options"] == server.requests[0].json["options"]
    check(
        theirs["order.completed"],
        first,
        {
            "library": LIBRARY,
            "user_agent": ("ours", "Amplitude derives browser and system from it"),
            "currency": ("ours", "the SDK knows none: Amplitude then takes dollars"),
            "event_properties.type": ("ours", "whether it was an action or a custom event"),
            "event_properties.locale": ("ours", "the visitor's language"),
        },
    )
    check(theirs["$identify"], second, {"library": LIBRARY})


def test_snowplow(server: Server) -> None:
    """snowplow-tracker: same protocol, fields and self-describing data."""
    snowplow = pytest.importorskip("snowplow_tracker")
    emitter = snowplow.Emitter("127.0.0.1", protocol="http", port=server.port, method="post", batch_size=1)
    subject = snowplow.Subject().set_platform("srv").set_user_id("user-7").set_ip_address("203.0.113.9")
    subject.set_useragent(UA).set_lang("de-DE").set_domain_user_id(ANON)
    tracker = snowplow.Tracker("analytics-middleware", emitter, subject=subject, app_id="shop")
    schema = "iglu:com.acme/signup/jsonschema/1-0-0"
    tracker.track(snowplow.PageView(page_url=URL, referrer="https://search.example/"))
    tracker.track(snowplow.StructuredEvent(category="custom", action="order.completed"))
    tracker.track(snowplow.SelfDescribing(snowplow.SelfDescribingJson(schema, dict(PROPERTIES))))
    tracker.flush()
    theirs = [request.json["data"][0] for request in server.requests]
    collector = collectors.SnowplowCollector(server.url, app_id="shop", schemas={"signup": schema}, **LOOPBACK)
    page = event(event_name=None, type=EventType.PAGEVIEW, referrer="https://search.example/", properties={})
    (request,) = ours(server, collector, page, event(properties={}), event(event_name="signup"))
    assert request.path == server.requests[0].path
    assert request.json["schema"] == server.requests[0].json["schema"]
    mine = request.json["data"]
    same = {
        "eid": ("other", "random there, the event's id here, so that repeats are recognised"),
        "dtm": ("other", "the time of the call there, of the event here"),
        "stm": ("other", "the time of the attempt"),
        "tv": LIBRARY,
    }
    url = {"url": ("ours", "every event says where it happened")}
    check(theirs[0], mine[0], same)
    check(theirs[1], mine[1], {**same, **url})
    for made in (theirs[2], mine[2]):
        made["ue_px"] = decoded(made["ue_px"])
    check(theirs[2], mine[2], {**same, **url})


def test_standard_webhooks(server: Server) -> None:
    """standardwebhooks, the reference implementation, accepts our signature."""
    standardwebhooks = pytest.importorskip("standardwebhooks")
    key = "whsec_" + base64.b64encode(b"k" * 32).decode()
    (request,) = ours(server, collectors.WebhookCollector(f"{server.url}/x", secret=key, **LOOPBACK), event())
    verified = standardwebhooks.Webhook(key).verify(request.raw, request.headers)
    assert verified[0]["event_id"] == EVENT_ID
