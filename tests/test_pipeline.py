"""From what was handed off to the event in the log: the rule, the hooks of the application, and their failures."""

import asyncio
import gc
import sys
import tracemalloc

import pytest

from analytics_middleware import Analytics, Event, EventType, add_property, set_action_name, set_event_name
from analytics_middleware.asgi import AnalyticsMiddleware
from analytics_middleware.testing import FakeCollector


def names(events):
    return [event.event_name for event in events]


@pytest.fixture
def serve():
    """Serve one request for an HTML page through the middleware of *analytics*."""

    def serve(
        analytics, path="/shop", *, view=lambda: None, content_type=b"text/html", method="GET", headers=(), peer=None
    ):
        async def app(scope, receive, send):
            view()
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", content_type)]})
            await send({"type": "http.response.body", "body": b""})

        async def receive():
            return {"type": "http.request", "body": b""}

        async def send(message):
            pass

        scope = {"type": "http", "method": method, "path": path, "headers": list(headers), "query_string": b""}
        scope["client"] = None if peer is None else (peer, 0)
        asyncio.run(AnalyticsMiddleware(app, analytics=analytics)(scope, receive, send))

    return serve


def test_processors_see_each_event_in_turn_and_may_change_it(analytics_events):
    def first(event):
        event.properties["order"] = "1"
        return event

    def second(event):
        return event.replace(
            event_name="renamed", properties={**event.properties, "order": event.properties["order"] + "2"}
        )

    Analytics(processors=[first, second]).track("x")
    assert names(analytics_events) == ["renamed"]
    assert analytics_events[0].properties == {"order": "12"}


def test_a_processor_sees_the_request_and_what_the_view_said(serve, analytics_events):
    seen = []

    def processor(event):
        seen.append((event.type, event.path, event.request.header("x-team"), dict(event.properties)))
        return event

    analytics = Analytics(processors=[processor])
    serve(analytics, view=lambda: add_property("plan", "annual"), headers=[(b"X-Team", b"blue")])
    assert seen == [(EventType.PAGEVIEW, "/shop", "blue", {"plan": "annual"})]
    assert analytics_events[0].request is None


@pytest.mark.parametrize(
    ("trusted", "told", "scheme"),
    [
        (["unix"], b"https", "https"),
        (["unix"], b"HTTPS, http", "https"),
        (["unix"], b"http", "http"),
        (["unix"], b"javascript", "http"),
        (["10.0.0.0/8"], b"https", "http"),
        ([], b"https", "http"),
    ],
)
def test_a_trusted_proxy_says_whether_the_visitor_used_tls(serve, analytics_events, trusted, told, scheme):
    serve(Analytics(trusted_proxies=trusted), headers=[(b"host", b"shop.example"), (b"x-forwarded-proto", told)])
    assert analytics_events[0].url == f"{scheme}://shop.example/shop"


@pytest.mark.parametrize(
    ("peer", "named"), [(None, "'unix'"), ("::ffff:10.0.0.7", "the proxy's address"), ("203.0.113.9", None)]
)
def test_a_proxy_that_is_not_trusted_is_counted_and_logged_once(serve, analytics_events, caplog, peer, named):
    analytics = Analytics()
    for _ in range(2):
        serve(analytics, headers=[(b"x-forwarded-for", b"198.51.100.7")], peer=peer)
    told = [message for message in caplog.messages if "trusted_proxies" in message]
    assert analytics.stats()["proxy_ignored"] == (2 if named else 0)
    assert len(told) == (1 if named else 0)
    assert all(f"list {named} in trusted_proxies" in message and "10.0.0.7" not in message for message in told)


@pytest.mark.parametrize(
    ("trusted", "told", "host"),
    [
        (["unix"], b"shop.example:8443", "shop.example"),
        (["unix"], b"shop.example, inner.example", "shop.example"),
        (["unix"], b"no host/", "app"),
        (["10.0.0.0/8"], b"shop.example", "app"),
    ],
)
def test_a_trusted_proxy_says_which_host_the_visitor_asked_for(serve, analytics_events, trusted, told, host):
    headers = [(b"host", b"app:8000"), (b"x-forwarded-host", told), (b"referer", b"http://shop.example/other")]
    serve(Analytics(trusted_proxies=trusted), headers=headers)
    [event] = analytics_events
    assert event.hostname == host
    # The site's own pages are no source of visits.
    assert (event.visit.channel == "Referral") is (host == "app")


def test_a_processor_that_returns_none_drops_the_event_and_the_next_ones_are_not_asked(analytics_events):
    asked = []
    analytics = Analytics(processors=[lambda event: None, asked.append])
    analytics.track("x")
    assert (analytics_events, asked) == ([], [])
    assert analytics.stats()["dropped"] == {"processor": 1}


