"""*Live*: who is on the site now, and what they do."""

import dataclasses
from datetime import datetime, timedelta
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.store.insights import Insights
from analytics_middleware.store.results import LatestEvent, Totals
from analytics_middleware.web.pages.scope import Scope, Span
from analytics_middleware.web.pages.series import active
from analytics_middleware.web.tables import Table, table

NOW: Final = timedelta(minutes=5)
"""Users with an event in this time count as present."""
LATELY: Final = timedelta(minutes=30)
"""The stream shows the events of this time."""
_SHOWN: Final = 30
_INSTANT: Final = timedelta(seconds=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The page. Filters apply; dates don't."""

    scope: Scope
    now: datetime
    visitors: int
    lately: Totals
    """Totals of the last half hour."""
    stream: tuple[LatestEvent, ...]
    tables: dict[str, Table]

    @property
    def news(self) -> tuple[Any, ...]:
        """What is compared to see whether the page has changed: all but the time."""
        return self.visitors, self.lately, self.stream, self.tables


def live(analytics: Analytics, scope: Scope, _asked: dict[str, Any], rows: int) -> Live:
    """Return the page."""
    insights, end = analytics.insights, scope.now + _INSTANT
    here = {**scope.within, "start": scope.now - NOW, "end": end}
    lately = scope.of(Span(start=scope.now - LATELY, end=end))
    stream = insights.latest(limit=max(_SHOWN, rows), **lately)
    columns = ("Time", "Event", "User", "Path", "Country", "Source", "Device")
    cells = [(e.time, e.name, e.user_id, e.path, e.country, e.source, e.device) for e in stream]
    return Live(
        scope=scope,
        now=scope.now,
        visitors=active(insights, scope, Span(start=scope.now - NOW, end=end)),
        lately=insights.overview(**lately),
        stream=tuple(stream),
        tables={
            "routes": _top(insights, here, "routes", "Pages now", "Route", "matched_pattern", rows),
            "sources": _top(insights, here, "sources", "Sources now", "Source", "source", rows),
            "countries": _top(insights, here, "countries", "Countries now", "Country", "country", rows),
            "stream": table("stream", "Events", columns, cells),
        },
    )


def _top(insights: Insights, here: dict[str, Any], name: str, title: str, column: str, field: str, rows: int) -> Table:
    found = insights.top_values(field, limit=rows, errors=True, **here)
    return table(name, title, (column, "Visitors"), [(each.key, each.users) for each in found], field)
