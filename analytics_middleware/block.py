"""`Analytics.context`: in jobs and scripts, a block of code as the context of events, or as an event itself."""

import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from analytics_middleware.context import RequestContext, current
from analytics_middleware.event import Event
from analytics_middleware.properties import Scalar, clean_name
from analytics_middleware.tracking import TrackedEvent, event_of, required

if TYPE_CHECKING:
    from analytics_middleware.analytics import Analytics


@contextmanager
def block(analytics: "Analytics", event_name: str | None, fields: Mapping[str, Any]) -> Generator[RequestContext]:
    """See `Analytics.context`."""
    context = RequestContext(analytics)
    name = None if event_name is None else required(event_name, "event name")
    context.given = event_of(name, fields, analytics.counters)
    context.automatic = event_name is not None
    began = time.perf_counter()
    token = current.set(context)
    failure: dict[str, Scalar] = {}
    try:
        yield context
    except BaseException as error:
        if not isinstance(error, SystemExit) or error.code:
            # Corresponds to status 500 of a failed request. Only the class: messages may quote what people typed.
            failure = {"error": type(error).__name__}
        raise
    finally:
        current.reset(token)
        context.finished = True
        if context.automatic:
            event = _block_event(context, time.perf_counter() - began)
            event.properties = {**failure, **event.properties}
            analytics.submit(TrackedEvent(event, None))


def _block_event(context: RequestContext, duration: float) -> Event:
    """Return the event of a finished `Analytics.context` block."""
    event = context.given.replace() if context.given is not None else Event()
    event.event_name = context.event_name or event.event_name
    event.action_name = context.action_name or event.action_name
    event.revenue = context.revenue or event.revenue
    event.properties = {**event.properties, **(context.properties or {})}
    event.duration = duration
    if context.set_user_id is not None:
        event.user_id = clean_name(context.set_user_id) or None
    return event
