"""The pages of the test project."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from django.conf.urls.i18n import i18n_patterns
from django.http import FileResponse, HttpRequest, HttpResponse, StreamingHttpResponse
from django.urls import include, path, re_path
from django.views import View

from analytics_middleware import add_property, set_revenue, track


def page(request: HttpRequest, *_: Any, **__: Any) -> HttpResponse:
    return HttpResponse("<p>page</p>")


async def async_page(request: HttpRequest) -> HttpResponse:
    add_property("view", "async")
    return HttpResponse("<p>page</p>")


class Cart(View):
    def post(self, request: HttpRequest) -> HttpResponse:
        return HttpResponse("<p>cart</p>")


def fails(request: HttpRequest) -> HttpResponse:
    raise ZeroDivisionError


def missing(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<p>no such thing</p>", status=404)


def chunks() -> Iterator[str]:
    try:
        yield "<p>one"
        set_revenue("29.99", "GBP")
        track("half.way")
        yield "two"
    finally:
        add_property("cleaned", True)


async def async_chunks() -> AsyncIterator[str]:
    yield "<p>one"
    set_revenue("29.99", "GBP")
    track("half.way")
    yield "two"


def broken_chunks() -> Iterator[str]:
    yield "<p>one"
    raise ConnectionError("the application's database, not the client")


async def broken_async_chunks() -> AsyncIterator[str]:
    yield "<p>one"
    raise ConnectionError("the application's database, not the client")


async def waits(request: HttpRequest) -> HttpResponse:
    await asyncio.Event().wait()
    raise AssertionError


async def waiting_chunks() -> AsyncIterator[str]:
    yield "<p>one"
    await asyncio.Event().wait()


def who(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"<p>{request.user.pk}</p>")


async def who_async(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"<p>{(await request.auser()).pk}</p>")


def visits(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"<p>{request.session.get('visits')}</p>")


def stream_of(generator: Any) -> Any:
    return lambda request: StreamingHttpResponse(generator())


def file(request: HttpRequest) -> FileResponse:
    return FileResponse(Path(__file__).open("rb"), content_type="text/html")


def sized(request: HttpRequest) -> HttpResponse:
    return HttpResponse("<p>page</p>", headers={"Content-Length": "11"})


shop = (
    [
        path("", page, name="home"),
        path("items/<int:id>/", page, name="item"),
        path("cart", Cart.as_view()),
        re_path(r"^sale/(?P<month>[0-9]{2})/$", page, name="sale"),
    ],
    "shop",
)

urlpatterns = [
    path("", page, name="front"),
    path("page", page),
    path("async", async_page),
    path("cart", Cart.as_view()),
    path("fails", fails),
    path("missing", missing),
    path("shop/<slug:region>/", include(shop)),
    path("", include([re_path("", include([re_path(r"^nested/(\d+)$", page)]))])),
    re_path(r"^articles/(?P<year>[0-9]{4})/$", page),
    re_path(r"^price/.*\$$", page),
    re_path(r"^by-re/", include([re_path(r"^end\Z", page)])),
    path("stream", stream_of(chunks)),
    path("async-stream", stream_of(async_chunks)),
    path("broken-stream", stream_of(broken_chunks)),
    path("broken-async-stream", stream_of(broken_async_chunks)),
    path("waits", waits),
    path("waiting-stream", stream_of(waiting_chunks)),
    path("who", who),
    path("who-async", who_async),
    path("visits", visits),
    path("file", file),
    path("static/app.html", page),
    path("media/photo.html", page),
    *i18n_patterns(path("about/", page)),
]
