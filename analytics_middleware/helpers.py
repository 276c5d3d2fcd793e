"""The functions that views call to shape the current request's event. Outside a request they do nothing."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec
from uuid import UUID

from analytics_middleware.context import RequestContext, current
from analytics_middleware.counters import logger
from analytics_middleware.event import Event
from analytics_middleware.money import Money
from analytics_middleware.properties import MAX_PROPERTIES, clean_user_id, clean_value
from analytics_middleware.tracking import required, tracked

P = ParamSpec("P")


def _helper(function: Callable[P, None]) -> Callable[P, None]:
    """Make *function* safe to call from a view: what it raises is logged and counted, and does not reach the view."""

    @functools.wraps(function)
    def safely(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - see above
            context = current.get()
            if context is not None:
                counters = context.analytics.counters
                counters.add("bad_argument")
                name = function.__name__
                counters.log(f"helper.{name}", logger.warning, "analytics: %s() ignored: %s", name, clean_value(error))

    return safely


def _open_context() -> RequestContext | None:
    """Return the current request if its event can still be changed."""
    context = current.get()
    if context is None:
        return None
    if context.finished or not context.automatic:
        context.analytics.counters.add("late_helper")
        return None
    return context


@_helper
def set_revenue(amount: Any, currency: str | None = None) -> None:
    """Set the revenue of the current request's event: ``set_revenue("29.99", "GBP")``, or anything `Money.of` takes.

    The last call wins. A no-op outside a request.
    """
    if (context := _open_context()) is not None:
        context.revenue = Money.of(amount, currency)


@_helper
def add_property(key: str, value: Any) -> None:
    """Add a property to the current request's event, or update it.

    A 65th key is dropped and counted. A no-op outside a request.
    """
    if (context := _open_context()) is None:
        return
    properties = context.properties
    if properties is None:
        properties = context.properties = {}
    name = required(key, "property key")
    if name in properties or len(properties) < MAX_PROPERTIES:
        properties[name] = clean_value(value)
    else:
        context.analytics.counters.add("properties_dropped")


@_helper
def set_event_name(name: str) -> None:
    """Name the current request's event: it becomes a custom event. A no-op outside a request."""
    if (context := _open_context()) is not None:
        context.event_name = required(name, "event name")


@_helper
def set_action_name(name: str) -> None:
    """Name the action of the current request: its event becomes an action, unless `set_event_name` was called too.

    A no-op outside a request.
    """
    if (context := _open_context()) is not None:
        context.action_name = required(name, "action name")


@_helper
def set_user(user_id: str | int | UUID | None) -> None:
    """Set the user of the current request, which outranks the framework's auth; None means nobody.

    With ``visitor="cookie"``, None also replaces the visitor cookie of a user who was signed in. If a sign-out is
    noticed only by this call, make it before the session is cleared. A no-op outside a request.
    """
    if (context := _open_context()) is not None:
        if user_id is None and context.analytics.visitor_cookie is not None:
            context.sign_out()
        context.set_user_id = "" if user_id is None else clean_user_id(user_id)
        if context.given is not None:
            context.given.user_id = context.set_user_id or None


@_helper
def track(event: str | Event, properties: Mapping[str, Any] | None = None, **fields: Any) -> None:
    """Send a custom event from within a request, from which its empty fields are filled.

    *event* is a name or an `Event`; *fields* are further fields of a named event, such as ``revenue`` or
    ``user_id``. A no-op outside a request: there use `Analytics.track`.
    """
    context = current.get()
    if context is not None:
        analytics = context.analytics
        context.submit(tracked(event, properties, fields, context, analytics.counters), analytics)


@_helper
def identify(user_id: str | int | UUID, traits: Mapping[str, Any] | None = None, anon_id: str | None = None) -> None:
    """Merge *traits* into those known of *user_id*, and link *anon_id* to that user. A no-op outside a request."""
    context = current.get()
    if context is not None:
        context.analytics.identify(user_id, traits, anon_id)
