"""When a request's event is made: once, when its response is over, with what became of it."""

import asyncio
import copy
import gc
import pickle
import time
import warnings
from collections.abc import Callable
from typing import Any
from wsgiref.util import FileWrapper, setup_testing_defaults

import django
import pytest
from asgiref.sync import async_to_sync, iscoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, AsyncRequestFactory, Client, RequestFactory, override_settings
from django_project.urls import chunks

from analytics_middleware import EventType, Money, add_property, asgi, set_event_name, wsgi
from analytics_middleware.context import current
from analytics_middleware_django import AnalyticsMiddleware, get_analytics


def get_wsgi(url: str, *, method: str = "GET", take: int | None = None, application: Any = None, **environ: Any) -> Any:
    """Ask the project as a WSGI server does; *take* chunks, then hang up. Return the body as it came."""
    environ = {"PATH_INFO": url, "REQUEST_METHOD": method, **environ}
    setup_testing_defaults(environ)
    body = (application or WSGIHandler())(environ, lambda status, headers, exc_info=None: None)
    try:
        chunks = iter(body)
        while take != 0 and next(chunks, None) is not None:
            take = take - 1 if take else None
    finally:
        body.close()
    assert current.get() is None
    return body


def get_asgi(
    url: str, *, gone: Callable[[dict[str, Any]], bool] = lambda message: False, send_error: Exception | None = None
) -> list[dict[str, Any]]:
    """Ask the project as an ASGI server does; the client is gone once *gone* says so of a message sent to it."""
    sent: list[dict[str, Any]] = []

    async def serve() -> None:
        hung_up = asyncio.Event()
        requested = False

        async def receive() -> dict[str, Any]:
            nonlocal requested
            if not requested:
                requested = True
                if gone({"type": "request"}):
                    hung_up.set()
                return {"type": "http.request"}
            await hung_up.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)
            if gone(message):
                hung_up.set()
                if send_error is not None:
                    raise send_error
                # A client that reads no more: the server waits for room in its buffer.
                await asyncio.Event().wait()

        scope = {
            "type": "http",
            "method": "GET",
            "path": url,
            "query_string": b"",
            "headers": [(b"host", b"shop.test"), (b"accept", b"text/html")],
        }
        await ASGIHandler()(scope, receive, send)

    failure: Exception | None = None
    with warnings.catch_warnings():
        # Django leaves the request's body open when sending fails; the traceback would keep it for later tests.
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            asyncio.run(serve())
        except Exception as error:
            failure = error.with_traceback(None)
        gc.collect()
    if failure is not None:
        raise failure
    return sent


def statuses(events: list[Any]) -> list[int | None]:
    return [event.status_code for event in events if event.type is not EventType.CUSTOM]


def test_one_class_serves_both_kinds_of_chain() -> None:
    async def view(request: Any) -> Any: ...

    assert iscoroutinefunction(AnalyticsMiddleware(view))
    assert not iscoroutinefunction(AnalyticsMiddleware(lambda request: None))


def test_a_page_is_recorded_when_its_response_is_closed(analytics_events: list[Any]) -> None:
    response = AnalyticsMiddleware(lambda request: HttpResponse())(RequestFactory().get("/page"))
    assert analytics_events == []
    response.close()
    response.close()
    assert len(analytics_events) == 1


def test_duration_lasts_until_the_response_is_closed(analytics_events: list[Any]) -> None:
    response = AnalyticsMiddleware(lambda request: HttpResponse())(RequestFactory().get("/page"))
    returned = time.perf_counter()
    while time.perf_counter() - returned < 0.01:
        pass
    response.close()
    assert analytics_events[0].duration >= 0.01


def test_an_async_view_shapes_its_event_under_both_protocols(analytics_events: list[Any]) -> None:
    async_to_sync(AsyncClient().get)("/async")
    Client().get("/async")
    assert [event.properties for event in analytics_events] == [{"view": "async"}] * 2


def test_an_unhandled_exception_is_a_500(analytics_events: list[Any]) -> None:
    headers = {"accept": "text/html"}
    Client(raise_request_exception=False).get("/fails", headers=headers)
    async_to_sync(AsyncClient(raise_request_exception=False).get)("/fails", headers=headers)
    assert statuses(analytics_events) == [500, 500]
    assert analytics_events[0].matched_pattern == "/fails"


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit, OSError])
def test_an_exception_that_passes_through_is_a_500_and_goes_on(
    error: type[BaseException], analytics_events: list[Any]
) -> None:
    def view(request: Any) -> Any:
        raise error

    async def async_view(request: Any) -> Any:
        raise error

    with pytest.raises(error):
        AnalyticsMiddleware(view)(RequestFactory().post("/page"))
    coroutine = AnalyticsMiddleware(async_view)(AsyncRequestFactory().post("/page"))
    with pytest.raises(error):
        coroutine.send(None)
    assert statuses(analytics_events) == [500, 500]
    assert current.get() is None


