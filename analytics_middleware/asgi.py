"""ASGI middleware without a framework; the adapters for ASGI frameworks build on it.

Protocol: https://asgi.readthedocs.io/en/latest/specs/www.html
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from analytics_middleware.analytics import Analytics, check_analytics
from analytics_middleware.context import RequestContext, current
from analytics_middleware.counters import logger

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY = "analytics_middleware.request"
"""The key of the request's context in its scope, where inner layers find it."""


class AnalyticsMiddleware:
    """Records an event for each HTTP request that passes through.

    ``AnalyticsMiddleware(app, analytics=analytics)``, or the settings of `Analytics` as keywords. Requests and
    responses pass unchanged; bodies are never read. Where the server speaks the lifespan protocol, delivery starts
    before the first request and what is in flight is written at shutdown.
    """

    def __init__(self, app: App, *, analytics: Analytics | None = None, **settings: Any) -> None:
        if analytics is not None and settings:
            raise TypeError(f"pass either analytics or settings, not both: {', '.join(settings)}")
        self.app = app
        self.analytics = Analytics(**settings) if analytics is None else check_analytics(analytics)

    def describe(self, scope: Scope, context: RequestContext) -> None:
        """Note what the framework knows of the request: route template, endpoint, user, locale. Adapters override."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: C901 - calls cost time
        """Serve one connection."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        analytics = self.analytics
        if not analytics.active:
            await self.app(scope, receive, send)
            return
        outer: RequestContext | None = scope.get(SCOPE_KEY)
        if outer is not None:
            # Stacked: the outermost layer owns the timing, the innermost knows route and user.
            outer.join(analytics, scope, self.describe)
            if outer.root[0] is None:
                outer.root = (scope.get("app"), scope.get("root_path", ""))
            await self.app(scope, receive, send)
            return

        context = scope[SCOPE_KEY] = self._enter(scope)
        clock = time.perf_counter
        began = clock()
        awaiting_trailers = False

        async def receive_noting() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                context.disconnected = True
            return message

        async def send_noting(message: Message) -> None:
            nonlocal awaiting_trailers
            kind = message["type"]
            if kind == "http.response.start":
                sent: Any = message.get("headers", ())
                headers: list[Any] = sent
                if type(sent) is not list:
                    # The protocol allows any iterable, which can be read only once.
                    headers = list(sent)
                    message = {**message, "headers": headers}
                if (cookie := context.respond(message["status"], headers)) is not None:
                    # A new list: the application may send its own to everybody.
                    message = {**message, "headers": [*headers, (b"set-cookie", cookie.encode("latin-1"))]}
                awaiting_trailers = message.get("trailers", False)
            last = not context.finished and _is_last(message, kind, awaiting_trailers)
            # A client may leave as soon as it has everything, which is heard before some servers' send() returns.
            gone = context.disconnected
            # A keep-alive timer set inside send() captures the current context and would keep this request alive. Clear
            # the variable only if it is ours: one task may finish several responses.
            cleared = current.set(None) if last and current.get() is context else None
            try:
                await send(message)
            except OSError:
                # Servers raise it when the client has gone (ASGI 2.4).
                context.disconnected = True
                raise
            finally:
                if cleared is not None:
                    current.reset(cleared)
            if last:
                if gone:
                    context.status = 499
                context.finish(clock() - began)

        token = current.set(context)
        try:
            await self.app(scope, receive_noting, send_noting)
        except BaseException as error:
            if not context.finished:
                gone = context.disconnected or isinstance(error, asyncio.CancelledError)
                context.status = 499 if gone else 500
            raise
        finally:
            current.reset(token)
            # Servers keep the scope until the connection's next request.
            scope.pop(SCOPE_KEY, None)
            if not context.finished:
                if context.disconnected:
                    context.status = 499
                elif context.status is None:
                    # The application returned without a response, so the server answers 500.
                    context.status = 500
                context.finish(clock() - began)
            if analytics.settings.flush_on_response:
                await _in_thread(analytics.flush_response)

    def _enter(self, scope: Scope) -> RequestContext:
        context = RequestContext(self.analytics)
        context.entered = time.time()
        context.method = scope["method"]
        context.path = scope["path"]
        context.headers = scope["headers"]
        query = scope.get("query_string")
        if query:
            context.query = query.decode("latin-1")
        context.scheme = scope.get("scheme") or "http"
        client = scope.get("client")
        if client is not None:
            context.peer = client[0]
        server = scope.get("server")
        if server is not None:
            context.host_fallback = server[0]
        root: str = scope.get("root_path", "")
        if root and context.path.startswith(root):
            context.note_path_below(context.path[len(root) :])
        context.root = (scope.get("app"), root)
        context.source = scope
        context.describe = self.describe
        return context

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" and self.analytics.active:
            await self._lifespan(scope, receive, send)
            return
        if scope["type"] == "websocket" and self.analytics.active and SCOPE_KEY not in scope:
            # No event of its own, but `track` inside the connection is filled from its handshake.
            context = scope[SCOPE_KEY] = self._enter({"method": "GET", **scope})
            context.source = scope
            context.automatic = False
            token = current.set(context)
            try:
                await self.app(scope, receive, send)
            finally:
                current.reset(token)
                context.finished = True
                context.source = context.describe = context.root = None
            return
        await self.app(scope, receive, send)

    async def _lifespan(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Follow the application's lifespan, or answer the server for one without lifespan support (Django)."""
        received = answered = False

        async def receive_noting() -> Message:
            nonlocal received
            message = await receive()
            received = True
            return message

        async def send_noting(message: Message) -> None:
            nonlocal answered
            answered = True
            if message["type"] == "lifespan.startup.complete":
                self.analytics.begin_serving()
            elif message["type"].startswith("lifespan.shutdown."):
                # Before the last message to the server, after which the process may end.
                await _in_thread(self.analytics.end_serving)
            await send(message)

        try:
            await self.app(scope, receive_noting, send_noting)
        except Exception:
            if answered or received:
                # It knows the protocol, so the server must see why it did not start.
                raise
            logger.debug("analytics: the application knows no lifespan", exc_info=True)
            await receive()
            await send_noting({"type": "lifespan.startup.complete"})
            await receive()
            await send_noting({"type": "lifespan.shutdown.complete"})


async def _in_thread(function: Callable[[], None]) -> None:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        # Not asyncio's loop but trio's, so trio has been imported.
        await sys.modules["trio"].to_thread.run_sync(function)
    else:
        await asyncio.to_thread(function)


def _is_last(message: Message, kind: str, awaiting_trailers: bool) -> bool:
    """Whether the response has ended with *message* (trailers, path-send and zero-copy extensions included)."""
    if kind == "http.response.body" or kind == "http.response.zerocopysend":
        return not message.get("more_body", False) and not awaiting_trailers
    if kind == "http.response.pathsend":
        return not awaiting_trailers
    return kind == "http.response.trailers" and not message.get("more_trailers", False)
