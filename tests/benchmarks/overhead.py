"""Microseconds that analytics adds to a request, beside what other instrumentation adds, measured in one run.

    python tests/benchmarks/overhead.py [--stack asgi flask django] [--rounds 15] [--durable]

Each variant runs in a process of its own; the rounds take turns, so that a slow moment of the machine meets all of
them. A request goes through the whole application in process: no server, no socket. Sinks drop what they get.

"idle": bursts short enough that background threads sleep meanwhile, so what is added to the request itself; median
of all bursts. "saturated": a long run without a pause, processor time of all threads until everything is written.
"""

import argparse
import asyncio
import gc
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

BURST = 200
LONG = 20_000
HEADERS = [
    (b"host", b"shop.example"),
    (
        b"user-agent",
        b"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0 Safari/537.36",
    ),
    (b"accept", b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"en-GB,en;q=0.9,de;q=0.8"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"referer", b"https://www.example.org/search?q=lamp"),
    (b"sec-fetch-dest", b"document"),
    (b"sec-fetch-mode", b"navigate"),
    (b"cookie", b"sessionid=0123456789abcdef; theme=dark"),
    (b"connection", b"keep-alive"),
]
VARIANTS = {
    "asgi": ["bare", "pass-through", "ours", "ours-raw", "posthog", "opentelemetry", "sentry"],
    "flask": ["bare", "pass-through", "ours", "posthog", "opentelemetry", "sentry"],
    "django": ["bare", "pass-through", "ours", "posthog", "opentelemetry", "sentry"],
}
NEEDS = {"posthog": "posthog", "opentelemetry": "opentelemetry.instrumentation", "sentry": "sentry_sdk"}
RAW = {"visitor": None, "privacy": "raw"}
"""Without visitors, sessions and privacy: what these cost a request is the difference to "ours"."""

Request = Callable[[], None]
Settle = Callable[[], None]


# One process, one variant.


def _analytics(durable: str | None, **options):
    from analytics_middleware import Analytics
    from analytics_middleware.collectors import BatchCollector

    class Drop(BatchCollector):
        name = "drop"
        third_party = False
        max_batch = 500

        def send(self, events):
            pass

    settings = {**options, "store": None, **({"data_dir": durable} if durable else {})}
    return Analytics([Drop()], enabled=True, queue_size=100_000, **settings)


def _posthog_capture():
    import posthog

    client = posthog.Posthog("phc_benchmark", host="http://127.0.0.1:9", max_queue_size=1_000_000, send=False)
    client.send = True  # queue as it does in production; nobody consumes

    def capture(path: str, method: str, status: int) -> None:
        client.capture(
            "$pageview",
            distinct_id="visitor",
            properties={"$current_url": f"https://shop.example{path}", "method": method, "status": status},
        )

    return client, capture


def _otel_provider():
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Drop(SpanExporter):
        def export(self, spans):
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Drop(), max_queue_size=100_000))
    return provider


def _sentry(**options) -> None:
    import sentry_sdk
    from sentry_sdk.transport import Transport

    class Drop(Transport):
        def capture_envelope(self, envelope):
            pass

    sentry_sdk.init(dsn="http://key@127.0.0.1:9/1", transport=Drop, traces_sample_rate=1.0, **options)


def _asgi_request(app) -> Request:
    loop = asyncio.new_event_loop()

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        pass

    async def serve(count: int) -> None:
        for _ in range(count):
            scope = {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.3"},
                "http_version": "1.1",
                "method": "GET",
                "scheme": "https",
                "path": "/blog/a-lamp",
                "raw_path": b"/blog/a-lamp",
                "query_string": b"utm_source=letter",
                "root_path": "",
                "headers": HEADERS,
                "client": ("203.0.113.7", 51000),
                "server": ("127.0.0.1", 8000),
                "state": {},
            }
            await app(scope, receive, send)

    return lambda count: loop.run_until_complete(serve(count))


