"""The same small site on every stack, with the API mounted as its documentation says, and a client in process."""

import asyncio
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.parse import unquote_to_bytes, urlencode

from analytics_middleware import Analytics, Event
from analytics_middleware.asgi import AnalyticsMiddleware as ASGIMiddleware
from analytics_middleware.web.api import API
from analytics_middleware.web.asgi import ASGIRunner
from analytics_middleware.web.wsgi import WSGIRunner
from analytics_middleware.wsgi import AnalyticsMiddleware as WSGIMiddleware

MOUNT = "/api/analytics"
TOKEN = "a-read-token-for-tests"
SECRET = "a-secret-key-for-tests"
READER = {"authorization": f"Bearer {TOKEN}"}
SERVER = {"authorization": f"Bearer {SECRET}"}
DEADLINE = 20.0


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name]
        return ", ".join(found) if found else None

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def data(self) -> Any:
        assert self.status == 200, self.body
        return self.json["data"]

    @property
    def error(self) -> dict[str, Any]:
        error = self.json["error"]
        assert set(error) == {"code", "message", "field"}
        return error


@dataclass
class Site:
    name: str
    app: Any
    protocol: str
    analytics: Analytics
    events: list[Event] = field(default_factory=list)
    peer: str | None = "203.0.113.9"
    said: list[Any] = field(default_factory=list)

    def ask(
        self, method: str, target: str, body: bytes | list[bytes] = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Make a request; *target* without a leading slash is below the API's mount."""
        target = target if target.startswith("/") else f"{MOUNT}/{target}"
        parts = body if isinstance(body, list) else [body]
        given = {"host": "shop.example", **(headers or {})}
        if body and not isinstance(body, list):
            given.setdefault("content-length", str(len(body)))
        return (self._ask_asgi if self.protocol == "asgi" else self._ask_wsgi)(method, target, parts, given)

    def get(self, path: str, headers: Mapping[str, str] | None = None, **query: Any) -> Answer:
        """Ask a question, with the read token unless *headers* are given."""
        for name in [name for name in query if name.endswith("_")]:
            query[name.rstrip("_")] = query.pop(name)
        text = urlencode(query, doseq=True)
        return self.ask("GET", f"{path}?{text}" if text else path, headers=READER if headers is None else headers)

    def post(self, path: str, value: Any, headers: Mapping[str, str] | None = None) -> Answer:
        """Send *value* as JSON, as a stranger's browser does unless *headers* say more."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.ask("POST", path, body, {"content-type": "text/plain;charset=UTF-8", **(headers or {})})

    def send(self, *events: dict[str, Any], headers: Mapping[str, str] | None = None) -> list[Event]:
        """Send *events*, which must all be accepted, and return what came of them."""
        answer = self.post("events", {"events": list(events)}, headers)
        assert answer.status == 202, answer.body
        assert answer.json["accepted"] == len(events)
        return self.taken()

    def taken(self) -> list[Event]:
        """Return the events recorded since the last time."""
        assert self.analytics.flush(DEADLINE)
        taken, self.events[:] = list(self.events), []
        return taken

    def _ask_asgi(self, method: str, target: str, parts: list[bytes], headers: Mapping[str, str]) -> Answer:
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote_to_bytes(path).decode(),
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers.items()],
            "client": None if self.peer is None else (self.peer, 5000),
            "server": ("127.0.0.1", 80),
            "state": {},
        }
        incoming = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
        incoming[-1]["more_body"] = False
        sent: list[Any] = []

        async def run() -> None:
            over = asyncio.Event()

            async def receive() -> Any:
                if incoming:
                    return incoming.pop(0)
                await over.wait()
                return {"type": "http.disconnect"}

            async def send(message: Any) -> None:
                sent.append(message)
                if message["type"] == "http.response.body" and not message.get("more_body"):
                    over.set()

            await asyncio.wait_for(self.app(scope, receive, send), DEADLINE)

        asyncio.run(run())
        start = sent[0]
        pairs = [(name.decode(), value.decode("latin-1")) for name, value in start["headers"]]
        return Answer(start["status"], pairs, b"".join(message.get("body", b"") for message in sent[1:]))

    def _ask_wsgi(self, method: str, target: str, parts: list[bytes], headers: Mapping[str, str]) -> Answer:
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": "80",
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": self.peer or "",
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(b"".join(parts)),
            "wsgi.input_terminated": "content-length" not in headers,
            "wsgi.errors": io.StringIO(),
            "wsgi.multithread": True,
            "wsgi.multiprocess": True,
            "wsgi.run_once": False,
        }
        for name, value in headers.items():
            key = name.upper().replace("-", "_")
            environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value
        started: list[Any] = []
        body = self.app(environ, lambda status, headers, exc_info=None: started.append((status, headers)))
        content = b"".join(body)
        if hasattr(body, "close"):
            body.close()
        status, pairs = started[-1]
        return Answer(int(status.split()[0]), pairs, content)


def site_on(name: str, **settings: Any) -> AbstractContextManager[Site]:
    """Return a site on the stack called *name*; what `STACKS` lists. Closed at the end."""
    return _closing(name, {"enabled": True, "read_token": TOKEN, "secret_key": SECRET, **settings})


@contextmanager
def _closing(name: str, settings: dict[str, Any]) -> Iterator[Site]:
    events: list[Event] = []
    settings["collectors"] = [events.append]
    protocol, build = STACKS[name]
    with build(settings) as (app, analytics):
        try:
            yield Site(name, app, protocol, analytics, events)
        finally:
            analytics.close(DEADLINE)


def user_of(request: Any) -> Any:
    """Return the user that the header X-User of a framework's request names, as every site here signs users in."""
    name = request.headers.get("x-user")
    return (
        None
        if name is None
        else SimpleNamespace(
            pk=name, id=name, identity=name, is_authenticated=True, is_active=True, is_staff=name == "staff"
        )
    )


@contextmanager
def _asgi(settings: dict[str, Any]) -> Iterator[Any]:
    analytics = Analytics(**settings)

    async def page(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"content-type", b"text/html")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"<p>page</p>"})

    api = ASGIRunner(API(analytics))

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await (api if scope["path"].startswith(MOUNT) else page)(scope, receive, send)

    yield ASGIMiddleware(app, analytics=analytics), analytics


