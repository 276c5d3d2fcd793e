"""*Live*: who is here now, and what they do as they do it."""

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
"""Who did something in this time is here."""
LATELY: Final = timedelta(minutes=30)
"""What happened in this time is in the stream."""
_SHOWN: Final = 30
_INSTANT: Final = timedelta(seconds=1)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """The page. Filters count; the dates do not."""

    scope: Scope
    now: datetime
    visitors: int
    lately: Totals
    """Of the last half hour."""
    stream: tuple[LatestEvent, ...]
    tables: dict[str, Table]

    @property
    def news(self) -> tuple[Any, ...]:
        """What makes it another page; that time passes does not."""
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