def test_a_processor_that_raises_keeps_the_event_out_as_it_may_be_what_removes_secrets(analytics_events, caplog):
    def scrub(event):
        if event.event_name == "bad":
            raise LookupError("scrubber is broken")
        return event

    analytics = Analytics(processors=[scrub])
    for name in ("good", "bad", "bad", "also good"):
        analytics.track(name)
    assert names(analytics_events) == ["good", "also good"]
    assert analytics.stats()["dropped"] == {"processor_error": 2}
    assert len([record for record in caplog.records if "processor" in record.getMessage()]) == 1


def test_what_a_processor_leaves_behind_is_made_fit_to_be_kept(analytics_events):
    def messy(event):
        event.event_name = "a\ud800b"
        event.properties = {"set": {1}, "nan": float("nan"), 5: object}
        event.status_code = 10**5000
        event.timestamp = "yesterday"
        event.visit.browser = "\udfff"
        return event

    analytics = Analytics(processors=[messy])
    analytics.track("x")
    [event] = analytics_events
    assert (event.event_name, event.status_code, event.visit.browser) == ("a?b", None, "?")
    assert event.properties == {"set": "[1]", "nan": None, "5": "<class 'object'>"}
    assert analytics.stats()["dropped"] == {}


def test_identify_goes_past_the_processors():
    collector = FakeCollector()
    known = []
    collector.identify = lambda user_id, traits: known.append(user_id)
    analytics = Analytics([collector], processors=[lambda event: None], enabled=True)
    analytics.identify("u1")
    assert analytics.flush()
    analytics.close()
    assert known == ["u1"]


def test_the_environment_is_a_property_of_every_event_unless_the_event_has_its_own(serve, analytics_events):
    analytics = Analytics(environment="staging")
    analytics.track("x")
    analytics.track("y", {"environment": "mine"})
    serve(analytics)
    assert [event.properties for event in analytics_events] == [
        {"environment": "staging"},
        {"environment": "mine"},
        {"environment": "staging"},
    ]


@pytest.mark.parametrize(
    ("path", "recorded"), [("/shop", True), ("/admin/users", False), ("/health", True), ("/admin", True)]
)
def test_excluded_paths_make_no_automatic_event(serve, analytics_events, path, recorded):
    serve(Analytics(exclude=["/admin/*"]), path)
    assert bool(analytics_events) is recorded


def test_the_classify_hook_replaces_the_rule(serve, analytics_events):
    def rule(request):
        return {"/none": None, "/action": EventType.ACTION, "/text": "custom"}[request.path]

    analytics = Analytics(classify=rule)
    for path in ("/none", "/action", "/text"):
        serve(analytics, path)
    assert [event.type for event in analytics_events] == [EventType.ACTION, EventType.CUSTOM]


@pytest.mark.parametrize(
    ("answer", "helper", "recorded"),
    [
        (EventType.PAGEVIEW, set_event_name, EventType.CUSTOM),
        (EventType.ACTION, set_event_name, EventType.CUSTOM),
        (EventType.PAGEVIEW, set_action_name, EventType.ACTION),
        (None, set_event_name, None),
    ],
)
def test_a_name_outranks_the_type_that_the_classify_hook_gives(serve, analytics_events, answer, helper, recorded):
    serve(Analytics(classify=lambda request: answer), view=lambda: helper("search.submitted"))
    assert [event.type for event in analytics_events] == ([] if recorded is None else [recorded])


@pytest.mark.parametrize("answer", ["click", 5, True])
def test_a_classify_hook_that_answers_nonsense_loses_that_event_alone_and_is_counted(serve, analytics_events, answer):
    analytics = Analytics(classify=lambda request: answer if request.path == "/bad" else EventType.ACTION)
    serve(analytics, "/bad")
    serve(analytics, "/good")
    assert [event.path for event in analytics_events] == ["/good"]
    assert sum(analytics.stats()["dropped"].values()) == 1


def test_a_classify_hook_that_raises_loses_that_event_alone_and_is_counted(serve, analytics_events):
    def rule(request):
        if request.path == "/bad":
            raise LookupError
        return EventType.ACTION

    analytics = Analytics(classify=rule)
    serve(analytics, "/bad")
    serve(analytics, "/good")
    assert [event.path for event in analytics_events] == ["/good"]
    assert sum(analytics.stats()["dropped"].values()) == 1


def test_track_all_records_what_is_neither_page_view_nor_action(serve, analytics_events):
    serve(Analytics(), content_type=b"application/json")
    serve(Analytics(track_all=True), content_type=b"application/json")
    assert [event.type for event in analytics_events] == [EventType.ACTION]


@pytest.mark.parametrize("path", ["/\ud800", "/größe/東京", "/a b", "/\x00", "/" + "x" * 100_000])
def test_any_path_makes_an_event(serve, analytics_events, path):
    analytics = Analytics()
    serve(analytics, path)
    [event] = analytics_events
    assert event.url.isascii()
    assert len(event.path) <= 2048
    assert analytics.stats()["dropped"] == {}


