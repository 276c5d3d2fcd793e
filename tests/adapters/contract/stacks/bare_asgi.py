"""ASGI by hand."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from analytics_middleware import Analytics
from analytics_middleware.asgi import AnalyticsMiddleware
from contract import pages
from contract.pages import DOWNLOAD, HTML, Ask
from contract.stacks import Settings, Stack
from contract.stacks._matching import find, query_of


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    path, method = scope["path"], scope["method"]
    query = query_of(scope["query_string"].decode())
    if path == "/stream":
        await respond_streaming(receive, send, pages.stream_async())
    elif path == "/endless":
        await respond_streaming(receive, send, pages.endless_async())
    elif path == "/long":
        await respond_streaming(receive, send, pages.endless_async(pages.LONG_CHUNKS))
    elif path == "/download":
        await respond(send, 200, [(b"content-type", b"text/plain")], DOWNLOAD.read_bytes())
    elif path == "/background":
        await respond(send, 200, [(b"content-type", HTML.encode())], b"<p>later</p>")
        pages.background_work()
    elif path.startswith("/helpers/"):
        await helpers(path.removeprefix("/helpers/"), int(query["n"]), receive, send)
    else:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        handler, params = find(method, path)
        answer = handler(Ask(method, headers.get, query, params, await read(receive)))
        kind = [(b"content-type", answer.content_type.encode())] if answer.content_type else []
        length = [(b"content-length", str(len(answer.body)).encode())] if answer.status not in (204, 304) else []
        own = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        await respond(send, answer.status, [*kind, *length, *own], b"" if method == "HEAD" else answer.body)


async def helpers(mode: str, n: int, receive: Any, send: Any) -> None:
    if mode == "async":
        body = await pages.shape_async(n)
    elif mode == "threadpool":
        body = await asyncio.to_thread(pages.shape, n)
    else:
        await respond_streaming(receive, send, pages.shape_streaming_async(n))
        return
    await respond(send, 200, [(b"content-type", HTML.encode())], body)


async def read(receive: Any) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return body


async def respond(send: Any, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    # Any iterable of headers is allowed; this one can be read only once.
    await send({"type": "http.response.start", "status": status, "headers": iter(headers)})
    await send({"type": "http.response.body", "body": body})


async def respond_streaming(receive: Any, send: Any, chunks: AsyncIterator[bytes]) -> None:
    """Stream until the end, or until the client has gone."""

    async def stream() -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", HTML.encode())]})
        async for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def listen() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    streaming, listening = asyncio.create_task(stream()), asyncio.create_task(listen())
    try:
        await asyncio.wait({streaming, listening}, return_when=asyncio.FIRST_COMPLETED)
        if streaming.done():
            streaming.result()
    finally:
        for task in (streaming, listening):
            task.cancel()
        await asyncio.gather(streaming, listening, return_exceptions=True)


async def lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


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
    "bare ASGI",
    "asgi",
    build,
    modes=("async", "threadpool", "stream"),
    spelling=None,
)
