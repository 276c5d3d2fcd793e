"""Handing a request over: what follows it, in a thread or in another process, knows whose it was."""

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from analytics_middleware import Analytics, Event, set_user, track
from analytics_middleware.asgi import AnalyticsMiddleware
from analytics_middleware.context import current
from analytics_middleware.handover import HEADER, carry, headers, restored
from analytics_middleware.testing import FakeCollector

REQUEST_HEADERS = [
    (b"host", b"shop.example"),
    (b"accept-language", b"de"),
    (b"user-agent", b"Mozilla/5.0"),
    (b"cookie", b"session=CANARY-COOKIE"),
    (b"authorization", b"Bearer CANARY-TOKEN"),
]


async def request(analytics: Analytics, view: Any, more: Any = ()) -> None:
    """Have *view* called within a request to /orders?q=CANARY-QUERY."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        view()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def receive() -> Any:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        pass

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/orders",
        "query_string": b"q=CANARY-QUERY",
        "headers": [*REQUEST_HEADERS, *more],
        "client": ("203.0.113.7", 1),
    }
    await AnalyticsMiddleware(app, analytics=analytics)(scope, receive, send)


def run(analytics: Analytics, view: Any, more: Any = ()) -> None:
    import asyncio

    asyncio.run(request(analytics, view, more))


@pytest.fixture
def analytics(analytics_events: list[Event]) -> Analytics:
    return Analytics(get_user_id=None)


def custom(events: list[Event]) -> list[Event]:
    return [event for event in events if event.event_name]


def test_a_thread_tracks_for_the_request_it_was_started_in(analytics: Analytics, analytics_events: list[Event]) -> None:
    def view() -> None:
        with ThreadPoolExecutor(4) as pool:
            job = carry(lambda n: track("mailed", {"n": n}))
            list(pool.map(job, range(20)))
            pool.submit(track, "not carried").result()

    run(analytics, view)
    mailed = custom(analytics_events)
    assert sorted(event.properties["n"] for event in mailed) == list(range(20))
    assert {event.path for event in mailed} == {"/orders"}


def test_carrying_outlives_the_request(analytics: Analytics, analytics_events: list[Event]) -> None:
    go_on = threading.Event()
    threads: list[threading.Thread] = []

    def later() -> None:
        go_on.wait(5)
        track("later")

    def view() -> None:
        threads.append(threading.Thread(target=carry(later)))
        threads[0].start()

    run(analytics, view)
    go_on.set()
    threads[0].join()
    assert custom(analytics_events)[0].hostname == "shop.example"


def test_a_task_tracks_for_the_request_that_sent_it(analytics: Analytics, analytics_events: list[Event]) -> None:
    sent: dict[str, str] = {}
    run(analytics, lambda: sent.update(headers()))
    with restored(analytics, {"id": "1", **sent}):
        track("invoice.sent")
    track("outside")
    [event] = custom(analytics_events)
    assert (event.method, event.path, event.hostname, event.locale) == ("POST", "/orders", "shop.example", "de")
    assert event.user_agent == "Mozilla/5.0"


def test_what_queues_must_not_keep_does_not_go_along(analytics: Analytics) -> None:
    sent: dict[str, str] = {}
    run(analytics, lambda: sent.update(headers()))
    assert list(sent) == [HEADER]
    assert "CANARY" not in sent[HEADER]
    assert "203.0.113.7" not in sent[HEADER]


def test_an_objection_to_tracking_is_honoured_in_the_task() -> None:
    own, third = FakeCollector("own"), FakeCollector("third", third_party=True)
    analytics = Analytics([own, third], enabled=True, store=None)
    sent: dict[str, str] = {}
    run(analytics, lambda: sent.update(headers()), [(b"sec-gpc", b"1")])
    with restored(analytics, sent):
        track("invoice.sent")
    assert analytics.flush(5)
    assert [event.event_name for event in own.events if event.event_name] == ["invoice.sent"]
    assert third.events == []
    analytics.close()


LONG = b"x" * 9000
QUOTES = b'"' * 9000


@pytest.mark.parametrize(
    "more",
    [
        [(b"sec-gpc", b"1"), (b"referer", b"https://x.example/" + LONG), (b"user-agent", LONG)],
        [(b"dnt", b"1"), (b"referer", QUOTES), (b"user-agent", QUOTES), (b"accept-language", LONG)],
        [(b"dnt", b"0"), (b"dnt", b"1"), (b"host", LONG), (b"dnt", LONG)],
    ],
)
def test_no_length_of_headers_loses_an_objection_to_tracking(more: Any) -> None:
    own, third = FakeCollector("own"), FakeCollector("third", third_party=True)
    analytics = Analytics([own, third], enabled=True, store=None)

    def view() -> None:
        set_user("ann")
        sent.update(headers())

    sent: dict[str, str] = {}
    run(analytics, view, more)
    assert len(sent[HEADER]) <= 8192
    with restored(analytics, sent):
        track("invoice.sent")
    assert analytics.flush(5)
    [event] = custom(own.events)
    assert (event.method, event.user_id, event.visit.opted_out) == ("POST", "ann", True)
    assert third.events == []
    analytics.close()


def test_a_long_referrer_leaves_the_task_the_page(analytics: Analytics, analytics_events: list[Event]) -> None:
    sent: dict[str, str] = {}
    run(analytics, lambda: sent.update(headers()), [(b"referer", b"https://x.example/?q=" + LONG)])
    with restored(analytics, sent):
        track("invoice.sent")
    [event] = custom(analytics_events)
    assert (event.path, event.hostname, event.visit.source) == ("/orders", "shop.example", "x.example")


def test_where_no_page_fits_into_the_headers_none_is_made_up(
    analytics: Analytics, analytics_events: list[Event]
) -> None:
    sent: dict[str, str] = {}
    run(analytics, lambda: sent.update(headers()), [(b"referer", QUOTES), (b"accept-language", QUOTES)])
    with restored(analytics, sent):
        track("invoice.sent")
    [event] = custom(analytics_events)
    assert (event.method, event.path, event.url, event.hostname) == ("POST", None, None, None)


def tracked_in_tasks_of(exclude: list[str], view: Any = lambda: None, more: Any = ()) -> list[str | None]:
    """What is recorded of an event in a request, of one in its task, and of one in the task that this task sends."""
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True, store=None, get_user_id=None, exclude=exclude)
    first: dict[str, str] = {}

    def sending() -> None:
        view()
        first.update(headers())
        track("in the request")

    run(analytics, sending, more)
    with restored(analytics, first):
        track("in the task")
        second = headers()
    with restored(analytics, second):
        track("in its task")
    assert analytics.flush(5)
    analytics.close()
    return [event.event_name for event in custom(collector.events)]


@pytest.mark.parametrize("exclude", ["ip:203.0.113.0/24", "agent:mozilla*", "agent:*x"])
def test_who_is_excluded_is_not_counted_through_a_task_either(exclude: str) -> None:
    assert tracked_in_tasks_of([exclude], more=[(b"user-agent", LONG)] if exclude == "agent:*x" else ()) == []


def test_staff_are_not_counted_through_a_task_either() -> None:
    def staff() -> None:
        # As the frameworks' adapters do.
        context = current.get()
        assert context is not None
        context.staff = True

    assert tracked_in_tasks_of(["staff"], staff) == []


def test_excluding_somebody_leaves_the_tasks_of_others_alone() -> None:
    others = ["in the request", "in the task", "in its task"]
    assert tracked_in_tasks_of(["ip:192.0.2.0/24", "agent:bot*", "staff", "/orders"]) == others


def test_a_task_invents_no_visitor() -> None:
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True, store=None, get_user_id=None)
    sent: dict[str, str] = {}
    run(analytics, lambda: sent.update(headers()))
    with restored(analytics, sent):
        track("invoice.sent")
        track("signed.up", user_id="ann")
        track("with.address", client_ip="203.0.113.7")
    assert analytics.flush(5)
    analytics.close()
    action, nobodys, anns, located = collector.events
    assert action.anon_id
    assert action.visit.session_id
    assert (nobodys.anon_id, nobodys.visit.session_id, nobodys.path) == (None, None, "/orders")
    assert (anns.anon_id, anns.user_id) == (None, "ann")
    assert located.anon_id == action.anon_id


def test_what_an_older_version_sent_along_is_understood(analytics: Analytics, analytics_events: list[Event]) -> None:
    old = '{"method":"POST","path":"/orders","headers":{"host":"shop.example","dnt":"1"},"user_id":"ann"}'
    with restored(analytics, {HEADER: old}):
        track("invoice.sent")
    [event] = custom(analytics_events)
    assert (event.path, event.user_id, event.visit.opted_out) == ("/orders", "ann", True)


@pytest.mark.parametrize("sent", [None, {}, {"id": "1"}])
def test_a_task_that_no_request_sent_tracks_all_the_same(
    analytics: Analytics, analytics_events: list[Event], sent: Any
) -> None:
    with restored(analytics, sent):
        track("report.made", {"rows": 3})
        second = headers()
    with restored(analytics, second):
        track("report.mailed")
    assert [event.event_name for event in analytics_events] == ["report.made", "report.mailed"]
    assert analytics_events[0].properties == {"rows": 3}
    for event in analytics_events:
        assert (event.path, event.url, event.method, event.hostname) == (None, None, None, None)
        assert (event.user_id, event.anon_id, event.visit.session_id) == (None, None, None)


def test_a_block_that_a_script_sent_a_task_from_is_no_page(analytics: Analytics, analytics_events: list[Event]) -> None:
    with analytics.context(user_id=7):
        sent = headers()
    with restored(analytics, sent):
        track("invoice.sent")
    [event] = analytics_events
    assert (event.user_id, event.path, event.url, event.method) == ("7", None, None, None)


def test_a_task_that_runs_within_a_request_tracks_for_that(analytics: Analytics, analytics_events: list[Event]) -> None:
    def view() -> None:
        with restored(analytics, {"id": "1"}):
            track("invoice.sent")

    run(analytics, view)
    assert custom(analytics_events)[0].path == "/orders"


def test_a_task_hands_on_what_it_was_given(analytics: Analytics, analytics_events: list[Event]) -> None:
    with analytics.context(user_id="ann", locale="de-DE"):
        first = headers()
    with restored(analytics, first):
        second = headers()
    with restored(analytics, second):
        track("third.station")
    [event] = custom(analytics_events)
    assert (event.user_id, event.locale) == ("ann", "de-DE")


@pytest.mark.parametrize(
    "sent", [{HEADER: None}, {HEADER: ""}, {HEADER: "{"}, {HEADER: 3}, {HEADER: '{"path": 3}'}, {HEADER: "[" * 99_999}]
)
def test_nonsense_in_a_tasks_headers_changes_nothing(
    analytics: Analytics, analytics_events: list[Event], sent: Any
) -> None:
    with restored(analytics, sent):
        track("nobody's")
    assert analytics_events == []


def test_outside_a_request_there_is_nothing_to_hand_over() -> None:
    assert headers() == {}
    assert carry(len)([1, 2]) == 2
