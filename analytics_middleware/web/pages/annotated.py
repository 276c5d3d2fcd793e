"""Annotations on a chart: each belongs to the point whose period includes its day."""

from bisect import bisect_right
from collections.abc import Sequence

from analytics_middleware.store.calendar import day_start
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.pages.series import Point


def noted(points: Sequence[Point], scope: Scope) -> list[str]:
    """Return the annotations of each of *points* as one text, empty if there are none."""
    times = [point.time for point in points]
    texts: list[list[str]] = [[] for _ in points]
    for each in scope.annotations:
        at = bisect_right(times, day_start(each.day, scope.tz)) - 1
        if points:
            # The first week or month may begin before the first day of the scope.
            texts[max(0, at)].append(each.text)
    return ["; ".join(each) for each in texts]
