"""Django under WSGI and under ASGI: pages in sync views, groups in includes, auth by a middleware of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from types import SimpleNamespace
from typing import Any

import django
from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings as django_settings
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.core.handlers.wsgi import WSGIHandler
from django.http import FileResponse, HttpRequest, HttpResponse, HttpResponseNotAllowed, StreamingHttpResponse
from django.test.utils import override_settings
from django.urls import include, path
from django.utils.decorators import sync_only_middleware
from django.views.static import serve

from analytics_middleware import Analytics
from contract import pages
from contract.pages import DOWNLOAD, ROUTES, STATIC, Ask
from contract.stacks import Settings, Stack

OURS = "analytics_middleware_django.AnalyticsMiddleware"
LOCALE = "django.middleware.locale.LocaleMiddleware"
AUTH = f"{__name__}.HeaderAuth"
SYNC_ONLY = f"{__name__}.sync_only"

_SPELLING = {"{slug}": "<str:slug>", "{id}": "<int:id>", "{tenant}": "<str:tenant>"}


def view_of(page: pages.Route) -> Any:
    def view(request: HttpRequest, **params: Any) -> HttpResponse:
        if request.method not in page.methods:
            return HttpResponseNotAllowed(page.methods)
        given = {name: str(value) for name, value in params.items()}
        answer = page.handler(Ask(request.method, request.headers.get, request.GET, given, request.body))
        return HttpResponse(
            answer.body, status=answer.status, headers=dict(answer.headers), content_type=answer.content_type
        )

    view.__name__ = view.__qualname__ = page.name
    return view


class HeaderAuth:
    """Resolves ``request.user`` as a middleware behind a proxy that signs users in would."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response
        if iscoroutinefunction(get_response):
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> Any:
        if user := request.headers.get("X-User"):
            request.user = SimpleNamespace(pk=int(user), is_authenticated=True)  # type: ignore[assignment]
        return self.get_response(request)


