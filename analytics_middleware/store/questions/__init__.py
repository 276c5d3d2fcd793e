"""Questions: everything a store can be asked, with typed parameters.

A question is validated on construction, so every existing question can be answered. Errors are `QuestionError`, a
`ValueError` that names the parameter and its value. Instants are aware and converted to UTC.
"""

from analytics_middleware.store.parameters import MAX_LIMIT, SESSION_TIMEOUT
from analytics_middleware.store.questions.counting import (
    ActiveUsers,
    DashboardSummary,
    Overview,
    PropertyNames,
    Revenue,
    TopEvents,
    TopProperties,
    TopValues,
    Trend,
    Volume,
)
from analytics_middleware.store.questions.journeys import ORDERS, Funnel, FunnelOrder, Paths, Sessions
from analytics_middleware.store.questions.people import Countable, Latest, Traits, Users, UserTimeline
from analytics_middleware.store.questions.returning import (
    PERIODS,
    STATES,
    Lifecycle,
    LifecycleState,
    Period,
    Retention,
    RetentionMatrix,
    Stickiness,
)

__all__ = [
    "MAX_LIMIT",
    "ORDERS",
    "PERIODS",
    "SESSION_TIMEOUT",
    "STATES",
    "ActiveUsers",
    "Countable",
    "DashboardSummary",
    "Funnel",
    "FunnelOrder",
    "Latest",
    "Lifecycle",
    "LifecycleState",
    "Overview",
    "Paths",
    "Period",
    "PropertyNames",
    "Retention",
    "RetentionMatrix",
    "Revenue",
    "Sessions",
    "Stickiness",
    "TopEvents",
    "TopProperties",
    "TopValues",
    "Traits",
    "Trend",
    "UserTimeline",
    "Users",
    "Volume",
]
