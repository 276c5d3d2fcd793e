"""The contract, over every stack in this process: the same request makes the same event, and nothing else changes."""

import asyncio
import contextvars
import gc
import logging
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any
from wsgiref.validate import validator

import pytest
from contract.drivers import ClientGoneError, Exchange, Request, ask_asgi, ask_wsgi
from contract.pages import DEADLINE, STREAM, Probe
from contract.rows import DOCUMENT, ROWS, Row
from contract.stacks import ASGI_NAMES, NAMES, WSGI_NAMES, Served, Stack, load

from analytics_middleware import Event, asgi, wsgi
from analytics_middleware.context import current

every_stack = pytest.mark.parametrize("stack", NAMES, indirect=True)
asgi_stacks = pytest.mark.parametrize("stack", ASGI_NAMES, indirect=True)
wsgi_stacks = pytest.mark.parametrize("stack", WSGI_NAMES, indirect=True)
every_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)

IN_FLIGHT = 200
RECORDED = {"enabled": True}


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """The failing view fails on purpose; frameworks log that."""
    caplog.set_level(logging.CRITICAL)


def captured(served: Served) -> list[Event]:
    events: list[Event] = []
    served.analytics.capture(events.append)
    return events


def get(target: str, *headers: tuple[str, str]) -> Request:
    return Request("GET", target, (*DOCUMENT, *headers))


class Kept:
    """Applications that the table's many rows share: some frameworks take longer to set up than to answer."""

    def __init__(self) -> None:
        self._open = ExitStack()
        self._served: dict[object, Served] = {}

    @contextmanager
    def serve(self, stack: Stack, settings: Any) -> Iterator[Served]:
        if not stack.reusable:
            with stack.serve(settings) as served:
                yield served
            return
        key = (stack.name, settings is None)
        if key not in self._served:
            self._served[key] = self._open.enter_context(stack.serve(settings))
        yield self._served[key]

    def close(self) -> None:
        self._open.close()


@pytest.fixture(scope="module")
def kept() -> Iterator[Kept]:
    kept = Kept()
    yield kept
    kept.close()


# The table.


@every_stack
@every_row
def test_the_same_request_makes_the_same_event_in_every_stack(stack: Stack, row: Row, kept: "Kept") -> None:
    with kept.serve(stack, RECORDED) as served:
        events = captured(served)
        served.ask(row.request)
    assert row.summary(events) == row.expectation(stack)


@every_stack
@every_row
def test_responses_are_the_same_to_the_byte_with_and_without_the_middleware(
    stack: Stack, row: Row, kept: "Kept"
) -> None:
    with kept.serve(stack, None) as plain:
        without = plain.ask(row.request)
    with kept.serve(stack, RECORDED) as served:
        # Not captured: a test that watches may change how bodies end.
        served.analytics.capture(None)
        recorded = served.ask(row.request)
    assert recorded.comparable == without.comparable


@every_stack
@pytest.mark.parametrize("variant", ["twice", "bare outside"])
@pytest.mark.parametrize("target", ["/blog/hello", "/stream", "/shop/items/7", "/failing", "/t/acme/orders/3"])
def test_stacked_middleware_makes_one_event_with_the_innermost_route(stack: Stack, variant: str, target: str) -> None:
    row = next(row for row in ROWS if row.request.target == target)
    with stack.serve(RECORDED, variant) as served:
        events = captured(served)
        served.ask(row.request)
    assert row.summary(events) == row.expectation(stack)


@every_stack
def test_stacked_middleware_counts_the_time_of_the_outermost_layer(stack: Stack, clock: "Clock") -> None:
    with stack.serve(RECORDED) as served:
        inner = served.app
        if stack.protocol == "asgi":

            async def slow_asgi(scope: Any, receive: Any, send: Any) -> None:
                clock.advance(7)
                await inner(scope, receive, send)

            slow: Any = slow_asgi
        else:

            def slow_wsgi(environ: Any, start_response: Any) -> Any:
                clock.advance(7)
                return inner(environ, start_response)

            slow = slow_wsgi
        layer = _bare_layer(stack)(slow, analytics=served.analytics)
        events = captured(served)
        Served(stack, layer, served.analytics).ask(get("/blog/hello"))
    assert [(event.duration, event.matched_pattern) for event in events] == [(7, stack.pattern("/blog/{slug}"))]


