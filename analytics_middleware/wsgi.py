"""WSGI middleware without a framework; the adapters for WSGI frameworks build on it.

Protocol: PEP 3333. A response ends when its iterable is exhausted or closed.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import Token
from typing import Any
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

from analytics_middleware.analytics import Analytics, check_analytics
from analytics_middleware.context import RequestContext, current
from analytics_middleware.request import wsgi_headers

ENVIRON_KEY = "analytics_middleware.request"
"""The key of the request's context in its environ, where inner layers find it."""

_BODILESS = (204, 304)


class AnalyticsMiddleware:
    """Records an event for each request that passes through.

    ``AnalyticsMiddleware(app, analytics=analytics)``, or the settings of `Analytics` as keywords. Requests and
    responses pass unchanged; ``wsgi.file_wrapper`` bodies are returned as they are, so that servers can use
    sendfile.
    """

    def __init__(self, app: WSGIApplication, *, analytics: Analytics | None = None, **settings: Any) -> None:
        if analytics is not None and settings:
            raise TypeError(f"pass either analytics or settings, not both: {', '.join(settings)}")
        self.app = app
        self.analytics = Analytics(**settings) if analytics is None else check_analytics(analytics)

    def describe(self, environ: WSGIEnvironment, context: RequestContext) -> None:
        """Note what the framework knows of the request: route template, endpoint, user, locale. Adapters override."""

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if not self.analytics.active:
            return self.app(environ, start_response)
        outer: RequestContext | None = environ.get(ENVIRON_KEY) or bridged_context(environ)
        if outer is not None:
            # Stacked: the outermost layer owns the timing, the innermost knows route and user.
            outer.join(self.analytics, environ, self.describe)
            return self.app(environ, start_response)

        context = environ[ENVIRON_KEY] = self._enter(environ)
        began = time.perf_counter()
        token = current.set(context)

        def start_noting(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            code = status[:3]
            # Servers answer 500 to a malformed status line.
            if (cookie := context.respond(int(code) if code.isdecimal() else 500, headers)) is not None:
                # A new list: the application may send its own to everybody.
                headers = [*headers, ("Set-Cookie", cookie)]
            return start_response(status, headers, exc_info) if exc_info else start_response(status, headers)

        try:
            body = self.app(environ, start_noting)
            if not _is_file(body, environ):
                return (_Sequence if isinstance(body, (list, tuple)) else _Body)(body, context, began, token)
        except BaseException:
            context.status = 500
            _end(context, began, token)
            raise
        # The server sends the file without us; the time that takes is not the application's.
        _end(context, began, token)
        return body

    def _enter(self, environ: WSGIEnvironment) -> RequestContext:
        context = RequestContext(self.analytics)
        context.entered = time.time()
        context.method = environ["REQUEST_METHOD"]
        context.path = wsgi_path(environ)
        context.query = environ.get("QUERY_STRING", "")
        context.scheme = environ.get("wsgi.url_scheme", "http")
        context.peer = environ.get("REMOTE_ADDR")
        context.headers = wsgi_headers(environ)
        context.host_fallback = environ.get("SERVER_NAME", "")
        context.root = environ.get("SCRIPT_NAME", "")
        if context.root:
            context.note_path_below(decoded(environ.get("PATH_INFO", "")))
        context.source = environ
        context.describe = self.describe
        return context


class _Body:
    """A response body that finishes the event when the server has exhausted or closed it."""

    def __init__(
        self, body: Iterable[bytes], context: RequestContext, began: float, token: Token[RequestContext | None]
    ) -> None:
        self._body = body
        self._chunks = iter(body)
        self._context = context
        self._began = began
        self._token = token
        self._awaited = _content_length(context)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._end()
            raise
        except BaseException:
            self._context.status = 500
            self._end()
            raise
        if self._awaited is not None:
            self._awaited -= len(chunk)
            if self._awaited <= 0 and self._context.analytics.capturing:
                # Test clients may neither exhaust nor close a body before the test looks at its events.
                self._end()
        return chunk

    def close(self) -> None:
        """Close the application's body; the response is over."""
        context = self._context
        # What runs now (Flask's call_on_close, say) belongs to this request, though its event may be finished.
        token = current.set(context)
        try:
            close: Callable[[], object] | None = getattr(self._body, "close", None)
            if close is not None:
                close()
        finally:
            current.reset(token)
            if not context.finished:
                if context.method != "HEAD" and context.status not in _BODILESS:
                    context.status = 499
                self._end()
            _flush(context)

    def _end(self) -> None:
        _end(self._context, self._began, self._token)


class _Sequence(_Body):
    """A body that has a length, from which servers compute Content-Length."""

    _body: list[bytes] | tuple[bytes, ...]

    def __len__(self) -> int:
        return len(self._body)


def bridged_context(environ: WSGIEnvironment) -> RequestContext | None:
    """Return the context of the ASGI layer that this same request came through, or None.

    Bridges that run WSGI applications under ASGI (a2wsgi, Starlette's WSGIMiddleware) make a new environ but keep the
    context variable. The outer layer knows by now where the application is mounted.
    """
    outer = current.get()
    # The variable may still hold an earlier WSGI request whose body was never closed.
    if outer is None or outer.source is None or not outer.automatic or type(outer.headers) is dict:
        return None
    if outer.method != environ["REQUEST_METHOD"] or outer.path != wsgi_path(environ):
        return None
    _, root_path = outer.root or (None, "")
    outer.read_framework_facts()
    script_name: str = environ.get("SCRIPT_NAME", "")
    outer.mount = outer.mount or script_name[len(root_path) :]
    outer.root = script_name
    outer.pattern = None
    environ[ENVIRON_KEY] = outer
    return outer


def wsgi_path(environ: WSGIEnvironment) -> str:
    """Return the request's full path, decoded."""
    return decoded(environ.get("SCRIPT_NAME", "") + environ.get("PATH_INFO", ""))


def decoded(path: str) -> str:
    """Return the text of a *path*, whose bytes PEP 3333 passes as Latin-1."""
    return path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")


def _is_file(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    wrapper = environ.get("wsgi.file_wrapper")
    # Most servers offer a class; uWSGI offers a function whose results are of another type.
    return isinstance(wrapper, type) and isinstance(body, wrapper)


def _content_length(context: RequestContext) -> int | None:
    if context.analytics.capturing:
        for name, value in context.response_headers:
            if name.lower() == "content-length" and value.isdigit():
                return int(value)
    return None


def _end(context: RequestContext, began: float, token: Token[RequestContext | None]) -> None:
    context.finish(time.perf_counter() - began)
    try:
        current.reset(token)
    except (ValueError, RuntimeError):
        # Closed a second time, or in another context, whose variable is not ours unless it holds this request.
        if current.get() is context:
            current.set(None)


def _flush(context: RequestContext) -> None:
    if context.analytics.settings.flush_on_response:
        context.analytics.flush_response()
