"""Events that belong to a database transaction: sent if it commits, discarded if it does not."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from analytics_middleware.context import current
from analytics_middleware.counters import logger
from analytics_middleware.event import Event
from analytics_middleware.tracking import tracked
from analytics_middleware_django import _django
from analytics_middleware_django.conf import get_analytics


def track_on_commit(
    event: str | Event, properties: Mapping[str, Any] | None = None, *, using: str | None = None, **fields: Any
) -> None:
    """Send a custom event if the surrounding transaction of the database *using* commits; without one, at once.

    The event is made now, with the time and the request of the call, and is filled as `analytics_middleware.track`
    fills it. In a request, invalid arguments are logged and counted, as by every helper; elsewhere they raise
    `TypeError` or `ValueError`.
    """
    context = current.get()
    analytics = get_analytics() if context is None else context.analytics
    if not analytics.active:
        return
    try:
        item = tracked(event, properties, fields, context, analytics.counters)
        send = partial(analytics.submit, item) if context is None else partial(context.submit, item, analytics)
        connection = _django.transaction.get_connection(using)
        # Without an atomic block `on_commit` might open the connection, which async code must not do.
        if connection.in_atomic_block:
            connection.on_commit(send, robust=True)
            return
    except Exception as error:
        if context is None:
            raise
        analytics.counters.add("bad_argument")
        analytics.counters.log(
            "helper.track_on_commit", logger.warning, "analytics: track_on_commit() ignored: %s", error
        )
        return
    send()
