"""What the servers import: one page that notes the number in its query, under ASGI and WSGI and under Django."""

import json
import os
import sys
from urllib.parse import parse_qs

from analytics_middleware import Analytics, Event, add_property, track
from durability.destination import PostCollector


def note_who_records(event: Event) -> Event:
    event.properties["recorded by"] = "worker" if sys.argv[1:2] == ["worker"] else "server"
    return event


SETTINGS = {
    "collectors": [PostCollector(os.environ["DURABILITY_URL"])] if os.environ.get("DURABILITY_URL") else [],
    "data_dir": os.environ.get("DURABILITY_DIR"),
    "enabled": True,
    "store": None,
    "processors": [note_who_records],
    **json.loads(os.environ.get("DURABILITY_SETTINGS", "{}")),
}


def page(query: str) -> bytes:
    values = parse_qs(query)
    add_property("n", int(values["n"][0]))
    if "also" in values:
        track("also", {"n": int(values["also"][0])})
    return f'<p data-pid="{os.getpid()}">{values["n"][0]}</p>'.encode()


async def _asgi(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        while True:
            message = await receive()
            await send({"type": f"{message['type']}.complete"})
            if message["type"] == "lifespan.shutdown":
                return
    body = page(scope["query_string"].decode())
    headers = [(b"content-type", b"text/html"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _wsgi(environ, start_response):
    body = page(environ["QUERY_STRING"])
    start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(body)))])
    return [body]


def asgi():
    from analytics_middleware.asgi import AnalyticsMiddleware

    return AnalyticsMiddleware(_asgi, analytics=Analytics(**SETTINGS))


def wsgi():
    from analytics_middleware.wsgi import AnalyticsMiddleware

    return AnalyticsMiddleware(_wsgi, analytics=Analytics(**SETTINGS))


def django_asgi():
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse
    from django.urls import path

    global urlpatterns
    urlpatterns = [path("", lambda request: HttpResponse(page(request.META["QUERY_STRING"])))]
    settings.configure(
        DEBUG=False,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF="durability.app",
        MIDDLEWARE=["analytics_middleware_django.AnalyticsMiddleware"],
        SECRET_KEY="x",
        ANALYTICS={key.upper(): value for key, value in SETTINGS.items()},
    )
    django.setup()
    return get_asgi_application()


urlpatterns = []