@sync_only_middleware
def sync_only(get_response: Any) -> Any:
    """A middleware that puts everything within it into a thread, under ASGI."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response: HttpResponse = get_response(request)
        return response

    return middleware


def account(request: HttpRequest) -> HttpResponse:
    return HttpResponse(f"<p>{hasattr(request, 'user')}</p>")


def number(request: HttpRequest) -> int:
    return int(request.GET["n"])


def native(request: HttpRequest, sync: Any, asynchronous: Any) -> StreamingHttpResponse:
    """Stream as the handler at work wants it: Django warns of the other kind."""
    return StreamingHttpResponse(asynchronous if isinstance(request, ASGIRequest) else sync)


def stream(request: HttpRequest) -> StreamingHttpResponse:
    return native(request, pages.stream(), pages.stream_async())


def endless(request: HttpRequest) -> StreamingHttpResponse:
    return native(request, pages.endless(), pages.endless_async())


def long(request: HttpRequest) -> StreamingHttpResponse:
    return native(request, pages.endless(pages.LONG_CHUNKS), pages.endless_async(pages.LONG_CHUNKS))


def download(request: HttpRequest) -> FileResponse | StreamingHttpResponse:
    if isinstance(request, ASGIRequest):
        # FileResponse reads its file by a sync iterator.
        async def content() -> Any:
            yield DOWNLOAD.read_bytes()

        return StreamingHttpResponse(content(), content_type="text/plain")
    return FileResponse(DOWNLOAD.open("rb"), as_attachment=True)


def static(request: HttpRequest, path: str) -> HttpResponse:
    found = serve(request, path, document_root=str(STATIC))
    if not isinstance(request, ASGIRequest):
        return found
    response = HttpResponse(b"".join(found), content_type=found["Content-Type"])
    found.close()
    return response


def background(request: HttpRequest) -> HttpResponse:
    pages.background_thread()
    return HttpResponse("<p>later</p>")


def in_sync_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(pages.shape(number(request)))


async def in_async_view(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await pages.shape_async(number(request)))


async def in_threadpool(request: HttpRequest) -> HttpResponse:
    return HttpResponse(await sync_to_async(pages.shape, thread_sensitive=False)(number(request)))


def in_stream(request: HttpRequest) -> StreamingHttpResponse:
    return native(request, pages.shape_streaming(number(request)), pages.shape_streaming_async(number(request)))


async def in_stream_of_async_view(request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(pages.shape_streaming_async(number(request)))


def spelled(template: str) -> str:
    for parameter, spelling in _SPELLING.items():
        template = template.replace(parameter, spelling)
    return template.removeprefix("/")


def _urls() -> list[Any]:
    urls: list[Any] = [
        path("account", account),
        path("stream", stream),
        path("endless", endless),
        path("long", long),
        path("download", download),
        path("background", background),
        path("static/<path:path>", static),
        path("helpers/sync", in_sync_view),
        path("helpers/async", in_async_view),
        path("helpers/threadpool", in_threadpool),
        path("helpers/stream", in_stream),
        path("helpers/async stream", in_stream_of_async_view),
    ]
    for group, members in groupby(sorted(ROUTES, key=lambda page: page.group), key=lambda page: page.group):
        views = [path(spelled(page.path.removeprefix(group)), view_of(page), name=f"{page.name}") for page in members]
        # "/deep/er" is an include within an include.
        for prefix in reversed(group[1:].split("/") if group == "/deep/er" else [spelled(group)]):
            views = [path(f"{prefix}/", include(views))] if prefix else views
        urls += views
    return urls


urlpatterns = _urls()


def middleware_of(settings: Settings, variant: str) -> list[str]:
    if settings is None:
        return [LOCALE, AUTH]
    if variant == "twice":
        return [OURS, LOCALE, AUTH, OURS]
    if variant == "sync-only middleware outside":
        return [SYNC_ONLY, OURS, LOCALE, AUTH]
    if variant == "sync-only middleware inside":
        return [OURS, SYNC_ONLY, LOCALE, AUTH]
    return [OURS, LOCALE, AUTH]


def project(settings: Settings, variant: str = "plain") -> dict[str, Any]:
    """Return Django settings."""
    return {
        "ALLOWED_HOSTS": ["*"],
        "ANALYTICS": {key.upper(): value for key, value in (settings or {}).items()},
        "DEBUG": False,
        "LANGUAGES": [("en", "English"), ("de", "German")],
        "MIDDLEWARE": middleware_of(settings, variant),
        "ROOT_URLCONF": __name__,
        "USE_I18N": True,
    }


def _builder(handler: type[WSGIHandler] | type[ASGIHandler]) -> Any:
    @contextmanager
    def build(settings: Settings, variant: str) -> Iterator[tuple[Any, Analytics | None]]:
        if not django_settings.configured:
            django_settings.configure(SECRET_KEY="not a secret")
            django.setup()
        from analytics_middleware_django import get_analytics

        with override_settings(**project(settings, variant)):
            yield handler(), None if settings is None else get_analytics()

    return build


def serve_both(settings: Settings, *, asgi: bool) -> tuple[Any, Any]:
    """Set this process up as a project; return its application without the middleware and with it."""
    installed = ["analytics_middleware_django"]
    django_settings.configure(SECRET_KEY="not a secret", INSTALLED_APPS=installed, **project(settings))
    django.setup()
    handler = ASGIHandler if asgi else WSGIHandler
    with override_settings(MIDDLEWARE=middleware_of(None, "plain")):
        plain = handler()
    return plain, handler()


WSGI_STACK = Stack(
    "Django WSGI",
    "wsgi",
    _builder(WSGIHandler),
    modes=("sync", "async", "threadpool", "stream"),
    spelling=_SPELLING,
    around=("sync-only middleware outside", "sync-only middleware inside"),
    reusable=False,
)
ASGI_STACK = Stack(
    "Django ASGI",
    "asgi",
    _builder(ASGIHandler),
    modes=("sync", "async", "threadpool", "stream"),
    one_at_a_time=("sync",),
    spelling=_SPELLING,
    around=("sync-only middleware outside", "sync-only middleware inside"),
    reusable=False,
)
