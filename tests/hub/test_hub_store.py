"""The setting of a store elsewhere: what is right, what is wrong, and what never shows."""

import traceback

import pytest
from destinations.server import Received, Reply, Server, slow_headers, unused_port

from analytics_middleware import Analytics
from analytics_middleware.doctor.application import examine_settings
from analytics_middleware.errors import AnalyticsError, ConfigurationError, DeliveryError
from analytics_middleware.event import Event
from analytics_middleware.store import HubStore

KEY = "the-key-of-the-hub-for-tests"
TAKEN = b'{"accepted":0,"day":"2026-03-04","salt":"","timezone":"UTC"}'


def test_a_hub_is_named_by_its_url_and_key():
    analytics = Analytics(store="https://hub.example/api/analytics/", store_key=KEY)
    assert analytics.hub is not None
    assert analytics.hub.url == "https://hub.example/api/analytics"
    assert analytics.store is None
    with pytest.raises(AnalyticsError, match=r"ask https://hub\.example/api/analytics, where the pages are"):
        _ = analytics.insights
    assert KEY not in repr(analytics.settings) + repr(analytics.hub)


@pytest.mark.parametrize(
    ("store", "key", "said"),
    [
        ("https://hub.example/api/analytics", None, "set store_key"),
        ("http://hub.example/api/analytics", KEY, "must use https"),
        (f"https://hub.example/api/analytics?key={KEY}", KEY, "no query"),
        (f"https://user:{KEY}@hub.example/api", KEY, "no user name"),
        (f"ftp://user:{KEY}@hub.example", KEY, "must be a URL such as"),
        ("https://", KEY, "absolute URL"),
        ("https://hub.example", "short", "'store_key' is ***"),
    ],
)
def test_what_is_wrong_is_said_without_the_key(store, key, said):
    with pytest.raises(ConfigurationError) as caught:
        Analytics(store=store, store_key=key)
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8000/api", "http://localhost/api", "http://[::1]:8000/api"])
def test_http_is_for_this_host_alone_unless_it_is_permitted(url):
    assert HubStore(url, KEY).url == url
    with pytest.raises(ConfigurationError, match="allow_http=True"):
        HubStore("http://10.0.0.5/api", KEY)
    assert HubStore("http://10.0.0.5/api", KEY, allow_http=True).url == "http://10.0.0.5/api"


def test_a_hub_that_takes_too_long_may_have_it_and_nothing_shows_the_key():
    with Server(lambda request: slow_headers) as server:
        hub = HubStore(server.url, KEY, timeout=0.2)
        hub.collect(Event(event_name="order"))
        with pytest.raises(DeliveryError) as caught:
            hub.flush()
        hub.close()
    assert caught.value.ambiguous
    assert KEY not in "".join(traceback.format_exception(caught.value))
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"


def test_a_request_is_no_longer_than_the_hub_accepts():
    def hub(request: Received) -> Reply:
        return Reply(200, b'{"accepted":%d}' % request.raw.count(b'"kind"'))

    with Server(hub) as server:
        sender = HubStore(server.url, KEY, max_bytes=2000)
        for _ in range(30):
            sender.collect(Event(event_name="order", properties={"text": "x" * 200}))
        sender.flush()
        sender.close()
    assert len(server.requests) > 3
    assert max(len(each.raw) for each in server.requests) <= 2000
    assert sum(each.raw.count(b'"kind"') for each in server.requests) == 30


@pytest.mark.parametrize(
    ("reply", "level", "said"),
    [
        (TAKEN, "ok", "takes events"),
        (TAKEN.replace(b"UTC", b"Asia/Tokyo"), "warning", "timezone is 'UTC' here and 'Asia/Tokyo' at"),
        (Reply(401, b'{"error":{"message":"no"}}'), "problem", "check its key"),
        (Reply(404, b""), "problem", "check its URL"),
        (Reply(200, b"<p>hello"), "problem", "not as a hub does"),
        (Reply(200, b'{"accepted":0}'), "problem", "gives no salt"),
        (None, "problem", "no connection"),
    ],
)
def test_doctor_says_whether_the_hub_takes_events(reply, level, said):
    with Server(lambda request: Reply(200, reply) if isinstance(reply, bytes) else reply) as server:
        port = server.port if reply is not None else unused_port()
        analytics = Analytics(store=f"http://127.0.0.1:{port}/api/analytics", store_key=KEY)
        [found] = [finding for finding in examine_settings(analytics) if finding.subject == "store"]
        assert found.level == level
        assert said in found.text
        assert f"http://127.0.0.1:{port}/api/analytics" in found.text
        assert analytics.hub is not None
        analytics.hub.close()
