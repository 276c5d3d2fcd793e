"""One small site, served by the bare ASGI and WSGI middleware and by Django, for tests that hold for all of them."""

import asyncio
import io
import sys
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any, NamedTuple
from urllib.parse import quote

import django
from django.conf import settings as django_settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.test.utils import override_settings
from django.urls import re_path

from analytics_middleware import Analytics, asgi, wsgi
from analytics_middleware.testing import FakeCollector

STACKS = ("asgi", "wsgi", "django")
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36"
SECRET = "a key for these tests, long enough"
HTML = "text/html; charset=utf-8"

if not django_settings.configured:
    django_settings.configure(
        SECRET_KEY="not a secret",
        INSTALLED_APPS=[
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "django.contrib.auth",
            "analytics_middleware_django",
        ],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    )
    django.setup()


class Page(NamedTuple):
    """What a view answers."""

    body: str = "<h1>A page</h1>"
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", HTML),)


class Answer(NamedTuple):
    """What a client gets."""

    status: int
    headers: list[tuple[str, str]]

    @property
    def set_cookie(self) -> list[str]:
        return [value for name, value in self.headers if name.lower() == "set-cookie"]

    @property
    def cookies(self) -> dict[str, Any]:
        jar = SimpleCookie()
        for header in self.set_cookie:
            jar.load(header)
        return dict(jar.items())


class Site:
    """A site of views by path; every request goes through the whole stack."""

    def __init__(self, stack: str, pages: dict[str, Callable[[], Page]], **settings: Any) -> None:
        self.stack = stack
        self.pages = pages
        self.collector = FakeCollector()
        collectors = settings.pop("collectors", None) or [self.collector]
        settings = {"enabled": True, "store": None, **settings}
        if stack == "django":
            self._serve = self._django(collectors, settings)
        else:
            self.analytics = Analytics(collectors, **settings)
            self._serve = self._asgi() if stack == "asgi" else self._wsgi(self._wsgi_app())

    def get(self, path: str = "/", **options: Any) -> Answer:
        """Send one request. Options: method, query, headers (dict), cookie, peer, scheme, body."""
        headers = {"host": "shop.example", "user-agent": BROWSER, "accept": "text/html", **options.pop("headers", {})}
        if cookie := options.pop("cookie", None):
            headers["cookie"] = cookie
        options = {"method": "GET", "query": "", "peer": "203.0.113.7", "scheme": "https", "body": b"", **options}
        return self._serve(path, {name.lower(): value for name, value in headers.items()}, options)

    def visit(self, path: str = "/", **options: Any) -> Answer:
        """Navigate there as a browser does."""
        headers = {"sec-fetch-dest": "document", **options.pop("headers", {})}
        return self.get(path, headers=headers, **options)

    @property
    def events(self) -> list[Any]:
        """What the site's collector has got of everything so far."""
        assert self.analytics.flush(10)
        return self.collector.events

    def page(self, path: str) -> Page:
        view = self.pages.get(path) or self.pages.get("*")
        return view() if view is not None else Page(status=404)

    def close(self) -> None:
        self.analytics.close(5)
        if self.stack == "django":
            self._override.disable()

    def _asgi(self) -> Callable[..., Answer]:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            page = self.page(scope["path"])
            headers = [(name.lower().encode(), value.encode()) for name, value in page.headers]
            await send({"type": "http.response.start", "status": page.status, "headers": headers})
            await send({"type": "http.response.body", "body": page.body.encode()})

        served = asgi.AnalyticsMiddleware(app, analytics=self.analytics)

        def serve(path: str, headers: dict[str, str], options: dict[str, Any]) -> Answer:
            scope = {
                "type": "http",
                "method": options["method"],
                "scheme": options["scheme"],
                "path": path,
                "query_string": options["query"].encode(),
                "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
                "client": (options["peer"], 4711),
                "server": ("127.0.0.1", 443),
            }
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            async def receive() -> Any:
                return {"type": "http.request", "body": options["body"]}

            asyncio.run(served(scope, receive, send))
            start = sent[0]
            return Answer(start["status"], [(name.decode(), value.decode()) for name, value in start["headers"]])

        return serve

    def _wsgi_app(self) -> Any:
        def app(environ: Any, start_response: Any) -> Any:
            page = self.page(environ["PATH_INFO"])
            start_response(f"{page.status} Fine", list(page.headers))
            return [page.body.encode()]

        return wsgi.AnalyticsMiddleware(app, analytics=self.analytics)

    def _wsgi(self, served: Any) -> Callable[..., Answer]:
        def serve(path: str, headers: dict[str, str], options: dict[str, Any]) -> Answer:
            environ = {
                "REQUEST_METHOD": options["method"],
                "SCRIPT_NAME": "",
                "PATH_INFO": path,
                "QUERY_STRING": options["query"],
                "REMOTE_ADDR": options["peer"],
                "SERVER_NAME": "127.0.0.1",
                "SERVER_PORT": "443",
                "SERVER_PROTOCOL": "HTTP/1.1",
                "CONTENT_LENGTH": str(len(options["body"])),
                "CONTENT_TYPE": "application/x-www-form-urlencoded",
                "wsgi.url_scheme": options["scheme"],
                "wsgi.input": io.BytesIO(options["body"]),
                "wsgi.errors": sys.stderr,
                "wsgi.multithread": False,
                "wsgi.multiprocess": False,
                "wsgi.run_once": False,
                **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
            }
            started: list[Any] = []
            body = served(environ, lambda status, headers, exc_info=None: started.append((status, headers)))
            for _ in body:
                pass
            if hasattr(body, "close"):
                body.close()
            status, answered = started[-1]
            return Answer(int(status[:3]), answered)

        return serve

    def _django(self, collectors: Any, settings: dict[str, Any]) -> Callable[..., Answer]:
        def view(request: Any) -> HttpResponse:
            page = self.page(request.path)
            return HttpResponse(page.body, status=page.status, headers=dict(page.headers))

        class Urls:
            urlpatterns = (re_path("", view),)

        self._override = override_settings(
            ALLOWED_HOSTS=["*"],
            ANALYTICS={"COLLECTORS": collectors, **{key.upper(): value for key, value in settings.items()}},
            MIDDLEWARE=["analytics_middleware_django.AnalyticsMiddleware"],
            ROOT_URLCONF=Urls,
        )
        self._override.enable()
        from analytics_middleware_django import get_analytics

        handler = WSGIHandler()
        self.analytics = get_analytics()
        return self._wsgi(handler)


def escaped(path: str) -> str:
    """Return *path* as a browser would send it in a URL."""
    return quote(path, safe="/")
