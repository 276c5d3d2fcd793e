"""Starlette: pages in async views, groups in mounts, auth by AuthenticationMiddleware."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from starlette.applications import Starlette
from starlette.authentication import AuthCredentials, AuthenticationBackend, SimpleUser
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.middleware.authentication import AuthenticationMiddleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.responses import FileResponse, HTMLResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from analytics_middleware import Analytics
from analytics_middleware_starlette import AnalyticsMiddleware
from contract import pages
from contract.pages import DOWNLOAD, ROUTES, STATIC, Ask
from contract.stacks import Settings, Stack


def view_of(page: pages.Route) -> Any:
    async def view(request: Request) -> Response:
        ask = Ask(request.method, request.headers.get, request.query_params, request.path_params, await request.body())
        answer = page.handler(ask)
        return Response(answer.body, answer.status, dict(answer.headers), answer.content_type)

    view.__name__ = page.name
    return view


class HeaderAuth(AuthenticationBackend):
    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, SimpleUser] | None:
        user = conn.headers.get("x-user")
        return (AuthCredentials(["authenticated"]), SimpleUser(user)) if user else None


def account(request: Request) -> Response:
    return HTMLResponse(f"<p>{request.user.is_authenticated}</p>")


async def stream(request: Request) -> Response:
    return StreamingResponse(pages.stream_async(), media_type="text/html")


async def endless(request: Request) -> Response:
    return StreamingResponse(pages.endless_async(), media_type="text/html")


async def long(request: Request) -> Response:
    return StreamingResponse(pages.endless_async(pages.LONG_CHUNKS), media_type="text/html")


async def download(request: Request) -> Response:
    return FileResponse(DOWNLOAD, filename="prices.txt")


async def background(request: Request) -> Response:
    return HTMLResponse("<p>later</p>", background=BackgroundTask(pages.background_work))


def in_sync_view(request: Request) -> Response:
    return HTMLResponse(pages.shape(int(request.query_params["n"])))


async def in_async_view(request: Request) -> Response:
    return HTMLResponse(await pages.shape_async(int(request.query_params["n"])))


async def in_threadpool(request: Request) -> Response:
    return HTMLResponse(await run_in_threadpool(pages.shape, int(request.query_params["n"])))


async def in_stream(request: Request) -> Response:
    return StreamingResponse(pages.shape_streaming_async(int(request.query_params["n"])), media_type="text/html")


async def in_sync_stream(request: Request) -> Response:
    return StreamingResponse(pages.shape_streaming(int(request.query_params["n"])), media_type="text/html")


OWN = [
    Route("/account", account),
    Route("/stream", stream),
    Route("/endless", endless),
    Route("/long", long),
    Route("/download", download),
    Route("/background", background),
    Route("/helpers/sync", in_sync_view),
    Route("/helpers/async", in_async_view),
    Route("/helpers/threadpool", in_threadpool),
    Route("/helpers/stream", in_stream),
    Route("/helpers/sync stream", in_sync_stream),
    Mount("/static", StaticFiles(directory=STATIC)),
]


def routes() -> list[Route | Mount]:
    made: list[Route | Mount] = [*OWN]
    for group, members in groupby(sorted(ROUTES, key=lambda page: page.group), key=lambda page: page.group):
        views = [
            Route(page.path.removeprefix(group), view_of(page), methods=[*page.methods], name=page.name)
            for page in members
        ]
        # "/deep/er" is a mount within a mount.
        for prefix in reversed(["/" + part for part in group[1:].split("/")] if group == "/deep/er" else [group]):
            views = [Mount(prefix, routes=views)] if prefix else views
        made += views
    return made


async def pass_on(request: Request, call_next: Any) -> Any:
    return await call_next(request)


def middleware_of(analytics: Analytics | None, variant: str) -> list[Middleware]:
    ours = [Middleware(AnalyticsMiddleware, analytics=analytics)] if analytics is not None else []
    base = [Middleware(BaseHTTPMiddleware, dispatch=pass_on)]
    auth = [Middleware(AuthenticationMiddleware, backend=HeaderAuth())]
    if variant == "twice":
        return [*ours, *auth, *ours]
    if variant == "BaseHTTPMiddleware outside":
        return [*base, *ours, *auth]
    if variant == "BaseHTTPMiddleware inside":
        return [*ours, *base, *auth]
    return [*ours, *auth]


@contextmanager
def build(settings: Settings, variant: str) -> Iterator[tuple[Any, Analytics | None]]:
    analytics = None if settings is None else Analytics(**settings)
    yield Starlette(routes=routes(), middleware=middleware_of(analytics, variant)), analytics


STACK = Stack(
    "Starlette",
    "asgi",
    build,
    modes=("sync", "async", "threadpool", "stream", "sync stream"),
    around=("BaseHTTPMiddleware outside", "BaseHTTPMiddleware inside"),
)