def _bare_layer(stack: Stack) -> Any:
    return asgi.AnalyticsMiddleware if stack.protocol == "asgi" else wsgi.AnalyticsMiddleware


@wsgi_stacks
@pytest.mark.parametrize("target", ["/", "/stream", "/api/items", "/found"])
def test_wsgi_is_spoken_as_pep_3333_has_it(stack: Stack, target: str) -> None:
    # The validator wants what servers give: a query string and a read of the body at most once.
    with stack.serve(RECORDED) as served:
        events = captured(served)
        exchange = ask_wsgi(validator(served.app), get(target))
    assert exchange.error is None
    assert len(events) == (target in ("/", "/stream"))


# Helpers.


every_mode = pytest.mark.parametrize("mode", ["sync", "async", "threadpool", "stream", "sync stream"])
"""Where views can call helpers from."""

offered = pytest.mark.applies(lambda stack, mode, **_: mode in stack.modes)
"""Only the modes that a stack has: a WSGI application is sync, an ASGI application sends each chunk itself."""

around = pytest.mark.applies(
    lambda stack, variant, mode=None, **_: (
        (mode is None or mode in stack.modes)
        and (variant == "plain" or any(name.endswith(variant) for name in stack.around))
    )
)
"""Only stacks with middleware that runs views elsewhere, on that side."""

together = pytest.mark.applies(lambda stack, mode, **_: mode in stack.modes and mode not in stack.one_at_a_time)
"""Only modes in which views run at the same time: Django's sync views under ASGI take turns."""


@offered
@every_stack
@every_mode
def test_helpers_change_the_request_they_are_called_in(stack: Stack, mode: str) -> None:
    _check_helpers(stack, mode, "plain")


@around
@pytest.mark.parametrize("variant", ["outside", "inside"])
@every_stack
@every_mode
def test_helpers_work_under_and_around_foreign_middleware(stack: Stack, mode: str, variant: str) -> None:
    for name in (name for name in stack.around if name.endswith(variant)):
        _check_helpers(stack, mode, name)


def numbered(mode: str, n: int) -> Request:
    # Of a query the event keeps what marks campaigns.
    return get(f"/helpers/{mode.replace(' ', '%20')}?n={n}&utm_content=n{n}")


def _check_helpers(stack: Stack, mode: str, variant: str) -> None:
    with stack.serve(RECORDED, variant) as served:
        events = captured(served)
        exchange = served.ask(numbered(mode, 5))
    assert exchange.error is None
    assert exchange.body == b"<p>5</p>" if "stream" not in mode else b"<p></p>"
    _check_numbered(events, [5])


def _check_numbered(events: list[Event], numbers: list[int]) -> None:
    """Each number has its automatic event and its tracked one, with nobody else's data."""
    automatic = {event.event_name: event for event in events if "again" in event.properties}
    tracked = {event.event_name: event for event in events if "again" not in event.properties}
    assert len(events) == 2 * len(numbers)
    assert automatic.keys() == {f"named.{n}" for n in numbers}
    assert tracked.keys() == {f"tracked.{n}" for n in numbers}
    for n in numbers:
        event = automatic[f"named.{n}"]
        assert event.properties == {"n": n, "again": n}
        assert event.revenue is not None
        assert (event.revenue.amount, event.status_code) == (n, 200)
        for one in (event, tracked[f"tracked.{n}"]):
            assert one.url is not None
            assert one.url.endswith(f"?utm_content=n{n}")
            assert one.client_ip == "203.0.113.9"