def _asgi(variant: str, durable: str | None):
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import HTMLResponse
    from starlette.routing import Route

    async def page(request):
        return HTMLResponse("<h1>A lamp</h1>")

    class PassThrough:
        def __init__(self, app):
            self.app = app

        async def __call__(self, scope, receive, send):
            async def send_on(message):
                await send(message)

            await self.app(scope, receive, send_on)

    routes = [Route("/blog/{slug}", page)]
    settle: Settle = lambda: None
    middleware = []
    if variant == "pass-through":
        middleware = [Middleware(PassThrough)]
    elif variant in ("ours", "ours-raw"):
        from analytics_middleware_starlette import AnalyticsMiddleware

        analytics = _analytics(durable, **(RAW if variant == "ours-raw" else {}))
        middleware = [Middleware(AnalyticsMiddleware, analytics=analytics)]
        settle = lambda: analytics.flush(60) or sys.exit("not flushed")
    elif variant == "posthog":
        client, capture = _posthog_capture()

        class PostHog(PassThrough):
            async def __call__(self, scope, receive, send):
                status = 0

                async def send_on(message):
                    nonlocal status
                    if message["type"] == "http.response.start":
                        status = message["status"]
                    await send(message)

                await self.app(scope, receive, send_on)
                capture(scope["path"], scope["method"], status)

        middleware = [Middleware(PostHog)]
        settle = lambda: _drain(client.queue)
    elif variant == "opentelemetry":
        from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware

        provider = _otel_provider()
        middleware = [Middleware(OpenTelemetryMiddleware, tracer_provider=provider)]
        settle = provider.force_flush
    elif variant == "sentry":
        from sentry_sdk.integrations.starlette import StarletteIntegration

        _sentry(integrations=[StarletteIntegration()])
    return _asgi_request(Starlette(routes=routes, middleware=middleware)), settle


def _wsgi_request(app) -> Request:
    import io

    base = {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": "/blog/a-lamp",
        "QUERY_STRING": "utm_source=letter",
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "8000",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "203.0.113.7",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **{f"HTTP_{name.decode().upper().replace('-', '_')}": value.decode() for name, value in HEADERS},
    }

    def start_response(status, headers, exc_info=None):
        return lambda data: None

    def serve(count: int) -> None:
        for _ in range(count):
            body = app({**base, "wsgi.input": io.BytesIO()}, start_response)
            for _chunk in body:
                pass
            if hasattr(body, "close"):
                body.close()

    return serve


def _flask(variant: str, durable: str | None):
    from flask import Flask

    settle: Settle = lambda: None
    if variant == "sentry":
        from sentry_sdk.integrations.flask import FlaskIntegration

        _sentry(integrations=[FlaskIntegration()])
    app = Flask(__name__)

    @app.get("/blog/<slug>")
    def page(slug):
        return "<h1>A lamp</h1>"

    if variant == "pass-through":
        inner = app.wsgi_app
        app.wsgi_app = lambda environ, start_response: inner(environ, start_response)
    elif variant == "ours":
        from analytics_middleware_flask import FlaskAnalytics

        analytics = _analytics(durable)
        app.config["ANALYTICS"] = {
            "collectors": analytics.settings.collectors,
            "enabled": True,
            "queue_size": 100_000,
            "store": None,
        }
        if durable:
            app.config["ANALYTICS"]["data_dir"] = durable
        FlaskAnalytics(app)
        analytics = app.extensions["analytics"]
        settle = lambda: analytics.flush(60) or sys.exit("not flushed")
    elif variant == "posthog":
        from flask import request

        client, capture = _posthog_capture()

        @app.after_request
        def after(response):
            capture(request.path, request.method, response.status_code)
            return response

        settle = lambda: _drain(client.queue)
    elif variant == "opentelemetry":
        from opentelemetry.instrumentation.flask import FlaskInstrumentor

        provider = _otel_provider()
        FlaskInstrumentor().instrument_app(app, tracer_provider=provider)
        settle = provider.force_flush
    return _wsgi_request(app), settle


