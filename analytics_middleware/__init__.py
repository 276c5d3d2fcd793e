"""Product analytics middleware for Django, Flask, Starlette and FastAPI."""

from typing import TYPE_CHECKING

from analytics_middleware import lazy

if TYPE_CHECKING:
    from analytics_middleware.analytics import Analytics
    from analytics_middleware.errors import AnalyticsError, ConfigurationError, DeliveryError, MissingExtraError
    from analytics_middleware.event import Event, EventType
    from analytics_middleware.helpers import (
        add_property,
        identify,
        set_action_name,
        set_event_name,
        set_revenue,
        set_user,
        track,
    )
    from analytics_middleware.money import Money
    from analytics_middleware.settings import Settings

__version__ = "0.1.0"

__all__ = [
    "Analytics",
    "AnalyticsError",
    "ConfigurationError",
    "DeliveryError",
    "Event",
    "EventType",
    "MissingExtraError",
    "Money",
    "Settings",
    "add_property",
    "identify",
    "set_action_name",
    "set_event_name",
    "set_revenue",
    "set_user",
    "track",
]

_MODULES = {
    "Analytics": "analytics",
    "AnalyticsError": "errors",
    "ConfigurationError": "errors",
    "DeliveryError": "errors",
    "Event": "event",
    "EventType": "event",
    "MissingExtraError": "errors",
    "Money": "money",
    "Settings": "settings",
    "add_property": "helpers",
    "identify": "helpers",
    "set_action_name": "helpers",
    "set_event_name": "helpers",
    "set_revenue": "helpers",
    "set_user": "helpers",
    "track": "helpers",
}


__getattr__ = lazy.importer(globals(), _MODULES)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