@together
@every_stack
@every_mode
def test_200_requests_in_flight_keep_their_helpers_apart(stack: Stack, mode: str, probe: Probe) -> None:
    events: list[Event] = []
    numbers = list(range(IN_FLIGHT))
    requests = [numbered(mode, n) for n in numbers]
    with stack.serve({**RECORDED, "collectors": [events.append]}) as served:
        if stack.protocol == "asgi":
            asyncio.run(_all_at_once(served, requests, probe))
        else:
            probe.meeting = threading.Barrier(IN_FLIGHT)
            threads = [threading.Thread(target=ask_wsgi, args=(served.app, request)) for request in requests]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(DEADLINE)
        assert served.analytics.flush(DEADLINE)
        stats = served.analytics.stats()
    _check_numbered(events, numbers)
    assert (stats["accepted"], stats["dropped"], stats["late_helper"]) == (2 * IN_FLIGHT, {}, 0)


async def _all_at_once(served: Served, requests: list[Request], probe: Probe) -> list[Exchange]:
    probe.async_meeting = asyncio.Barrier(len(requests))
    probe.meeting = threading.Barrier(len(requests))
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(requests)))
    try:
        from anyio.to_thread import current_default_thread_limiter
    except ImportError:
        pass
    else:
        # Starlette's pool lets 40 sync views run at a time by default.
        current_default_thread_limiter().total_tokens = len(requests)
    return await asyncio.gather(*(ask_asgi(served.app, request) for request in requests))


@every_stack
def test_a_65th_property_is_dropped_and_counted(stack: Stack) -> None:
    with stack.serve(RECORDED) as served:
        events = captured(served)
        served.ask(get("/many"))
        stats = served.analytics.stats()
    assert [len(event.properties) for event in events] == [64]
    assert stats["properties_dropped"] == 1


@every_stack
def test_helpers_used_wrongly_never_raise_into_the_view_and_are_counted(stack: Stack) -> None:
    with stack.serve(RECORDED) as served:
        events = captured(served)
        exchange = served.ask(get("/clumsy"))
        stats = served.analytics.stats()
    assert exchange.status == 200
    assert [(event.revenue, event.event_name, event.action_name) for event in events] == [(None, None, None)]
    assert stats["bad_argument"] == 4


@every_stack
def test_track_in_a_view_is_filled_from_the_request(stack: Stack) -> None:
    with stack.serve(RECORDED) as served:
        events = captured(served)
        served.ask(
            get("/checkout?utm_source=mail", ("User-Agent", "Browser/1"), ("Referer", "https://search.example/"))
        )
    tracked, automatic = events
    assert (tracked.type.value, tracked.event_name, tracked.properties) == (
        "custom",
        "checkout.completed",
        {"plan": "annual"},
    )
    assert automatic.type.value == "pageview"
    for event in events:
        assert event.url == "http://shop.example/checkout?utm_source=mail"
        assert event.matched_pattern == stack.pattern("/checkout")
        assert (event.client_ip, event.method) == ("203.0.113.9", "GET")
        assert (event.user_agent, event.referrer) == ("Browser/1", "https://search.example/")
    # The answer was not there yet.
    assert (tracked.status_code, tracked.duration) == (None, None)


@every_stack
def test_the_request_path_is_clear_of_analytics_when_it_is_off(stack: Stack) -> None:
    with stack.serve({"enabled": False}) as served:
        exchange = served.ask(get("/helpers/" + stack.modes[0] + "?n=1"))
        stats = served.analytics.stats()
    assert exchange.status == 200
    assert (stats["accepted"], stats["late_helper"]) == (0, 0)


