"""*Saved*: the funnels, filters and annotations that people saved, and their share links."""

import dataclasses
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.store.filters import Filter
from analytics_middleware.web.formats import condition, instant
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.parameters import Parameter, text
from analytics_middleware.web.saved import Annotation, SavedFilter, SavedFunnel, saved_of
from analytics_middleware.web.share import Share, shares_of
from analytics_middleware.web.tables import Table, table

PARAMETERS: Final[tuple[Parameter, ...]] = (text("made", "The link that was made just now."),)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Saved:
    """The page. It does not contain the tokens that open links."""

    scope: Scope
    made: str
    funnels: tuple[SavedFunnel, ...]
    filters: tuple[SavedFilter, ...]
    annotations: tuple[Annotation, ...]
    """Latest first."""
    shares: tuple[Share, ...]
    tables: dict[str, Table]


def saved(analytics: Analytics, scope: Scope, asked: dict[str, Any], _rows: int) -> Saved:
    """Return the page."""
    found = saved_of(analytics)
    funnels, filters, shares = found.funnels(), found.filters(), shares_of(analytics).good()
    annotations = found.annotations()[::-1]
    return Saved(
        scope=scope,
        made=asked.get("made") or "",
        funnels=tuple(funnels),
        filters=tuple(filters),
        annotations=tuple(annotations),
        shares=tuple(shares),
        tables={
            "funnels": table(
                "funnels",
                "Saved funnels",
                ("Name", "Steps", "Within", "Order", "By"),
                [(each.name, " → ".join(each.steps), each.window, each.order, each.breakdown) for each in funnels],
            ),
            "filters": table(
                "filters",
                "Saved filters",
                ("Name", "Filters", "Period"),
                [(each.name, ", ".join(_conditions(each)), each.period) for each in filters],
            ),
            "annotations": table(
                "annotations",
                "Annotations",
                ("Day", "Text"),
                [(each.day.isoformat(), each.text) for each in annotations],
            ),
            "links": table(
                "links",
                "Share links",
                ("Page", "Name", "Made", "Good until"),
                [(each.page, each.name, instant(each.made), instant(each.until)) for each in shares],
            ),
        },
    )


def _conditions(each: SavedFilter) -> list[str]:
    return [condition(Filter.of(one)) for one in each.where]
