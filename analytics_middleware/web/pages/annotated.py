"""Annotations on a chart: each belongs to the point that its day lies in."""

from bisect import bisect_right
from collections.abc import Sequence

from analytics_middleware.store.calendar import day_start
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.pages.series import Point


def noted(points: Sequence[Point], scope: Scope) -> list[str]:
    """Return for each of *points* what people have noted of it, or nothing."""
    times = [point.time for point in points]
    texts: list[list[str]] = [[] for _ in points]
    for each in scope.annotations:
        at = bisect_right(times, day_start(each.day, scope.tz)) - 1
        if points:
            # A week or month begins before the first day that is looked at.
            texts[max(0, at)].append(each.text)
    return ["; ".join(each) for each in texts]