@every_stack
def test_no_context_is_left_behind_by_a_request(stack: Stack, probe: Probe) -> None:
    left: list[object] = []
    targets = ("/stream", "/", "/download", "/failing", "/checkout")

    def in_one_thread(served: Served) -> None:
        for target in targets:
            ask_wsgi(served.app, get(target), same_context=True)
            left.append(current.get())
        ask_wsgi(served.app, get("/stream"), same_context=True, stop_after=1)
        left.append(current.get())

    async def in_one_task(served: Served) -> None:
        async def watched(*connection: Any) -> None:
            try:
                await served.app(*connection)
            finally:
                left.append(current.get())

        for target in targets:
            await ask_asgi(watched, get(target))

    with stack.serve(RECORDED) as served:
        captured(served)
        if stack.protocol == "asgi":
            asyncio.run(in_one_task(served))
        else:
            contextvars.Context().run(in_one_thread, served)
    assert set(left) == {None}


# Background work.


@every_stack
def test_background_work_tracks_with_the_request_and_edits_too_late_are_counted(
    stack: Stack, probe: Probe, clock: "Clock"
) -> None:
    probe.in_background = lambda: clock.advance(1000)
    with stack.serve(RECORDED) as served:
        events = captured(served)
        served.ask(get("/background", ("X-User", "7")))
        probe.response_over.set()
        assert probe.background_done.wait(DEADLINE)
        stats = served.analytics.stats()
    automatic, tracked = events
    assert (automatic.type.value, automatic.event_name, automatic.properties) == ("pageview", None, {})
    assert automatic.duration == 0, "background work is no part of the request's duration"
    assert (tracked.event_name, tracked.properties) == ("email.sent", {"kind": "welcome"})
    assert tracked.url == "http://shop.example/background"
    assert tracked.matched_pattern == stack.pattern("/background")
    assert tracked.client_ip == "203.0.113.9"
    assert stats["late_helper"] == 2


# Time.


class Clock:
    """Time that passes when the test says so."""

    def __init__(self) -> None:
        self._now = 1000.0

    def __call__(self) -> float:
        return self._now

    def advance(self, seconds: float) -> None:
        self._now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(time, "perf_counter", clock)
    return clock


@around
@every_stack
@pytest.mark.parametrize("variant", ["plain", "outside", "inside"])
def test_duration_lasts_until_the_last_byte_of_a_streamed_body(stack: Stack, variant: str, clock: Clock) -> None:
    names = [name for name in stack.around if name.endswith(variant)] if variant != "plain" else ["plain"]
    for name in names:
        with stack.serve(RECORDED, name) as served:
            events = captured(served)
            seen: list[int] = []

            def part_sent(number: int, events: list[Event] = events, seen: list[int] = seen) -> None:
                seen.append(len(events))
                clock.advance(100)

            exchange = _ask_with_parts(served, get("/stream"), part_sent)
        assert exchange.body == b"".join(STREAM)
        assert seen == [0, 0, 0], "the event was made before the body had ended"
        assert [event.duration for event in events] == [300]


def _ask_with_parts(served: Served, request: Request, part_sent: Any) -> Exchange:
    """Call *part_sent* when the server has taken a body part and before the application may send the next."""
    if served.stack.protocol == "wsgi":
        return ask_wsgi(served.app, request, after_part=part_sent)

    async def on_body(number: int) -> None:
        part_sent(number)

    return asyncio.run(ask_asgi(served.app, request, on_body=on_body))


# Clients that leave.


@pytest.fixture
def body_files() -> Iterator[None]:
    """Django leaves the request's body file to the garbage collector when sending fails, with us or without."""
    yield
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


# From ASGI 2.4 on Starlette relies on the error of send, not on the message.
@pytest.mark.applies(lambda stack, spec: not (stack.name in ("Starlette", "FastAPI") and spec == "2.4"))
@asgi_stacks
@pytest.mark.parametrize("spec", ["2.3", "2.4"])
def test_a_client_that_leaves_during_a_stream_is_a_499_by_disconnect_message(stack: Stack, spec: str) -> None:
    async def leave(served: Served) -> Exchange:
        gone = asyncio.Event()

        async def on_body(number: int) -> None:
            gone.set()
            # Blocked by back-pressure, until the application hears of it otherwise.
            await asyncio.Event().wait()

        return await ask_asgi(served.app, get("/stream"), spec=spec, on_body=on_body, gone=gone)

    with stack.serve(RECORDED) as served:
        events = captured(served)
        exchange = asyncio.run(leave(served))
    assert not isinstance(exchange.error, TimeoutError)
    assert [(event.type.value, event.status_code) for event in events] == [("pageview", 499)]


