"""*Overview*: how many visitors came, what they did, where they came from and with which devices."""

import dataclasses
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.store.insights import Insights
from analytics_middleware.store.results import Totals
from analytics_middleware.web.pages.scope import Scope, Span
from analytics_middleware.web.pages.series import METRICS, PAGEVIEW, Point, revenue, series
from analytics_middleware.web.parameters import Parameter, text
from analytics_middleware.web.tables import Table, table

PARAMETERS: Final[tuple[Parameter, ...]] = (
    text("metric", "The figure in the chart: visitors, pageviews, sessions, bounce_rate, events or revenue.CODE."),
)

_TABLES: Final = (
    # Name, title, field, heading of the values, heading of the counts.
    ("pages", "Pages", "matched_pattern", "Route", "Views"),
    ("sources", "Sources", "source", "Source", "Events"),
    ("channels", "Channels", "channel", "Channel", "Events"),
    ("referrers", "Referrers", "referrer", "Referrer", "Events"),
    ("countries", "Countries", "country", "Country", "Events"),
    ("devices", "Devices", "device", "Device", "Events"),
    ("browsers", "Browsers", "browser", "Browser", "Events"),
    ("events", "Events", "name", "Event", "Events"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    """One figure of the whole period, compared with the period before."""

    metric: str
    label: str
    value: float | int | None
    """Rates are fractions, money is in minor units."""
    before: float | int | None = None
    change: float | None = None
    """As a fraction of the figure before; for rates, the difference."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The page."""

    scope: Scope
    metric: str
    tiles: tuple[Tile, ...]
    points: tuple[Point, ...]
    before: tuple[Point, ...]
    bots: int
    """Page views of bots that were left out."""
    cookieless: int
    """Cookieless visitors, who count anew each day."""
    tables: dict[str, Table]


def overview(analytics: Analytics, scope: Scope, asked: dict[str, Any], rows: int) -> Overview:
    """Return the page, its tables with at most *rows* rows."""
    insights = analytics.insights
    metric: str = asked.get("metric") or "visitors"
    totals, now = _figures(insights, scope, Span(start=scope.start, end=scope.end))
    then = {} if scope.before is None else _figures(insights, scope, scope.before)[1]
    whole = scope.before_whole
    return Overview(
        scope=scope,
        metric=metric,
        tiles=tuple(_tile(each, now.get(each), then.get(each), bool(then)) for each in _metrics(now, then)),
        points=series(insights, metric, scope, Span(start=scope.start, end=scope.end)),
        before=() if whole is None else series(insights, metric, scope, whole),
        bots=totals.bots,
        cookieless=totals.cookieless,
        tables={each[0]: _table(insights, scope, rows, *each) for each in _TABLES},
    )


def _figures(insights: Insights, scope: Scope, span: Span) -> tuple[Totals, dict[str, float | int | None]]:
    totals = insights.overview(**scope.of(span))
    figures: dict[str, float | int | None] = {name: getattr(totals, name) for name in METRICS}
    for each in revenue(insights, scope, span):
        figures[f"revenue.{each.currency}"] = each.total
    return totals, figures


def _metrics(now: dict[str, Any], then: dict[str, Any]) -> list[str]:
    money = sorted(name for name in {**now, **then} if name.startswith("revenue."))
    return [*METRICS, *money]


def _tile(metric: str, value: float | int | None, before: float | int | None, compared: bool) -> Tile:
    money = metric.startswith("revenue.")
    if money:
        value, before = value or 0, (before or 0) if compared else None
    change = None
    if compared and value is not None and before is not None:
        if metric == "bounce_rate":
            change = value - before
        elif before > 0:
            change = (value - before) / before
    label = f"Revenue {metric.removeprefix('revenue.')}" if money else METRICS[metric]
    return Tile(metric=metric, label=label, value=value, before=before, change=change)


def _table(
    insights: Insights, scope: Scope, rows: int, name: str, title: str, field: str, first: str, counted: str
) -> Table:
    asked, filtered = scope.asked, {each.field for each in scope.where}
    # Errors are left out, unless somebody asks for them.
    failed = "status_code" in filtered
    if name == "pages":
        # Only page views: forms that were sent have routes, too.
        asked["where"] = (*scope.where, PAGEVIEW)
        if failed or "matched_pattern" in filtered:
            # Within a route its paths tell more, and what was not found has no route.
            field, first = "path", "Path"
    found = insights.top_values(field, limit=rows, errors=failed, **asked)
    cells = [(each.key, each.users, each.count) for each in found]
    return table(name, title, (first, "Visitors", counted), cells, field)
