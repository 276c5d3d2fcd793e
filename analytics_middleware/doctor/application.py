"""How the application set analytics up: where events go, which addresses it sees, where the middleware is."""

import importlib
import os
import sys
from collections.abc import Generator
from typing import Any

from analytics_middleware import asgi, wsgi
from analytics_middleware.analytics import Analytics
from analytics_middleware.counters import Counters
from analytics_middleware.delivery.withhold import only_logs
from analytics_middleware.doctor import Finding
from analytics_middleware.errors import DeliveryError
from analytics_middleware.relay.client import Relay
from analytics_middleware.relay.wire import greeting
from analytics_middleware.store.hub import HubStore

_HARMLESS = frozenset(["ServerErrorMiddleware", "ProxyFix", "ProxyHeadersMiddleware", "GZipMiddleware"])
"""Middleware that answers no requests itself, and so may be outside ours."""


def examine_settings(analytics: Analytics) -> Generator[Finding]:
    """Look at the settings."""
    settings = analytics.settings
    if settings.enabled is False:
        yield Finding("warning", "settings", "enabled is False: nothing is recorded")
    if settings.data_dir is None:
        advice = "set data_dir, and events survive the process and are one log for all"
        workers = os.environ.get("WEB_CONCURRENCY", "")
        if workers.isdecimal() and int(workers) > 1:
            text = f"no data_dir with {workers} workers (WEB_CONCURRENCY): each has its own events and its own store"
            yield Finding("problem", "durability", text, advice)
        else:
            text = "no data_dir: events are in the memory of each worker alone, and lost with it"
            yield Finding("warning", "durability", text, advice)
    else:
        yield Finding("ok", "durability", f"events are durable in {settings.data_dir}")
    stored = analytics.store is not None or analytics.hub is not None
    if not stored and settings.store is not None:
        advice = "pip install 'analytics-middleware[insights]', or set store to None"
        yield Finding("warning", "store", "none, because a package is missing: no question can be answered", advice)
    if not analytics.collectors:
        if stored:
            yield Finding("ok", "collectors", "none: events go into the store alone")
        else:
            yield Finding("warning", "collectors", "none, and no store: events go nowhere")
    else:
        names = ", ".join(each.name for each in analytics.collectors)
        yield Finding("ok", "collectors", names)
        silent = [each.name for each in analytics.collectors if only_logs(each, debug=settings.debug)]
        if silent:
            text = f"debug is on: {', '.join(silent)} only log what they would send"
            yield Finding("warning", "collectors", text)
    if analytics.hub is not None:
        yield _hub(analytics.hub, settings.timezone)
    if not settings.background:
        yield _worker(analytics)


def _worker(analytics: Analytics) -> Finding:
    settings = analytics.settings
    advice = "keep `analytics-middleware worker` running, and restart it with each deploy"
    if settings.data_dir is None:
        return Finding("ok", "delivery", "background is False: web processes deliver nothing", advice)
    relay = Relay(settings.data_dir, greeting(settings, analytics.collectors), Counters())
    relay.connect_if_due()
    up = relay.up
    relay.end(0.0)
    if up:
        return Finding("ok", "delivery", "a worker runs: it records and delivers for the web processes")
    text = (
        "background is False and no worker of this version, with these settings and these processors answers: "
        "web processes record, and may deliver nothing"
    )
    return Finding("warning", "delivery", text, advice)


def _hub(hub: HubStore, timezone: str) -> Finding:
    try:
        there = hub.check()
    except DeliveryError as error:
        advice = "events wait in the log meanwhile; look at the settings store and store_key"
        return Finding("problem", "store", f"{hub.url} takes no events: {error}", advice)
    if there != timezone:
        text = (
            f"timezone is {timezone!r} here and {there!r} at {hub.url}: cookieless visitors change at another midnight"
        )
        return Finding("warning", "store", text, "set timezone to the same on all hosts")
    return Finding("ok", "store", f"{hub.url} takes events, and answers questions there")


def examine_proxies(analytics: Analytics | None, ignored: int) -> Generator[Finding]:
    """Look at whether proxies are trusted to tell the client's address. *ignored* headers of theirs were counted."""
    if ignored:
        text = f"{ignored} requests came through a proxy, with X-Forwarded-For, and trusted_proxies is empty"
        advice = "list your proxies' networks there ('unix' for a socket), or have the server read the header"
        yield Finding("warning", "proxies", text, advice)
    elif analytics is not None and analytics.settings.trusted_proxies:
        trusted = ", ".join(analytics.settings.trusted_proxies)
        yield Finding("ok", "proxies", f"{analytics.settings.proxy_header} is believed from {trusted}")
    elif analytics is not None:
        yield Finding("ok", "proxies", "no forwarding header is trusted, and none was seen from a proxy")


def examine_middleware(application: Any, layers: list[Any]) -> Generator[Finding]:
    """Look for the middleware in *application*; *layers* are its own, the outermost first."""
    if isinstance(application, Analytics):
        advice = "name the application with --app instead"
        yield Finding("ok", "middleware", "not examined: only the Analytics object is known", advice)
        return
    ours = [index for index, layer in enumerate(layers) if _is_ours(layer)]
    if not ours:
        text = f"not found in {type(application).__name__}: no request is recorded"
        yield Finding("problem", "middleware", text, "add it; the README shows how")
        return
    if len(ours) > 1:
        yield Finding("warning", "middleware", f"it is there {len(ours)} times, but only one event is recorded")
    added: Any = getattr(application, "user_middleware", None)
    outer: list[str] = []
    for layer in layers[: ours[0]]:
        # What the framework itself puts outside of all middleware can't be moved.
        own_accord = added is not None and all(type(layer) is not middleware.cls for middleware in added)
        if not own_accord and type(layer).__name__ not in _HARMLESS:
            outer.append(type(layer).__name__)
    if outer:
        text = f"it is inside {', '.join(outer)}, whose own responses are not recorded"
        yield Finding("warning", "middleware", text, "make it the outermost: added last, or first in the list")
    if len(ours) == 1 and not outer:
        yield Finding("ok", "middleware", "there once, outermost")


def examine_django() -> Generator[Finding]:
    """Run our system checks of a Django project."""
    checks: Any = importlib.import_module("analytics_middleware_django.checks")
    messages = checks.check_setup()
    for message in messages:
        text = f"{message.msg} ({message.id})"
        if message.id.endswith(("E001", "W001")):
            yield Finding("problem", "middleware", text, message.hint or "")
        else:
            yield Finding("warning", "middleware", text, message.hint or "")
    if not messages:
        yield Finding("ok", "middleware", "Django's system checks found nothing")


def is_django(analytics: Analytics) -> bool:
    """Return whether *analytics* was made from a Django project's settings."""
    conf: Any = sys.modules.get("analytics_middleware_django.conf")
    return conf is not None and conf.is_of_settings(analytics)


def _is_ours(layer: Any) -> bool:
    return isinstance(layer, (asgi.AnalyticsMiddleware, wsgi.AnalyticsMiddleware))
