"""FastAPI: pages in sync views, groups in included routers and a mounted application."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Depends, FastAPI, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.staticfiles import StaticFiles

from analytics_middleware import Analytics
from contract import pages
from contract.pages import DOWNLOAD, ROUTES, STATIC, Ask
from contract.stacks import Settings, Stack
from contract.stacks.starlette_app import middleware_of


async def body_of(request: Request) -> bytes:
    return await request.body()


def view_of(page: pages.Route) -> Any:
    def view(request: Request, body: bytes = Depends(body_of)) -> Response:
        ask = Ask(request.method, request.headers.get, request.query_params, request.path_params, body)
        answer = page.handler(ask)
        return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)

    view.__name__ = page.name
    return view


def account(request: Request) -> Response:
    return HTMLResponse(f"<p>{request.user.is_authenticated}</p>")


async def stream() -> Response:
    return StreamingResponse(pages.stream_async(), media_type="text/html")


async def endless() -> Response:
    return StreamingResponse(pages.endless_async(), media_type="text/html")


async def long() -> Response:
    return StreamingResponse(pages.endless_async(pages.LONG_CHUNKS), media_type="text/html")


async def download() -> Response:
    return FileResponse(DOWNLOAD, filename="prices.txt")


async def background(tasks: BackgroundTasks) -> HTMLResponse:
    tasks.add_task(pages.background_work)
    return HTMLResponse("<p>later</p>", background=tasks)


def in_sync_view(n: int) -> Response:
    return HTMLResponse(pages.shape(n))


async def in_async_view(n: int) -> Response:
    return HTMLResponse(await pages.shape_async(n))


async def in_threadpool(n: int) -> Response:
    return HTMLResponse(await run_in_threadpool(pages.shape, n))


async def in_stream(n: int) -> Response:
    return StreamingResponse(pages.shape_streaming_async(n), media_type="text/html")


async def in_sync_stream(n: int) -> Response:
    return StreamingResponse(pages.shape_streaming(n), media_type="text/html")


OWN = {
    "/account": account,
    "/stream": stream,
    "/endless": endless,
    "/long": long,
    "/download": download,
    "/background": background,
    "/helpers/sync": in_sync_view,
    "/helpers/async": in_async_view,
    "/helpers/threadpool": in_threadpool,
    "/helpers/stream": in_stream,
    "/helpers/sync stream": in_sync_stream,
}


def application(**options: Any) -> FastAPI:
    app = FastAPI(**options)
    for path, view in OWN.items():
        app.add_api_route(path, view, response_model=None)
    for group, members in groupby(sorted(ROUTES, key=lambda page: page.group), key=lambda page: page.group):
        router = APIRouter()
        for page in members:
            router.add_api_route(
                page.path.removeprefix(group), view_of(page), methods=[*page.methods], include_in_schema=False
            )
        if group == "/deep/er":
            inner = FastAPI()
            inner.include_router(router, prefix="/er")
            app.mount("/deep", inner)
        else:
            app.include_router(router, prefix=group)
    app.mount("/static", StaticFiles(directory=STATIC))
    return app


@contextmanager
def build(settings: Settings, variant: str) -> Iterator[tuple[Any, Analytics | None]]:
    analytics = None if settings is None else Analytics(**settings)
    yield application(middleware=middleware_of(analytics, variant)), analytics


STACK = Stack(
    "FastAPI",
    "asgi",
    build,
    modes=("sync", "async", "threadpool", "stream", "sync stream"),
    around=("BaseHTTPMiddleware outside", "BaseHTTPMiddleware inside"),
)
