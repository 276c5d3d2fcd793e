"""What the servers import: a page, and the API below its usual mount; settings come from the environment."""

import json
import os

from analytics_middleware import Analytics, identify, track
from analytics_middleware.asgi import AnalyticsMiddleware
from analytics_middleware.web.api import API
from analytics_middleware.web.asgi import ASGIRunner

MOUNT = "/api/analytics"


def app():
    analytics = Analytics(enabled=True, **json.loads(os.environ["HUB_SETTINGS"]))
    api = ASGIRunner(API(analytics))

    async def page(scope, receive, send):
        if scope["type"] == "lifespan":
            while True:
                message = await receive()
                await send({"type": f"{message['type']}.complete"})
                if message["type"] == "lifespan.shutdown":
                    return
        if scope["path"].startswith(MOUNT):
            await api(scope, receive, send)
            return
        if scope["path"].startswith("/erase/"):
            analytics.erase(scope["path"].removeprefix("/erase/"))
        elif scope["path"].startswith("/buy/"):
            user = scope["path"].removeprefix("/buy/")
            identify(user, {"plan": "pro"})
            track("bought", user_id=user)
        headers = [(b"content-type", b"text/html"), (b"content-length", b"4")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"page"})

    return AnalyticsMiddleware(page, analytics=analytics)