@pytest.mark.parametrize("ask", [get_wsgi, get_asgi])
def test_helpers_in_a_streaming_body_change_its_requests_event(ask: Any, analytics_events: list[Any]) -> None:
    ask("/stream" if ask is get_wsgi else "/async-stream")
    tracked, page = analytics_events
    assert (tracked.event_name, tracked.matched_pattern) == ("half.way", page.matched_pattern)
    assert page.revenue == Money.of("29.99", "GBP")
    assert page.status_code == 200


def test_a_sync_stream_under_asgi_finds_its_request(analytics_events: list[Any]) -> None:
    """Django reads it in a thread, whole, before it sends the first byte."""
    with pytest.warns(Warning, match="must consume synchronous iterators"):
        get_asgi_all("/stream")
    assert analytics_events[-1].revenue == Money.of("29.99", "GBP")
    assert analytics_events[-1].properties == {"cleaned": True}


def get_asgi_all(url: str) -> None:
    async def get() -> None:
        response: Any = await AsyncClient().get(url)
        async for _ in response:
            pass

    asyncio.run(get())


def test_a_client_that_hangs_up_on_a_stream_is_a_499(analytics_events: list[Any]) -> None:
    get_wsgi("/stream", take=1, HTTP_ACCEPT="text/html")
    [event] = analytics_events
    assert event.status_code == 499
    assert event.properties == {"cleaned": True}, "the generator's finally found its request"


@pytest.mark.parametrize(("method", "url"), [("HEAD", "/stream"), ("GET", "/file")])
def test_a_body_that_nobody_was_to_read_is_not_cut_off(method: str, url: str, analytics_events: list[Any]) -> None:
    with override_settings(ANALYTICS={"TRACK_ALL": True}):
        get_wsgi(url, method=method, take=0)
    assert statuses(analytics_events) == [200]


def test_a_stream_that_fails_is_a_500_whatever_it_raised(analytics_events: list[Any]) -> None:
    with pytest.raises(ConnectionError):
        get_wsgi("/broken-stream", HTTP_ACCEPT="text/html")
    with pytest.raises(ConnectionError):
        get_asgi("/broken-async-stream")
    assert statuses(analytics_events) == [500, 500]


# From 6.1 on Django closes the response of a page that it stopped sending like any other, and gives no sign.
TELLS_OF_PAGES = django.VERSION < (6, 1)


@pytest.mark.parametrize(
    ("url", "left_at"),
    [
        ("/waits", "request"),
        *([("/page", "http.response.start"), ("/page", "http.response.body")] if TELLS_OF_PAGES else []),
        ("/async-stream", "http.response.body"),
    ],
)
def test_a_client_that_goes_away_under_asgi_is_a_499(url: str, left_at: str, analytics_events: list[Any]) -> None:
    get_asgi(url, gone=lambda message: message["type"] == left_at)
    assert statuses(analytics_events) == [499]


def test_a_client_that_goes_away_while_a_stream_waits_is_a_499(analytics_events: list[Any]) -> None:
    async def leave() -> None:
        request = AsyncRequestFactory().get("/waiting-stream", headers={"accept": "text/html"})

        async def view(request: Any) -> Any:
            async def waiting() -> Any:
                yield b"<p>one"
                reached.set()
                await asyncio.Event().wait()

            return StreamingHttpResponse(waiting())

        async def read() -> None:
            response = await AnalyticsMiddleware(view)(request)
            async for _ in response:
                pass

        reached = asyncio.Event()
        reading = asyncio.create_task(read())
        await reached.wait()
        reading.cancel()
        await asyncio.wait([reading])

    asyncio.run(leave())
    assert statuses(analytics_events) == [499]


@pytest.mark.parametrize("url", ["/page", "/async-stream"])
def test_a_server_that_refuses_to_send_to_a_client_that_has_gone_is_a_499(
    url: str, analytics_events: list[Any]
) -> None:
    with pytest.raises(ConnectionResetError):
        get_asgi(url, gone=lambda message: message["type"] == "http.response.body", send_error=ConnectionResetError())
    assert statuses(analytics_events) == [499]


def test_a_file_is_still_the_servers_to_send(analytics_events: list[Any]) -> None:
    class Wrapper(FileWrapper):
        """What a server turns into sendfile."""

    body = get_wsgi("/file", **{"wsgi.file_wrapper": Wrapper})
    assert isinstance(body, Wrapper)
    assert [(event.status_code, event.matched_pattern) for event in analytics_events] == [(200, "/file")]