@asgi_stacks
def test_a_client_that_leaves_during_a_stream_is_a_499_by_error_of_send(stack: Stack, body_files: None) -> None:
    async def leave(served: Served) -> Exchange:
        async def on_body(number: int) -> None:
            if number == 2:
                raise ClientGoneError

        return await ask_asgi(served.app, get("/stream"), on_body=on_body)

    with stack.serve(RECORDED) as served:
        events = captured(served)
        asyncio.run(leave(served))
    assert [(event.type.value, event.status_code, event.matched_pattern) for event in events] == [
        ("pageview", 499, stack.pattern("/stream"))
    ]


def test_a_client_that_left_is_a_499_though_the_application_goes_on_to_its_end() -> None:
    async def deaf(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        await send({"type": "http.response.body", "body": b"unread"})

    async def leave(app: Any) -> Exchange:
        gone = asyncio.Event()
        gone.set()
        return await ask_asgi(app, get("/"), gone=gone)

    with load("bare ASGI").serve(RECORDED) as served:
        events = captured(served)
        exchange = asyncio.run(leave(_bare_layer(served.stack)(deaf, analytics=served.analytics)))
    assert exchange.error is None
    assert [event.status_code for event in events] == [499]


def test_a_client_that_leaves_once_it_has_everything_is_no_499() -> None:
    async def listening(scope: Any, receive: Any, send: Any) -> None:
        listener = asyncio.create_task(_disconnected(receive))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body", "body": b"all there is"})
        await listener

    async def leave(app: Any) -> Exchange:
        gone = asyncio.Event()

        async def on_body(number: int) -> None:
            # As with Hypercorn on trio: the last bytes have been written, but send() returns later.
            gone.set()
            for _ in range(10):
                await asyncio.sleep(0)

        return await ask_asgi(app, get("/"), gone=gone, on_body=on_body)

    with load("bare ASGI").serve(RECORDED) as served:
        events = captured(served)
        exchange = asyncio.run(leave(_bare_layer(served.stack)(listening, analytics=served.analytics)))
    assert exchange.body == b"all there is"
    assert [event.status_code for event in events] == [200]


async def _disconnected(receive: Any) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


@asgi_stacks
def test_a_cancelled_request_is_a_499(stack: Stack, body_files: None) -> None:
    async def cancel(served: Served) -> None:
        started = asyncio.Event()

        async def on_body(number: int) -> None:
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(ask_asgi(served.app, get("/stream"), on_body=on_body))
        await asyncio.wait_for(started.wait(), DEADLINE)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    with stack.serve(RECORDED) as served:
        events = captured(served)
        asyncio.run(cancel(served))
    assert [(event.type.value, event.status_code) for event in events] == [("pageview", 499)]


@wsgi_stacks
def test_a_body_closed_before_its_end_is_a_499(stack: Stack) -> None:
    with stack.serve(RECORDED) as served:
        events = captured(served)
        exchange = ask_wsgi(served.app, get("/stream"), stop_after=1)
    assert exchange.body == STREAM[0]
    assert [(event.type.value, event.status_code, event.matched_pattern) for event in events] == [
        ("pageview", 499, stack.pattern("/stream"))
    ]


# Trouble inside.


@every_stack
def test_a_classify_hook_that_raises_is_counted_and_never_seen_by_the_client(stack: Stack) -> None:
    def broken(request: object) -> None:
        raise RuntimeError("broken hook")

    with stack.serve({**RECORDED, "classify": broken}) as served:
        events = captured(served)
        exchange = served.ask(get("/"))
        stats = served.analytics.stats()
    assert (exchange.status, exchange.error) == (200, None)
    assert events == []
    assert stats["dropped"] == {"internal_error": 1}
