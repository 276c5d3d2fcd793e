"""*Events*: a list of them; for one, how often it happened, by how many users, its properties and revenue."""

import dataclasses
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.web.pages.scope import Scope, Span
from analytics_middleware.web.pages.series import Point, active, revenue, series
from analytics_middleware.web.parameters import Parameter, text
from analytics_middleware.web.tables import Table, table

PARAMETERS: Final[tuple[Parameter, ...]] = (
    text("event", "Name of the event; without one, all of them are listed."),
    text("property", "A property whose values to count."),
)
_PROPERTIES: Final = 4
_SUGGESTED: Final = 50


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Revenue:
    """Revenue in one currency, in minor units."""

    currency: str
    total: int
    count: int
    users: int
    per_user: float | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """The page."""

    scope: Scope
    event: str
    count: int
    users: int
    revenue: tuple[Revenue, ...]
    points: tuple[Point, ...]
    before: tuple[Point, ...]
    properties: tuple[str, ...]
    """Names of the event's properties, the most frequent first."""
    tables: dict[str, Table]


def events(analytics: Analytics, scope: Scope, asked: dict[str, Any], rows: int) -> Events:
    """Return the page, its tables with at most *rows* rows."""
    insights = analytics.insights
    event: str = asked.get("event") or ""
    span, whole = Span(start=scope.start, end=scope.end), scope.before_whole
    points = series(insights, "events", scope, span, event)
    names = insights.top_values("name", limit=rows * 5, errors=True, **scope.asked)
    listed = table("events", "Events", ("Event", "Count", "Users"), [(e.key, e.count, e.users) for e in names])
    tables = {"events": dataclasses.replace(listed, page="events", field="event")}
    chosen: str | None = asked.get("property") or None
    known = [each.key for each in insights.property_names(event, limit=_SUGGESTED, **scope.asked)] if event else []
    for name in (chosen,) if chosen else known[:_PROPERTIES]:
        found = insights.top_properties(event, name, limit=rows, **scope.asked)
        cells = [(each.key, each.count) for each in found]
        tables[f"properties.{name}"] = table(
            f"properties.{name}", name, ("Value", "Count"), cells, f"properties.{name}"
        )
    return Events(
        scope=scope,
        event=event,
        count=sum(int(point.value or 0) for point in points),
        users=active(insights, scope, span, event),
        revenue=tuple(
            Revenue(currency=e.currency, total=e.total, count=e.count, users=e.users, per_user=e.per_user)
            for e in revenue(insights, scope, span, event)
        ),
        points=points,
        before=() if whole is None else series(insights, "events", scope, whole, event),
        properties=tuple(known if chosen is None or chosen in known else (*known, chosen)),
        tables=tables,
    )
