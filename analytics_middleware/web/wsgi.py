"""Runs a framework-free application under WSGI (PEP 3333)."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, cast
from wsgiref.types import StartResponse, WSGIEnvironment

from analytics_middleware.request import Request, wsgi_headers
from analytics_middleware.web import body
from analytics_middleware.web.http import Refusal, WebApp, WebRequest, WebResponse, split_mount
from analytics_middleware.wsgi import ENVIRON_KEY, decoded, wsgi_path


class WSGIRunner:
    """A WSGI application that answers with *app*. Requests to it make no automatic events."""

    def __init__(self, app: WebApp) -> None:
        self.app = app

    def native(self, environ: WSGIEnvironment) -> Any:
        """Return the framework's request object; without a framework, the environ. Adapters override this."""
        return environ

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        response = respond(self.app, environ, self.native(environ))
        status = f"{response.status} {_reason(response.status)}"
        content = response.body
        headers = list(response.headers)
        if isinstance(content, bytes):
            headers.append(("content-length", str(len(content))))
            content = (content,)
        start_response(status, headers)
        return () if environ["REQUEST_METHOD"] == "HEAD" else cast("Iterable[bytes]", content)


def respond(
    app: WebApp,
    environ: WSGIEnvironment,
    native: Any,
    read: Callable[[int], bytes] | None = None,
    *,
    streams: bool = False,
) -> WebResponse:
    """Return the answer of *app* to the request in *environ*.

    *read* reads the body if the framework has it. *streams* says that the framework runs under ASGI in fact, so that
    the answer may have an asynchronous body.
    """
    context = environ.get(ENVIRON_KEY)
    if context is not None:
        context.excluded = True
    path = wsgi_path(environ)
    mount, below = split_mount(decoded(environ.get("SCRIPT_NAME", "")), path, app.mount)
    facts = Request(
        method=environ["REQUEST_METHOD"],
        scheme=environ.get("wsgi.url_scheme", "http"),
        path=path,
        query=environ.get("QUERY_STRING", ""),
        peer=environ.get("REMOTE_ADDR") or None,
        headers=wsgi_headers(environ),
        host_fallback=environ.get("SERVER_NAME", ""),
    )
    request = WebRequest(
        facts=facts,
        mount=mount,
        path=below,
        content_type=environ.get("CONTENT_TYPE") or "",
        native=native,
        context=context,
        streams=streams,
    )
    try:
        length = environ.get("CONTENT_LENGTH") or None
        limit = app.body_limit(request)
        if body.expects_body(facts.method, length, facts.header("content-encoding"), limit):
            if read is not None:
                request.body = body.read(read, limit)
            elif length is not None or environ.get("wsgi.input_terminated"):
                request.body = body.read(environ["wsgi.input"].read, limit, length)
    except Refusal as refusal:
        request.refusal = refusal
    return app(request)


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"