def _django(variant: str, durable: str | None):
    import django
    from django.conf import settings
    from django.http import HttpResponse
    from django.urls import path

    class PassThrough:
        def __init__(self, get_response):
            self.get_response = get_response

        def __call__(self, request):
            return self.get_response(request)

    settle: Settle = lambda: None
    middleware = ["django.middleware.common.CommonMiddleware"]
    here = sys.modules[__name__]
    sys.modules["overhead_urls"] = here
    here.urlpatterns = [path("blog/<slug:slug>", lambda request, slug: HttpResponse("<h1>A lamp</h1>"))]
    options = {}
    if variant == "pass-through":
        here.PassThrough = PassThrough
        middleware.insert(0, "overhead_urls.PassThrough")
    elif variant == "ours":
        analytics = _analytics(durable)
        options["ANALYTICS"] = {
            "COLLECTORS": analytics.settings.collectors,
            "ENABLED": True,
            "QUEUE_SIZE": 100_000,
            "STORE": None,
        }
        if durable:
            options["ANALYTICS"]["DATA_DIR"] = durable
        middleware.insert(0, "analytics_middleware_django.AnalyticsMiddleware")
    elif variant == "posthog":
        client, capture = _posthog_capture()

        class PostHog(PassThrough):
            def __call__(self, request):
                response = self.get_response(request)
                capture(request.path, request.method, response.status_code)
                return response

        here.PostHog = PostHog
        middleware.insert(0, "overhead_urls.PostHog")
        settle = lambda: _drain(client.queue)
    elif variant == "sentry":
        from sentry_sdk.integrations.django import DjangoIntegration

        _sentry(integrations=[DjangoIntegration()])
    settings.configure(
        DEBUG=False, ALLOWED_HOSTS=["*"], ROOT_URLCONF="overhead_urls", MIDDLEWARE=middleware, SECRET_KEY="x", **options
    )
    if variant == "opentelemetry":
        from opentelemetry.instrumentation.django import DjangoInstrumentor

        provider = _otel_provider()
        DjangoInstrumentor().instrument(tracer_provider=provider)
        settle = provider.force_flush
    django.setup()
    from django.core.wsgi import get_wsgi_application

    app = get_wsgi_application()
    if variant == "ours":
        from analytics_middleware_django import get_analytics

        settle = lambda: get_analytics().flush(60) or sys.exit("not flushed")
    return _wsgi_request(app), settle


def _drain(queue) -> None:
    while not queue.empty():
        queue.get_nowait()


def child(stack: str, variant: str, durable: bool) -> None:
    """Serve bursts on request: one line in, one line out."""
    with tempfile.TemporaryDirectory() as directory:
        serve, settle = {"asgi": _asgi, "flask": _flask, "django": _django}[stack](
            variant, directory if durable else None
        )
        serve(2000)
        settle()
        gc.collect()
        gc.freeze()
        print("ready", flush=True)
        for line in sys.stdin:
            if line.strip() == "idle":
                began = time.perf_counter_ns()
                serve(BURST)
                took = (time.perf_counter_ns() - began) / BURST
            else:
                began = time.process_time_ns()
                serve(LONG)
                settle()
                took = (time.process_time_ns() - began) / LONG
            settle()
            print(took, flush=True)
        sys.stdout.flush()
        os._exit(0)


# The process that takes turns.


def measure(stack: str, rounds: int, durable: bool) -> None:
    """Print a table of one stack."""
    variants = [name for name in VARIANTS[stack] if name not in NEEDS or _installed(NEEDS[name])]
    command = [sys.executable, __file__, "--child", stack]
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_VERSION"}
    children = {
        name: subprocess.Popen(
            [*command, name, *(["--durable"] if durable else [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for name in variants
    }
    for name, process in children.items():
        if process.stdout.readline().strip() != "ready":
            sys.exit(f"{stack}/{name} did not start")

    def ask(name: str, what: str) -> float:
        process = children[name]
        process.stdin.write(what + "\n")
        process.stdin.flush()
        return float(process.stdout.readline()) / 1000

    idle = {name: [] for name in variants}
    for _ in range(rounds * 20):
        for name in variants:
            idle[name].append(ask(name, "idle"))
    saturated = {name: [ask(name, "saturated") for _ in range(3)] for name in variants}
    for process in children.values():
        process.stdin.close()
        process.wait(30)
    base, base_long = statistics.median(idle["bare"]), statistics.median(saturated["bare"])
    print(f"\n{stack}: a bare request takes {base:.1f} us" + (" (ours durable)" if durable else ""))
    print(f"{'added by':<15}{'idle us':>10}{'saturated us':>15}{'ours is cheaper by':>21}")
    ours = statistics.median(idle["ours"]) - base
    for name in variants[1:]:
        added = statistics.median(idle[name]) - base
        long = statistics.median(saturated[name]) - base_long
        ratio = f"{added / ours:.1f} x" if not name.startswith("ours") else ""
        print(f"{name:<15}{added:>10.1f}{long:>15.1f}{ratio:>21}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stack", nargs="*", default=["asgi", "flask", "django"], choices=list(VARIANTS))
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--durable", action="store_true", help="ours writes to SQLite")
    parser.add_argument("--child", nargs=2, metavar=("STACK", "VARIANT"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(*arguments.child, arguments.durable)
    else:
        for stack in arguments.stack:
            measure(stack, arguments.rounds, arguments.durable)
