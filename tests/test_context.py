"""The helpers shape the current request's event; wrong use is counted and logged, and never a view's problem."""

import asyncio
import contextvars
import logging
import sys
import threading
from datetime import UTC, date, datetime
from types import SimpleNamespace
from uuid import UUID

import pytest

from analytics_middleware import (
    Analytics,
    Event,
    EventType,
    Money,
    add_property,
    identify,
    set_action_name,
    set_event_name,
    set_revenue,
    set_user,
    track,
)
from analytics_middleware.asgi import AnalyticsMiddleware
from analytics_middleware.event import Visit
from analytics_middleware.testing import FakeCollector

HEADERS = [
    (b"host", b"Shop.example:8000"),
    (b"user-agent", b"Mozilla/5.0"),
    (b"referer", b"https://search.example/?q=shoes"),
    (b"accept-language", b"de-AT, en;q=0.5"),
]


class Raises:
    """An object that says nothing about itself without raising."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__
    __bool__ = __str__
    __eq__ = __str__
    __hash__ = None


class Person:
    def __str__(self):
        return "ann@example.org"


class RaisesUnprintably:
    class Error(Exception):
        def __str__(self):
            raise RuntimeError("not even the error")

    def __str__(self):
        raise self.Error


@pytest.fixture
def analytics(analytics_events):
    return Analytics()


@pytest.fixture
def serve(analytics):
    """Serve one request with *view*, through the middleware; return nothing, as the events say what happened."""

    def serve(view, method="GET", path="/shop", describe=None, **scope):
        async def app(scope, receive, send):
            view()
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/html; charset=utf-8")],
                }
            )
            await send({"type": "http.response.body", "body": b"<p>"})

        async def receive():
            return {"type": "http.request", "body": b""}

        async def send(message):
            pass

        full = {
            "type": "http",
            "method": method,
            "path": path,
            "headers": HEADERS,
            "query_string": b"utm_source=mail",
            "scheme": "https",
            "client": ("203.0.113.9", 4711),
            **scope,
        }
        middleware = AnalyticsMiddleware(app, analytics=analytics)
        if describe is not None:
            middleware.describe = describe
        asyncio.run(middleware(full, receive, send))

    return serve


HELPER_CALLS = {
    "set_revenue": lambda: set_revenue("5", "EUR"),
    "add_property": lambda: add_property("plan", "annual"),
    "set_event_name": lambda: set_event_name("bought"),
    "set_action_name": lambda: set_action_name("buy"),
    "set_user": lambda: set_user("u1"),
    "track": lambda: track("clicked"),
    "identify": lambda: identify("u1", {"plan": "annual"}),
}
BAD_CALLS = {
    "set_revenue: no number": lambda: set_revenue("a lot", "EUR"),
    "set_revenue: no currency": lambda: set_revenue(5),
    "set_revenue: unknown currency": lambda: set_revenue(5, "EURO"),
    "set_revenue: NaN": lambda: set_revenue(float("nan"), "EUR"),
    "set_revenue: None": lambda: set_revenue(None),
    "set_revenue: raises": lambda: set_revenue(Raises(), "EUR"),
    "set_revenue: currency raises": lambda: set_revenue(5, Raises()),
    "set_revenue: no argument": lambda: set_revenue(),
    "set_revenue: unknown keyword": lambda: set_revenue(5, "EUR", tax=1),
    "add_property: no key": lambda: add_property("", 1),
    "add_property: blank key": lambda: add_property("  ", 1),
    "add_property: None for a key": lambda: add_property(None, 1),
    "add_property: key raises": lambda: add_property(Raises(), 1),
    "add_property: no value": lambda: add_property("plan"),
    "set_event_name: empty": lambda: set_event_name(""),
    "set_event_name: blank": lambda: set_event_name(" \n"),
    "set_event_name: None": lambda: set_event_name(None),
    "set_event_name: raises": lambda: set_event_name(Raises()),
    "set_event_name: raises unprintably": lambda: set_event_name(RaisesUnprintably()),
    "set_action_name: empty": lambda: set_action_name(""),
    "set_action_name: raises": lambda: set_action_name(Raises()),
    "set_user: raises": lambda: set_user(Raises()),
    "set_user: a whole user": lambda: set_user(Person()),
    "set_user: bytes": lambda: set_user(b"ann"),
    "identify: a whole user": lambda: identify(Person()),
    "track: a whole user": lambda: track("x", user_id=Person()),
    "track: empty": lambda: track(""),
    "track: None": lambda: track(None),
    "track: raises": lambda: track(Raises()),
    "track: properties are text": lambda: track("x", "plan=annual"),
    "track: properties are a number": lambda: track("x", 5),
    "track: unknown field": lambda: track("x", colour="red"),
    "track: revenue is a bare number": lambda: track("x", revenue=5),
    "track: an event with properties beside it": lambda: track(Event(event_name="x"), {"a": 1}),
    "identify: nobody": lambda: identify("", {"a": 1}),
    "identify: None": lambda: identify(None),
    "identify: raises": lambda: identify(Raises()),
    "identify: traits are text": lambda: identify("u1", "annual"),
}


@pytest.mark.parametrize("call", HELPER_CALLS.values(), ids=HELPER_CALLS.keys())
def test_outside_a_request_a_helper_does_nothing(call, analytics, analytics_events):
    call()
    assert analytics_events == []
    assert not any(analytics.stats()[count] for count in ("accepted", "late_helper", "bad_argument"))


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_a_bad_argument_is_counted_logged_once_and_changes_nothing(call, serve, analytics, analytics_events, caplog):
    def view():
        call()
        call()

    serve(view)
    [event] = analytics_events
    assert (event.type, event.event_name, event.action_name) == (EventType.PAGEVIEW, None, None)
    assert (event.properties, event.revenue, event.user_id) == ({}, None, None)
    assert analytics.stats()["bad_argument"] == 2
    assert analytics.stats()["dropped"] == {}
    [record] = [record for record in caplog.records if record.name == "analytics_middleware"]
    assert record.levelno == logging.WARNING
    assert "() ignored: " in record.getMessage()


@pytest.mark.parametrize("call", BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_outside_a_request_a_bad_argument_is_nobodys_problem_either(call, analytics):
    call()
    assert analytics.stats()["bad_argument"] == 0


def test_a_property_value_of_any_kind_is_kept_as_a_scalar(serve, analytics, analytics_events):
    def view():
        add_property("raises", Raises())
        add_property("list", [1, "a"])
        add_property("huge", 10**5000)
        add_property(7, None)

    serve(view)
    assert analytics_events[0].properties == {
        "raises": "unprintable Raises",
        "list": '[1,"a"]',
        "huge": "integer of 16610 bits",
        "7": None,
    }


def test_set_revenue_takes_what_money_takes_and_the_last_call_wins(serve, analytics_events):
    def view():
        set_revenue(29.99, "GBP")
        set_revenue(Money.from_minor(500, "JPY"))
        set_revenue(SimpleNamespace(amount="12.50", currency="eur"))

    serve(view)
    assert analytics_events[0].revenue == Money("12.50", "EUR")


def test_set_event_name_makes_a_page_view_a_custom_event(serve, analytics_events):
    serve(lambda: set_event_name("search.submitted"))
    [event] = analytics_events
    assert (event.type, event.event_name, event.name) == (EventType.CUSTOM, "search.submitted", "search.submitted")


def test_set_action_name_makes_a_page_view_an_action(serve, analytics_events):
    serve(lambda: set_action_name("preview"))
    assert (analytics_events[0].type, analytics_events[0].action_name) == (EventType.ACTION, "preview")


def test_an_event_name_outranks_an_action_name_and_both_are_kept(serve, analytics_events):
    def view():
        set_event_name("bought")
        set_action_name("buy")

    serve(view, method="POST")
    [event] = analytics_events
    assert (event.type, event.event_name, event.action_name) == (EventType.CUSTOM, "bought", "buy")


def test_set_user_says_whose_request_it_is_and_none_says_nobodys(serve, analytics_events):
    serve(lambda: set_user(42))
    serve(lambda: (set_user(42), set_user(None)))
    assert [event.user_id for event in analytics_events] == ["42", None]


def test_a_user_id_is_text_a_number_or_a_uuid_and_of_anything_else_nothing_is_kept(serve, analytics_events, caplog):
    serve(lambda: set_user(UUID(int=7)))
    serve(lambda: (set_user("ann"), set_user(Person())))
    serve(lambda: set_user(Person()))
    assert [event.user_id for event in analytics_events] == ["00000000-0000-0000-0000-000000000007", "ann", None]
    assert "set_user() ignored: a user id must be a str, int or UUID such as user.id, not Person" in caplog.text
    assert "ann@example.org" not in caplog.text


def test_out_of_a_request_what_is_no_user_id_is_an_error_that_says_so(analytics):
    for call in (
        lambda: analytics.track("x", user_id=Person()),
        lambda: analytics.track(Event(event_name="x", user_id=Person())),
        lambda: analytics.identify(Person()),
        lambda: analytics.erase(Person()),
        lambda: analytics.context("x", user_id=Person()).__enter__(),
    ):
        with pytest.raises(TypeError, match=r"a user id must be a str, int or UUID such as user\.id, not Person"):
            call()


def test_a_65th_property_is_dropped_and_counted_and_an_existing_one_updated(serve, analytics, analytics_events):
    def view():
        for number in range(66):
            add_property(f"k{number}", number)
        add_property("k0", "again")
        add_property(" k1 ", "trimmed")

    serve(view)
    properties = analytics_events[0].properties
    assert list(properties) == [f"k{number}" for number in range(64)]
    assert (properties["k0"], properties["k1"]) == ("again", "trimmed")
    assert analytics.stats()["properties_dropped"] == 2
    assert analytics.stats()["bad_argument"] == 0


def test_properties_beyond_the_64th_of_a_tracked_event_are_counted(serve, analytics, analytics_events):
    serve(lambda: track("x", {f"k{number}": number for number in range(70)}))
    tracked = next(event for event in analytics_events if event.name == "x")
    assert list(tracked.properties) == [f"k{number}" for number in range(64)]
    assert analytics.stats()["properties_dropped"] == 6


def test_properties_beyond_the_64th_are_counted_outside_a_request_too(analytics, analytics_events):
    analytics.track("x", {f"k{number}": number for number in range(70)})
    assert len(analytics_events[0].properties) == 64
    assert analytics.stats()["properties_dropped"] == 6


LATE_CALLS = {name: call for name, call in HELPER_CALLS.items() if name not in ("track", "identify")}


@pytest.mark.parametrize("call", LATE_CALLS.values(), ids=LATE_CALLS.keys())
def test_a_helper_after_the_hand_off_changes_nothing_and_is_counted(call, serve, analytics, analytics_events):
    kept = []
    serve(lambda: kept.append(contextvars.copy_context()))
    before = analytics_events[0].encode()
    kept[0].run(call)
    assert [event.encode() for event in analytics_events] == [before]
    assert analytics.stats()["late_helper"] == 1
    assert analytics.stats()["bad_argument"] == 0


def test_track_after_the_hand_off_is_still_filled_from_its_request(serve, analytics, analytics_events):
    kept = []
    serve(lambda: kept.append(contextvars.copy_context()))
    kept[0].run(track, "mail.sent")
    assert analytics_events[1].event_name == "mail.sent"
    assert analytics_events[1].path == "/shop"
    assert analytics.stats()["late_helper"] == 0


def test_helpers_work_from_a_thread_that_runs_in_a_copy_of_the_context(serve, analytics_events):
    def view():
        copy = contextvars.copy_context()
        thread = threading.Thread(target=copy.run, args=(add_property, "from", "thread"))
        thread.start()
        thread.join()

    serve(view)
    assert analytics_events[0].properties == {"from": "thread"}


def test_after_the_request_its_context_is_gone(serve, analytics_events):
    serve(lambda: None)
    track("later")
    assert len(analytics_events) == 1


INHERITED = ("hostname", "url", "path", "method", "user_agent", "referrer", "locale", "client_ip")


def test_a_tracked_event_has_every_field_that_its_request_knows(serve, analytics_events):
    serve(lambda: track("clicked", {"button": "buy"}))
    clicked, page = analytics_events
    assert (clicked.type, clicked.event_name, clicked.properties) == (EventType.CUSTOM, "clicked", {"button": "buy"})
    assert (clicked.hostname, clicked.path, clicked.method, clicked.locale) == ("shop.example", "/shop", "GET", "de-AT")
    assert clicked.user_agent == "Mozilla/5.0"
    for field in INHERITED:
        assert getattr(clicked, field) == getattr(page, field)
    assert (clicked.status_code, clicked.duration, clicked.revenue) == (None, None, None)
    assert clicked.event_id != page.event_id


def test_what_the_caller_set_on_a_tracked_event_is_kept_and_the_rest_filled(serve, analytics_events):
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    given = Event(
        event_id="order-17",
        type=EventType.ACTION,
        event_name="bought",
        timestamp=moment,
        user_id="u9",
        path="/elsewhere",
        locale="fr",
        revenue=Money(5, "EUR"),
        properties={"plan": "annual"},
        visit=Visit(channel="Affiliate"),
    )
    serve(lambda: track(given))
    event = analytics_events[0]
    assert (event.event_id, event.type, event.timestamp) == ("order-17", EventType.ACTION, moment)
    assert (event.user_id, event.path, event.locale) == ("u9", "/elsewhere", "fr")
    assert (event.revenue, event.properties, event.visit.channel) == (Money(5, "EUR"), {"plan": "annual"}, "Affiliate")
    assert (event.hostname, event.user_agent, event.method) == ("shop.example", "Mozilla/5.0", "GET")


def _invite(users):
    for user in users:
        set_user(user)
        track("invited", {"expected": user})


def recorded(*, record):
    """What collectors get when *record* is called with analytics whose writer thread comes later."""
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True)
    record(analytics)
    assert analytics.flush()
    analytics.close()
    return collector.events


def test_events_tracked_in_one_request_are_each_of_the_user_named_by_then():
    def record(analytics):
        async def app(scope, receive, send):
            _invite(["u1", "u2", "u3"])
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body"})

        async def nothing(*_message):
            return {"type": "http.request"}

        scope = {"type": "http", "method": "POST", "path": "/invite", "headers": HEADERS}
        asyncio.run(AnalyticsMiddleware(app, analytics=analytics)(scope, nothing, nothing))

    *invited, request = recorded(record=record)
    assert [event.user_id for event in invited] == [event.properties["expected"] for event in invited]
    assert len(invited) == 3
    assert request.user_id == "u3"


def test_events_tracked_in_one_block_are_each_of_the_user_named_by_then():
    def record(analytics):
        with analytics.context("job"):
            _invite(["u1", "u2", "u3"])

    *invited, job = recorded(record=record)
    assert [event.user_id for event in invited] == ["u1", "u2", "u3"]
    assert job.user_id == "u3"


def test_a_copy_of_an_event_for_another_user_has_a_session_of_its_own_and_the_original_is_left_alone():
    original = Event(event_name="x", user_id="u1")

    def record(analytics):
        analytics.track(original)
        analytics.flush()
        analytics.track(original.replace(event_id="second", user_id="u2"))

    first, second = recorded(record=record)
    assert first.visit.session_id != second.visit.session_id
    assert original.visit == Visit()


def test_a_tracked_event_belongs_to_the_user_that_the_view_named(serve, analytics_events):
    serve(lambda: (set_user("u1"), track("clicked")))
    assert [event.user_id for event in analytics_events] == ["u1", "u1"]


def test_the_callers_event_and_dict_are_neither_changed_nor_kept(serve, analytics_events):
    given, properties = Event(event_name="one", properties={"a": [1]}), {"b": 1}

    def view():
        track(given)
        track("two", properties)
        given.event_name = "changed"
        given.properties["a"] = "changed"
        properties["b"] = "changed"

    serve(view)
    assert [event.event_name for event in analytics_events[:2]] == ["one", "two"]
    assert [event.properties for event in analytics_events[:2]] == [{"a": "[1]"}, {"b": 1}]
    assert given.path is None


def test_fields_of_a_named_event_are_cleaned(serve, analytics_events):
    serve(lambda: track("bought", user_id=7, revenue=SimpleNamespace(amount=5, currency="EUR")))
    assert (analytics_events[0].user_id, analytics_events[0].revenue) == ("7", Money(5, "EUR"))


@pytest.mark.parametrize(
    "arguments",
    [("",), (None,), ("x", "plan=annual"), ("x", 5), (Event(), {"a": 1}), (Event(event_id="e", properties=5),)],
    ids=["empty", "None", "text", "number", "both", "event with a number for properties"],
)
def test_analytics_track_raises_to_its_caller_for_arguments_that_make_no_event(arguments, analytics, analytics_events):
    with pytest.raises((TypeError, ValueError)):
        analytics.track(*arguments)
    assert analytics_events == []


def test_a_time_may_be_text_and_what_is_no_time_is_refused_rather_than_dated_now(serve, analytics, analytics_events):
    for given in ("2026-01-31T12:00:00Z", "2026-01-31T13:00:00+01:00", datetime(2026, 1, 31, 12)):
        analytics.track("x", timestamp=given)
    assert {event.timestamp for event in analytics_events} == {datetime(2026, 1, 31, 12, tzinfo=UTC)}
    analytics_events.clear()
    for given in ("yesterday", 1_700_000_000, date(2026, 1, 31), None):
        with pytest.raises(TypeError, match=r"timestamp .* must be a datetime, or text such as"):
            analytics.track("x", timestamp=given)
        with pytest.raises(TypeError, match="timestamp"):
            analytics.track(Event(event_name="x", timestamp=given))
    assert analytics_events == []


def test_what_an_event_has_no_field_for_is_refused_by_name(analytics):
    with pytest.raises(TypeError, match="an event has no field 'plan'; what is your own goes into properties"):
        analytics.track("x", plan="annual")
    with pytest.raises(TypeError, match="traits must be a mapping, not list"):
        analytics.identify("ann", ["annual"])


def test_analytics_track_and_identify_work_anywhere(analytics, analytics_events):
    analytics.track("cron.done", {"rows": 5}, user_id="u1")
    [event] = analytics_events
    assert (event.event_name, event.properties, event.user_id, event.path) == ("cron.done", {"rows": 5}, "u1", None)
    with pytest.raises(ValueError, match="user id '' is empty"):
        analytics.identify("")


def test_identify_reaches_collectors_that_know_it():
    known = []

    class Crm(FakeCollector):
        def identify(self, user_id, traits):
            known.append((user_id, traits))

    crm = Crm("crm")
    analytics = Analytics([crm], enabled=True)
    with analytics.context():
        identify(7, {"plan": "annual", "seats": [1], "left": None}, anon_id="a1")
        track("x")
    assert analytics.flush()
    analytics.close()
    assert known == [("7", {"plan": "annual", "seats": "[1]", "left": None})]
    assert [event.name for event in crm.events] == ["x"]
    assert analytics.stats()["collectors"]["crm"]["accepted"] == 1


def test_a_manual_context_fills_what_is_tracked_in_it(analytics, analytics_events):
    with analytics.context(user_id=7, locale="de-AT", client_ip="203.0.113.9", hostname="shop.example"):
        track("invoice.sent")
    [event] = analytics_events
    assert (event.event_name, event.user_id, event.locale) == ("invoice.sent", "7", "de-AT")
    assert (event.hostname, event.path, event.type) == ("shop.example", None, EventType.CUSTOM)


def test_a_manual_context_with_a_name_is_an_event_with_a_duration_that_helpers_shape(analytics, analytics_events):
    with analytics.context("import.run", user_id="u1", properties={"source": "csv"}):
        add_property("rows", 5)
        set_revenue(5, "EUR")
        set_action_name("import")
        set_user("u2")
    [event] = analytics_events
    assert (event.type, event.event_name, event.action_name) == (EventType.CUSTOM, "import.run", "import")
    assert (event.properties, event.revenue, event.user_id) == ({"source": "csv", "rows": 5}, Money(5, "EUR"), "u2")
    assert event.duration >= 0


def test_a_manual_context_takes_the_fields_that_track_takes(analytics, analytics_events):
    with analytics.context("import.run", revenue=SimpleNamespace(amount=5, currency="EUR"), timestamp="2026-01-31"):
        pass
    [event] = analytics_events
    assert (event.revenue, event.timestamp) == (Money(5, "EUR"), datetime(2026, 1, 31, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "fields", "message"),
    [
        ("", {}, "event name '' is empty"),
        ("job", {"revenue": "29.99"}, "Money"),
        ("job", {"plan": "annual"}, "an event has no field 'plan'"),
        ("job", {"timestamp": "yesterday"}, "timestamp 'yesterday' must be"),
        ("job", {"properties": ["a"]}, "properties must be a mapping"),
    ],
)
def test_a_manual_context_refuses_fields_that_make_no_event(name, fields, message, analytics, analytics_events):
    with pytest.raises((TypeError, ValueError), match=message), analytics.context(name, **fields):
        pytest.fail("the block ran")
    track("later")
    assert analytics_events == []


def test_what_is_tracked_in_a_manual_context_belongs_to_the_user_named_in_it(analytics, analytics_events):
    with analytics.context("import.run", user_id="u1"):
        set_user("u2")
        track("row.imported")
    assert [event.user_id for event in analytics_events] == ["u2", "u2"]


def test_a_manual_context_that_fails_is_recorded_and_raises_on(analytics, analytics_events):
    with pytest.raises(LookupError), analytics.context("import.run"):
        raise LookupError
    assert [event.event_name for event in analytics_events] == ["import.run"]
    assert analytics_events[0].properties == {"error": "LookupError"}
    track("later")
    assert len(analytics_events) == 1


@pytest.mark.parametrize(("code", "properties"), [(0, {}), (None, {}), (3, {"error": "SystemExit"})])
def test_a_manual_context_that_ends_its_script_well_has_not_failed(code, properties, analytics, analytics_events):
    with pytest.raises(SystemExit), analytics.context("import.run"):
        sys.exit(code)
    assert analytics_events[0].properties == properties


def test_a_manual_context_without_a_name_makes_no_event_of_its_own(analytics, analytics_events):
    with analytics.context(user_id="u1"):
        add_property("a", 1)
    assert analytics_events == []
    assert analytics.stats()["late_helper"] == 1


def test_contexts_nest_and_the_inner_one_ends_at_its_end(analytics, analytics_events):
    with analytics.context("outer"):
        with analytics.context("inner"):
            add_property("where", "inner")
        add_property("where", "outer")
    assert [(event.event_name, event.properties) for event in analytics_events] == [
        ("inner", {"where": "inner"}),
        ("outer", {"where": "outer"}),
    ]


@pytest.mark.parametrize("call", HELPER_CALLS.values(), ids=HELPER_CALLS.keys())
def test_when_analytics_is_off_a_helper_does_nothing(call):
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=False)
    with analytics.context("job"):
        call()
    assert analytics.flush()
    assert collector.events == []
    assert analytics.stats()["accepted"] == 0


def test_a_view_that_is_served_while_analytics_fails_inside_notices_nothing(serve, analytics, analytics_events):
    def describe(source, context):
        raise RuntimeError("the framework's object is gone")

    seen = []
    serve(lambda: seen.append("view"), describe=describe)
    assert seen == ["view"]
    assert len(analytics_events) == 1
    assert (analytics.stats()["dropped"], analytics.stats()["internal_errors"]) == ({}, 1)


def test_a_task_that_ends_the_responses_of_others_is_in_no_request(analytics_events):
    """Such as one that serves all streams: what it tracks later is nobody's."""
    analytics = Analytics()

    async def main():
        ending = asyncio.Queue()

        async def end_all():
            while True:
                send, done = await ending.get()
                await send({"type": "http.response.body", "body": b""})
                analytics.track("idle")
                done.set()

        async def app(scope, receive, send):
            set_user("alice")
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
            done = asyncio.Event()
            await ending.put((send, done))
            await done.wait()
            analytics.track("after")

        async def nothing(*_):
            pass

        task = asyncio.create_task(end_all())
        scope = {"type": "http", "method": "GET", "path": "/alice", "headers": HEADERS, "query_string": b""}
        await AnalyticsMiddleware(app, analytics=analytics)(scope, nothing, nothing)
        task.cancel()

    asyncio.run(main())
    found = {event.event_name or event.type: (event.user_id, event.path) for event in analytics_events}
    assert found == {"pageview": ("alice", "/alice"), "idle": (None, None), "after": ("alice", "/alice")}
