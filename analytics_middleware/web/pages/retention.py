"""*Retention*: of the users who first came in a day, week or month, how many came back in the following ones."""

import dataclasses
from datetime import datetime
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.store import questions as q
from analytics_middleware.web.formats import bucket
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.parameters import Parameter, choice, text
from analytics_middleware.web.tables import Cell, Table, table

PARAMETERS: Final[tuple[Parameter, ...]] = (
    choice("every", "Length of a cohort's period. Default: depends on the range.", q.PERIODS),
    text("event", "Name of the event that makes a user a newcomer. Default: any."),
    text("return_event", "Name of the event that counts as coming back. Default: any."),
)
_COLUMNS: Final = 15
_OFFERED: Final = 40


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HeatCell:
    """How many of a cohort came back in one period, and which fraction of the cohort."""

    returned: int
    rate: float | None
    incomplete: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Cohort:
    """The newcomers of one period; a cell is None if its period has not begun."""

    time: datetime
    size: int
    cells: tuple[HeatCell | None, ...]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """The page."""

    scope: Scope
    every: q.Period
    event: str
    return_event: str
    cohorts: tuple[Cohort, ...]
    means: tuple[float | None, ...]
    """The mean rate of each period after, over the cohorts for which it has ended, weighted by their size."""
    events: tuple[str, ...]
    tables: dict[str, Table]


def retention(analytics: Analytics, scope: Scope, asked: dict[str, Any], _rows: int) -> Retention:
    """Return the page."""
    insights = analytics.insights
    days = (scope.last - scope.first).days + 1
    every: q.Period = asked.get("every") or ("day" if days <= 15 else "week" if days <= 190 else "month")
    event, return_event = asked.get("event") or "", asked.get("return_event") or ""
    matrix = insights.retention_matrix(
        period=every, event=event or None, return_event=return_event or None, **scope.asked
    )
    # Periods before the first newcomers are left out.
    first = next((at for at, each in enumerate(matrix.cohorts) if each.size), len(matrix.cohorts))
    known = matrix.cohorts[first:]
    columns = min(len(known), _COLUMNS)
    cohorts = tuple(
        Cohort(
            time=each.time,
            size=each.size,
            cells=tuple(
                None
                if cell is None
                else HeatCell(
                    returned=cell.returned,
                    rate=cell.returned / each.size if each.size else None,
                    incomplete=cell.incomplete,
                )
                for cell in each.cells[:columns]
            ),
        )
        for each in known
    )
    cells: list[list[Cell]] = [
        [
            bucket(each.time, every, scope.tz),
            each.size,
            *(None if cell is None else cell.returned for cell in each.cells),
        ]
        for each in cohorts
    ]
    names = (every.capitalize(), "Newcomers", *(f"{every} {number}" for number in range(columns)))
    return Retention(
        scope=scope,
        every=every,
        event=event,
        return_event=return_event,
        cohorts=cohorts,
        means=tuple(matrix.means[:columns]),
        events=tuple(each.key for each in insights.top_events(limit=_OFFERED, **scope.asked)),
        tables={"retention": table("retention", "Retention", names, cells)},
    )
