"""Product analytics middleware for Django, Flask, Starlette and FastAPI."""

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
