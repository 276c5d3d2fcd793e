"""WSGI by hand."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from analytics_middleware import Analytics
from analytics_middleware.wsgi import AnalyticsMiddleware
from contract import pages
from contract.pages import DOWNLOAD, HTML, Ask
from contract.stacks import Settings, Stack
from contract.stacks._matching import find, query_of

_HTML = [("Content-Type", HTML)]


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    path = environ["PATH_INFO"].encode("latin-1").decode()
    method = environ["REQUEST_METHOD"]
    query = query_of(environ["QUERY_STRING"])
    if path == "/stream":
        start_response("200 OK", _HTML)
        return pages.stream()
    if path == "/endless":
        start_response("200 OK", _HTML)
        return pages.endless()
    if path == "/long":
        start_response("200 OK", _HTML)
        return pages.endless(pages.LONG_CHUNKS)
    if path == "/download":
        start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(DOWNLOAD.stat().st_size))])
        return environ["wsgi.file_wrapper"](DOWNLOAD.open("rb"))
    if path == "/background":
        pages.background_thread()
        start_response("200 OK", _HTML)
        return [b"<p>later</p>"]
    if path.startswith("/helpers/"):
        return helpers(path.removeprefix("/helpers/"), int(query["n"]), start_response)

    def header(name: str) -> str | None:
        value: str | None = environ.get("HTTP_" + name.upper().replace("-", "_"))
        return value

    handler, params = find(method, path)
    body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
    answer = handler(Ask(method, header, query, params, body))
    headers = [("Content-Type", answer.content_type)] if answer.content_type else []
    if answer.status not in (204, 304):
        headers.append(("Content-Length", str(len(answer.body))))
    start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", [*headers, *answer.headers.items()])
    return [] if method == "HEAD" or answer.status in (204, 304) else [answer.body]


def helpers(mode: str, n: int, start_response: Any) -> Iterable[bytes]:
    if mode == "stream":
        start_response("200 OK", _HTML)
        return pages.shape_streaming(n)
    body = pages.shape(n) if mode == "sync" else pages.shape_in_thread(n)
    start_response("200 OK", _HTML)
    return [body]


@contextmanager
def build(settings: Settings, variant: str) -> Iterator[tuple[Any, Analytics | None]]:
    if settings is None:
        yield application, None
        return
    analytics = Analytics(**settings)
    app: Any = AnalyticsMiddleware(application, analytics=analytics)
    if variant == "twice":
        app = AnalyticsMiddleware(app, analytics=analytics)
    yield app, analytics


STACK = Stack(
    "bare WSGI",
    "wsgi",
    build,
    modes=("sync", "threadpool", "stream"),
    spelling=None,
)
