"""A site with the browser's script in its pages, for real servers: Starlette as `asgi`, Flask as `wsgi`.

Pages are strict about scripts, and say in the address what their script tag is to carry: ``/page?data-first=on``.
"""

import json
import os
import threading
from html import escape
from typing import Any

from flask import Flask, Response
from flask import request as current_request
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount, Route

from analytics_middleware import Analytics, Event
from analytics_middleware_flask import FlaskAnalytics
from analytics_middleware_starlette import AnalyticsAPI, AnalyticsMiddleware

DEADLINE = 20.0

recorded: list[dict[str, Any]] = []
arrived = threading.Condition()


def collect(event: Event) -> None:
    with arrived:
        recorded.append(event.to_dict())
        arrived.notify_all()


def settings() -> dict[str, Any]:
    return {
        "enabled": True,
        "collectors": [collect],
        "get_user_id": lambda request: request.cookies.get("user"),
        **json.loads(os.environ["SNIPPET_SETTINGS"]),
    }


def page(query: dict[str, str], origin: str) -> tuple[str, dict[str, str]]:
    attributes = "".join(f' {name}="{escape(value)}"' for name, value in query.items() if name.startswith("data-"))
    html = (
        "<!doctype html><title>page</title><p>page</p><a id=away href='/away'>away</a><a id=back href='/kept'>kept</a>"
        f'<script defer src="{escape(query.get("script", ""))}/api/analytics/analytics.js"{attributes}></script>'
    )
    policy = f"default-src 'none'; script-src 'self' {origin}; connect-src 'self' {origin}"
    return html, {"content-security-policy": policy}


def wait_for(count: int) -> list[dict[str, Any]]:
    """Return what was recorded, once it is *count* events at least."""
    with arrived:
        arrived.wait_for(lambda: len(recorded) >= count, DEADLINE)
        return list(recorded)


def kept(headers: dict[str, str]) -> dict[str, str]:
    """Return *headers* of a page that caches keep."""
    return {**headers, "cache-control": "max-age=600"}


ORIGIN = os.environ.get("SNIPPET_ORIGIN", "")


def make_asgi() -> Starlette:
    analytics = Analytics(**settings())

    async def show(request: Request) -> HTMLResponse:
        html, headers = page(dict(request.query_params), ORIGIN)
        return HTMLResponse(html, headers=kept(headers) if request.url.path == "/kept" else headers)

    def events(request: Request) -> JSONResponse:
        assert analytics.flush(DEADLINE)
        return JSONResponse(wait_for(int(request.query_params["count"])))

    def traits(request: Request) -> JSONResponse:
        assert analytics.flush(DEADLINE)
        return JSONResponse(analytics.insights.traits(request.query_params["user"]))

    return Starlette(
        routes=[
            Mount("/api/analytics", AnalyticsAPI(analytics)),
            Route("/-/events", events),
            Route("/-/traits", traits),
            Route("/{path:path}", show),
        ],
        middleware=[Middleware(AnalyticsMiddleware, analytics=analytics)],
    )


def make_wsgi() -> Flask:
    app = Flask("shop")
    app.config["ANALYTICS"] = settings()
    FlaskAnalytics(app)
    analytics: Analytics = app.extensions["analytics"]

    def show(path: str) -> Response:
        html, headers = page(current_request.args.to_dict(), ORIGIN)
        return Response(html, headers=kept(headers) if path == "kept" else headers)

    def events() -> Any:
        assert analytics.flush(DEADLINE)
        return wait_for(int(current_request.args["count"]))

    def traits() -> Any:
        assert analytics.flush(DEADLINE)
        return analytics.insights.traits(current_request.args["user"])

    app.add_url_rule("/-/events", view_func=events)
    app.add_url_rule("/-/traits", view_func=traits)
    app.add_url_rule("/<path:path>", view_func=show)
    return app