def test_a_bare_layer_outside_owns_the_timing_and_learns_the_route(analytics_events: list[Any]) -> None:
    analytics = get_analytics()
    get_wsgi("/shop/eu/", application=wsgi.AnalyticsMiddleware(WSGIHandler(), analytics=analytics))

    async def get() -> None:
        async def receive() -> dict[str, Any]:
            return {"type": "http.request"} if next(turn) == 0 else await asyncio.Event().wait() or {}

        async def send(message: Any) -> None: ...

        turn = iter(range(9))
        scope = {"type": "http", "method": "GET", "path": "/shop/eu/", "headers": []}
        await asgi.AnalyticsMiddleware(ASGIHandler(), analytics=analytics)(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(get())
    assert [event.matched_pattern for event in analytics_events] == ["/shop/<slug:region>/"] * 2


def test_within_an_asgi_application_it_supplies_the_route_of_the_one_event(analytics_events: list[Any]) -> None:
    """A bridge from ASGI to WSGI makes a new environ; the context variable is what it keeps."""

    async def bridge(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.to_thread(Client().get, scope["path"])
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body"})

    async def nothing(*_: Any) -> Any: ...

    scope = {"type": "http", "method": "GET", "path": "/shop/eu/", "headers": []}
    asyncio.run(asgi.AnalyticsMiddleware(bridge, analytics=get_analytics())(scope, nothing, nothing))
    assert [event.matched_pattern for event in analytics_events] == ["/shop/<slug:region>/"]


def test_twice_in_middleware_is_one_event(analytics_events: list[Any]) -> None:
    ours = "analytics_middleware_django.AnalyticsMiddleware"
    with override_settings(MIDDLEWARE=[ours, ours]):
        Client().get("/page")
    assert len(analytics_events) == 1


def test_one_response_object_for_many_requests_makes_one_event_each(analytics_events: list[Any]) -> None:
    response = HttpResponse("<p>always the same")
    middleware = AnalyticsMiddleware(lambda request: response)
    for _ in range(3):
        middleware(RequestFactory().get("/page")).close()
    assert len(analytics_events) == 3


def test_a_response_can_be_kept_in_a_cache(analytics_events: list[Any]) -> None:
    """Django's cache middleware pickles what passes; the copy ends nobody's request."""
    response = AnalyticsMiddleware(lambda request: HttpResponse("kept"))(RequestFactory().get("/page"))
    for kept in (pickle.loads(pickle.dumps(response)), copy.deepcopy(response)):
        kept.close()
        assert kept.content == b"kept"
    assert analytics_events == []
    response.close()
    assert len(analytics_events) == 1


def test_requests_in_flight_at_once_keep_apart(analytics_events: list[Any]) -> None:
    async def view(request: Any) -> HttpResponse:
        number = request.GET["n"]
        set_event_name(f"number.{number}")
        await asyncio.sleep(0)
        add_property("number", number)
        return HttpResponse()

    async def crowd() -> None:
        middleware = AnalyticsMiddleware(view)
        requests = [AsyncRequestFactory().get("/", query_params={"n": n}) for n in range(200)]
        for response in await asyncio.gather(*map(middleware, requests)):
            response.close()

    asyncio.run(crowd())
    assert len(analytics_events) == 200
    assert all(event.event_name == f"number.{event.properties['number']}" for event in analytics_events)


def test_a_response_of_another_make_is_recorded_and_passed_on(analytics_events: list[Any]) -> None:
    class Foreign:
        status_code = 201

    foreign = Foreign()
    assert AnalyticsMiddleware(lambda request: foreign)(RequestFactory().post("/page")) is foreign
    assert statuses(analytics_events) == [201]


def test_a_request_that_cannot_be_described_is_served_all_the_same(analytics_events: list[Any]) -> None:
    class Odd:
        META = None

    assert AnalyticsMiddleware(lambda request: "served")(Odd()) == "served"
    assert get_analytics().stats()["internal_errors"] == 1


def test_analytics_that_is_switched_off_leaves_the_chain() -> None:
    with override_settings(ANALYTICS={"ENABLED": False}), pytest.raises(MiddlewareNotUsed):
        AnalyticsMiddleware(lambda request: HttpResponse())


def test_a_stream_of_pieces_keeps_its_kind() -> None:
    middleware = AnalyticsMiddleware(lambda request: StreamingHttpResponse(chunks()))
    response = middleware(RequestFactory().get("/stream"))
    assert not response.is_async
    assert b"".join(response) == b"<p>onetwo"
    response.close()