@pytest.mark.parametrize(
    ("path", "kept", "url"),
    [
        ("/login?password=hunter2", "/login", "http:///login"),
        ("/r#access_token=hunter2", "/r", "http:///r"),
        ("/é?password=hunter2", "/é", "http:///%C3%A9"),
        ("/login%3Fpassword=hunter2", "/login", "http:///login"),
    ],
)
def test_a_query_that_was_encoded_into_the_path_is_not_kept(serve, analytics_events, path, kept, url):
    serve(Analytics(), path)
    [event] = analytics_events
    assert (event.path, event.url) == (kept, url)


@pytest.mark.parametrize("place", ["path", "referrer"])
def test_an_address_that_the_cut_of_a_long_url_goes_through_is_not_kept(serve, analytics_events, place):
    analytics = Analytics()
    start = {"path": "http://", "referrer": "https://a.example"}[place]
    for length in range(2048 - len(start) - 25, 2048 - 8):
        long = "/" + "x" * length + "/jane.doe@example.org"
        headers = [(b"referer", f"https://a.example{long}".encode())] if place == "referrer" else []
        serve(analytics, long if place == "path" else "/", headers=headers)
    kept = [(event.path, event.url, event.referrer) for event in analytics_events]
    assert kept
    assert not [texts for texts in kept if "jane" in str(texts)]


def test_one_event_that_fails_inside_holds_up_none_of_the_others(caplog):
    collector = FakeCollector()

    def break_it(event):
        return 5 if event.event_name == "bad" else event

    analytics = Analytics([collector], processors=[break_it], enabled=True)
    for name in ("one", "bad", "two"):
        analytics.track(name)
    assert analytics.flush()
    analytics.close()
    assert names(collector.events) == ["one", "two"]
    assert sum(analytics.stats()["dropped"].values()) == 1


def test_the_event_id_in_the_log_is_the_events(analytics_events):
    Analytics().track(Event(event_id="order-17", event_name="x"))
    assert analytics_events[0].event_id == "order-17"


def test_a_processor_that_returns_no_event_is_counted_as_failed(analytics_events):
    analytics = Analytics(enabled=True, processors=[lambda event: True])
    analytics.track("x")
    assert analytics_events == []
    assert analytics.stats()["dropped"] == {"processor_error": 1}


def test_a_processor_that_exits_costs_its_event_and_nothing_else(analytics_events):
    def leave(event):
        if event.event_name == "bad":
            sys.exit(1)
        return event

    analytics = Analytics(enabled=True, processors=[leave])
    analytics.track("bad")
    analytics.track("good")
    assert [event.event_name for event in analytics_events] == ["good"]
    assert analytics.stats()["dropped"] == {"processor_error": 1}


def test_the_environment_is_never_a_65th_property(analytics_events):
    analytics = Analytics(enabled=True, environment="test")
    analytics.track("x", {f"k{number}": number for number in range(64)})
    assert len(analytics_events[0].properties) == 64
    assert analytics_events[0].properties["environment"] == "test"
    assert analytics.stats()["properties_dropped"] == 1


def test_what_is_tracked_after_closing_is_counted_as_lost():
    analytics = Analytics([lambda event: None], enabled=True)
    analytics.track("before")
    analytics.flush()
    analytics.close()
    analytics.track("after")
    assert analytics.stats()["dropped"] == {"exit": 1}


@pytest.mark.parametrize("kind", ["path", "query", "host", "accept-language", "user-agent", "referer", "cookie"])
@pytest.mark.parametrize("length", [4000, 20_000])
def test_the_long_texts_of_strangers_are_not_kept_in_memory(kind, length):
    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(message):
        pass

    async def serve(numbers):
        for number in numbers:
            text = f"{number:04}" + "a1:" * (length // 3)
            given = {"host": f"[{text}]", "referer": f"https://a.example/{text}", "cookie": f"v={text}"}
            headers = [(kind.encode(), given.get(kind, text).encode())] if kind not in ("path", "query") else []
            scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "query_string": b""}
            scope |= {"path": {"path": f"/{text}"}, "query": {"query_string": text.encode()}}.get(kind, {})
            await middleware(scope, None, send)
        assert analytics.flush(10)

    analytics = Analytics(
        enabled=True, store=None, visitor="cookie", cookie_name="v", secret_key="k" * 32, exclude=["/no", "agent:no"]
    )
    middleware = AnalyticsMiddleware(app, analytics=analytics)
    asyncio.run(serve(range(50)))
    tracemalloc.start()
    asyncio.run(serve(range(50, 250)))
    gc.collect()
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    analytics.close(5)
    assert kept < 200 * 3000