@contextmanager
def _wsgi(settings: dict[str, Any]) -> Iterator[Any]:
    analytics = Analytics(**settings)
    api = WSGIRunner(API(analytics))

    def app(environ: Any, start_response: Any) -> Any:
        if environ["PATH_INFO"].startswith(MOUNT):
            return api(environ, start_response)
        start_response("200 OK", [("content-type", "text/html")])
        return [b"<p>page</p>"]

    yield WSGIMiddleware(app, analytics=analytics), analytics


def _authenticated(base: Any) -> Any:
    """Return *base* (a Starlette application class's middleware list) that signs users in by X-User."""
    from starlette.authentication import AuthCredentials, AuthenticationBackend
    from starlette.middleware import Middleware
    from starlette.middleware.authentication import AuthenticationMiddleware

    class Backend(AuthenticationBackend):
        async def authenticate(self, conn: Any) -> Any:
            user = user_of(conn)
            return None if user is None else (AuthCredentials(), user)

    return [*base, Middleware(AuthenticationMiddleware, backend=Backend())]


@contextmanager
def _starlette(settings: dict[str, Any]) -> Iterator[Any]:
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Mount, Route

    from analytics_middleware_starlette import AnalyticsAPI, AnalyticsMiddleware

    analytics = Analytics(**settings)
    routes = [Route("/page", lambda request: HTMLResponse("<p>page</p>")), Mount(MOUNT, AnalyticsAPI(analytics))]
    middleware = _authenticated([Middleware(AnalyticsMiddleware, analytics=analytics)])
    yield Starlette(routes=routes, middleware=middleware), analytics


@contextmanager
def _fastapi(settings: dict[str, Any]) -> Iterator[Any]:
    from fastapi import FastAPI
    from fastapi.responses import HTMLResponse
    from starlette.middleware import Middleware

    from analytics_middleware_starlette import AnalyticsAPI, AnalyticsMiddleware

    analytics = Analytics(**settings)
    app = FastAPI(middleware=_authenticated([Middleware(AnalyticsMiddleware, analytics=analytics)]))
    app.get("/page", response_class=HTMLResponse)(lambda: "<p>page</p>")
    app.mount(MOUNT, AnalyticsAPI(analytics))
    yield app, analytics


@contextmanager
def _flask(settings: dict[str, Any]) -> Iterator[Any]:
    from flask import Flask
    from flask_login import LoginManager

    from analytics_middleware_flask import FlaskAnalytics, get_analytics

    app = Flask("shop")
    app.secret_key = "flask's own secret"

    def load(request: Any) -> Any:
        user = user_of(request)
        if user is not None:
            user.get_id = lambda: user.id
        return user

    LoginManager(app).request_loader(load)
    app.add_url_rule("/page", view_func=lambda: "<p>page</p>", endpoint="page")
    app.config["ANALYTICS"] = settings
    FlaskAnalytics(app)
    yield app, get_analytics(app)


class HeaderAuth:
    """Django middleware that signs users in by X-User."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        if (user := user_of(request)) is not None:
            request.user = user
        return self.get_response(request)


@contextmanager
def _django(settings: dict[str, Any], handler: str, apps: tuple[str, ...] = ()) -> Iterator[Any]:
    import django
    from django.conf import settings as django_settings
    from django.test.utils import override_settings

    if not django_settings.configured:
        django_settings.configure(
            SECRET_KEY="not a secret",
            DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        )
        django.setup()
    from django.core.handlers.asgi import ASGIHandler
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import include, path

    from analytics_middleware_django import get_analytics

    urls = ModuleType("web_site_urls")
    with override_settings(
        ALLOWED_HOSTS=["*"],
        ANALYTICS={key.upper(): value for key, value in settings.items()},
        INSTALLED_APPS=apps,
        MIDDLEWARE=[
            "analytics_middleware_django.AnalyticsMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "web_sites.HeaderAuth",
        ],
        ROOT_URLCONF=urls,
    ):
        urls.urlpatterns = [  # type: ignore[attr-defined]
            path("page", lambda request: HttpResponse("<p>page</p>")),
            path("", include("analytics_middleware_django.urls")),
        ]
        yield (ASGIHandler if handler == "asgi" else WSGIHandler)(), get_analytics()


STAFF_APPS = ("django.contrib.contenttypes", "django.contrib.auth")

STACKS: dict[str, tuple[str, Callable[[dict[str, Any]], Any]]] = {
    "ASGI": ("asgi", _asgi),
    "WSGI": ("wsgi", _wsgi),
    "Starlette": ("asgi", _starlette),
    "FastAPI": ("asgi", _fastapi),
    "Flask": ("wsgi", _flask),
    "Django WSGI": ("wsgi", lambda settings: _django(settings, "wsgi")),
    "Django ASGI": ("asgi", lambda settings: _django(settings, "asgi")),
    "Django WSGI with staff": ("wsgi", lambda settings: _django(settings, "wsgi", STAFF_APPS)),
    "Django ASGI with staff": ("asgi", lambda settings: _django(settings, "asgi", STAFF_APPS)),
}
