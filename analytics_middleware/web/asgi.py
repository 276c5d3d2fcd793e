"""Runs a framework-free application under ASGI, in a thread: a long question must not hold up the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from typing import Any, cast

from asgiref.sync import sync_to_async

from analytics_middleware.asgi import SCOPE_KEY, Receive, Scope, Send
from analytics_middleware.context import RequestContext
from analytics_middleware.request import Request
from analytics_middleware.web import body
from analytics_middleware.web.http import Refusal, WebApp, WebRequest, WebResponse, split_mount


class ASGIRunner:
    """An ASGI application that answers with *app*. Requests to it make no automatic events."""

    def __init__(self, app: WebApp) -> None:
        self.app = app

    def native(self, scope: Scope) -> Any:
        """Return the framework's request object; without a framework, the scope. Adapters override this."""
        return scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        context: RequestContext | None = scope.get(SCOPE_KEY)
        if context is not None:
            context.excluded = True
        method: str = scope["method"]
        try:
            response = await self._answer(scope, receive, context)
        except body.ClientGone:
            return
        await _send(response, method == "HEAD", receive, send)

    async def _answer(self, scope: Scope, receive: Receive, context: RequestContext | None) -> WebResponse:
        request = self._request(scope, context)
        facts = request.facts
        # Repeated headers are joined by commas; that is not a number, and is refused.
        length = facts.header("content-length")
        try:
            limit = self.app.body_limit(request)
            if body.expects_body(facts.method, length, facts.header("content-encoding"), limit):
                request.body = await body.receive_all(receive, limit)
        except Refusal as refusal:
            request.refusal = refusal
        # Not thread-sensitive, or one long question would hold up the next. If `authorize` is a coroutine function,
        # asgiref runs it on this loop.
        return await sync_to_async(self.app, thread_sensitive=False)(request)

    def _request(self, scope: Scope, context: RequestContext | None) -> WebRequest:
        client = scope.get("client")
        server = scope.get("server")
        facts = Request(
            method=scope["method"],
            scheme=scope.get("scheme") or "http",
            path=scope["path"],
            query=(scope.get("query_string") or b"").decode("latin-1"),
            peer=None if client is None else client[0],
            headers=list(scope["headers"]),
            host_fallback="" if server is None else server[0],
        )
        mount, path = split_mount(scope.get("root_path", ""), scope["path"], self.app.mount)
        return WebRequest(
            facts=facts,
            mount=mount,
            path=path,
            content_type=facts.header("content-type") or "",
            native=self.native(scope),
            context=context,
            streams=True,
        )


async def _send(response: WebResponse, head: bool, receive: Receive, send: Send) -> None:
    content = response.body
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers]
    if isinstance(content, bytes):
        headers.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    if isinstance(content, bytes) or head:
        await send({"type": "http.response.body", "body": b"" if head else content})
        return
    if isinstance(content, AsyncGenerator):
        await _send_while_there(content, receive, send)
    else:
        await _send_all(_in_thread(content), send)


async def _send_all(parts: AsyncGenerator[bytes, None], send: Send) -> None:
    async with aclosing(parts):
        async for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_while_there(parts: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> None:
    """Send *parts* until they end, the client disconnects, or `Streams` cancels the sending."""
    sending = asyncio.create_task(_send_all(parts, send))
    leaving = asyncio.create_task(_gone(receive))
    try:
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (sending, leaving):
            task.cancel()
        await asyncio.gather(sending, leaving, return_exceptions=True)
    if not sending.cancelled() and (error := sending.exception()) is not None:
        raise error


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _in_thread(parts: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    iterator = iter(parts)
    step = sync_to_async(cast("Any", next), thread_sensitive=False)
    while (part := await step(iterator, None)) is not None:
        yield part


async def _lifespan(receive: Receive, send: Send) -> None:
    # Only an application that is served alone gets these messages; it has nothing to do.
    for phase in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{phase}.complete"})
