"""One figure over time: the points of a line chart."""

import dataclasses
from datetime import datetime
from typing import Final

from analytics_middleware.store import results as r
from analytics_middleware.store.calendar import buckets
from analytics_middleware.store.filters import Filter, QuestionError
from analytics_middleware.store.insights import Insights
from analytics_middleware.web.pages.scope import Scope, Span

METRICS: Final = {
    "visitors": "Visitors",
    "pageviews": "Page views",
    "sessions": "Sessions",
    "bounce_rate": "Bounce rate",
    "events": "Events",
}
"""The figures of the overview; ``revenue.CODE`` for each currency comes on top."""

PAGEVIEW: Final = Filter("type", "eq", "pageview")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """The figure of one bucket; no value if the bucket has not begun, or if there is no figure."""

    time: datetime
    value: float | int | None
    incomplete: bool = False


def active(insights: Insights, scope: Scope, span: Span, event: str = "") -> int:
    """Return how many users had an event called *event* (``""``: any)."""
    return insights.active_users(span.start, span.end, event, scope.tz, scope.where, bots=scope.bots).count


def revenue(insights: Insights, scope: Scope, span: Span, event: str = "") -> list[r.RevenueTotal]:
    """Return the revenue per currency."""
    return insights.revenue(span.start, span.end, scope.unit, event, scope.tz, scope.where, bots=scope.bots)


def series(insights: Insights, metric: str, scope: Scope, span: Span, event: str = "") -> tuple[Point, ...]:
    """Return *metric* in each bucket of *span*. If it counts events or revenue, only those of *event* are counted."""
    if metric.startswith("revenue."):
        return _revenue(insights, metric.removeprefix("revenue."), scope, span, event)
    if metric == "events":
        return _events(insights, scope, span, event)
    if metric not in METRICS:
        raise QuestionError("metric", f"{metric!r:.100} is not one of {', '.join(METRICS)} or revenue.CODE")
    return tuple(
        Point(
            time=each.time, value=None if each.time > scope.now else getattr(each, metric), incomplete=each.incomplete
        )
        for each in insights.trend(bucket=scope.unit, **scope.of(span))
    )


def _events(insights: Insights, scope: Scope, span: Span, event: str) -> tuple[Point, ...]:
    points = insights.volume(event, span.start, span.end, scope.unit, scope.tz, scope.where, bots=scope.bots)
    return tuple(
        Point(time=point.time, value=None if point.time > scope.now else point.count, incomplete=point.incomplete)
        for point in points
    )


def _revenue(insights: Insights, currency: str, scope: Scope, span: Span, event: str) -> tuple[Point, ...]:
    points = next((each.points for each in revenue(insights, scope, span, event) if each.currency == currency), None)
    if points is None:
        return tuple(
            Point(time=each.start, value=None if each.start > scope.now else 0, incomplete=each.end > scope.now)
            for each in buckets(span.start, span.end, scope.unit, scope.tz).all
        )
    return tuple(
        Point(time=each.time, value=None if each.time > scope.now else each.total, incomplete=each.incomplete)
        for each in points
    )
