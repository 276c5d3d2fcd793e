"""The embedded store: the events it keeps, the questions it answers, and its engines."""

from typing import TYPE_CHECKING

from analytics_middleware import lazy
from analytics_middleware.event import Record
from analytics_middleware.store.base import FirstSeen, Store
from analytics_middleware.store.filters import Filter, QuestionError
from analytics_middleware.store.identity import COOKIELESS_PREFIX
from analytics_middleware.store.insights import Insights
from analytics_middleware.store.memory import MemoryStore
from analytics_middleware.store.questions import (
    ActiveUsers,
    DashboardSummary,
    Funnel,
    Latest,
    Lifecycle,
    Overview,
    Paths,
    PropertyNames,
    Retention,
    RetentionMatrix,
    Revenue,
    Sessions,
    Stickiness,
    TopEvents,
    TopProperties,
    TopValues,
    Traits,
    Trend,
    Users,
    UserTimeline,
    Volume,
)
from analytics_middleware.store.results import (
    Active,
    Cell,
    Cohort,
    Count,
    Dashboard,
    FunnelStep,
    Group,
    LatestEvent,
    LifecyclePoint,
    Matrix,
    Path,
    RetentionRow,
    RevenuePoint,
    RevenueTotal,
    SessionSummary,
    StickinessPoint,
    Timeline,
    TimelineEvent,
    Totals,
    TrendPoint,
    UserRow,
    ValueCount,
    VolumePoint,
)

if TYPE_CHECKING:
    from analytics_middleware.store.clickhouse import ClickHouseStore
    from analytics_middleware.store.duckdb import DuckDBStore
    from analytics_middleware.store.hub import HubStore

__all__ = [
    "COOKIELESS_PREFIX",
    "Active",
    "ActiveUsers",
    "Cell",
    "ClickHouseStore",
    "Cohort",
    "Count",
    "Dashboard",
    "DashboardSummary",
    "DuckDBStore",
    "Filter",
    "FirstSeen",
    "Funnel",
    "FunnelStep",
    "Group",
    "HubStore",
    "Insights",
    "Latest",
    "LatestEvent",
    "Lifecycle",
    "LifecyclePoint",
    "Matrix",
    "MemoryStore",
    "Overview",
    "Path",
    "Paths",
    "PropertyNames",
    "QuestionError",
    "Record",
    "Retention",
    "RetentionMatrix",
    "RetentionRow",
    "Revenue",
    "RevenuePoint",
    "RevenueTotal",
    "SessionSummary",
    "Sessions",
    "Stickiness",
    "StickinessPoint",
    "Store",
    "Timeline",
    "TimelineEvent",
    "TopEvents",
    "TopProperties",
    "TopValues",
    "Totals",
    "Traits",
    "Trend",
    "TrendPoint",
    "UserRow",
    "UserTimeline",
    "Users",
    "ValueCount",
    "Volume",
    "VolumePoint",
]


# Imported on first use: their libraries are optional and slow to import.
__getattr__ = lazy.importer(globals(), {"ClickHouseStore": "clickhouse", "DuckDBStore": "duckdb", "HubStore": "hub"})
