"""*Funnels*: how many users did one step after the other, where they stopped, and how long it took."""

import dataclasses
from datetime import timedelta
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.store import questions as q
from analytics_middleware.store import results as r
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.parameters import Parameter, choice, span, text
from analytics_middleware.web.tables import Table, table

PARAMETERS: Final[tuple[Parameter, ...]] = (
    text("step", "Names of the events, one after the other.", "steps", repeated=True),
    span("window", "Time within which all steps must follow the first: 30m, 24h, 7d."),
    choice("order", "ordered: other events may lie between the steps; strict: none may; any: in any order.", q.ORDERS),
    text("breakdown", "A field: one funnel for each of its values."),
)
_OFFERED: Final = 40


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of a funnel."""

    event: str
    count: int
    conversion: float
    """The fraction of those who did the first step."""
    from_previous: float | None
    lost: int
    """How many did the step before but not this one."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Funnels:
    """The page."""

    scope: Scope
    steps: tuple[Step, ...]
    chosen: tuple[str, ...]
    window_seconds: float | None
    order: q.FunnelOrder
    breakdown: str
    median_seconds: float | None
    """The median time to convert."""
    events: tuple[str, ...]
    """Names to choose steps from."""
    tables: dict[str, Table]


def funnels(analytics: Analytics, scope: Scope, asked: dict[str, Any], _rows: int) -> Funnels:
    """Return the page."""
    insights = analytics.insights
    names = tuple(each.key for each in insights.top_events(limit=_OFFERED, **scope.asked))
    chosen = tuple(step for step in asked.get("steps", ()) if step)
    window: timedelta | None = asked.get("window")
    order: q.FunnelOrder = asked.get("order", "ordered")
    empty = Funnels(
        scope=scope,
        steps=(),
        chosen=chosen,
        window_seconds=None if window is None else window.total_seconds(),
        order=order,
        breakdown=asked.get("breakdown") or "",
        median_seconds=None,
        events=names,
        tables={},
    )
    if not chosen:
        return empty
    found = insights.funnel(
        chosen, scope.start, scope.end, window, order, tz=scope.tz, where=scope.where, bots=scope.bots
    )
    steps = _steps(found)
    cells = [(each.event, each.count, each.conversion, each.from_previous, each.lost) for each in steps]
    columns = ("Step", "Users", "Of all", "Of the step before", "Lost")
    tables = {"funnel": table("funnel", "Funnel", columns, cells)}
    if field := empty.breakdown:
        groups = insights.funnel(
            chosen, scope.start, scope.end, window, order,
            breakdown=field, tz=scope.tz, where=scope.where, bots=scope.bots,
        )  # fmt: skip
        by_value = [_group(each) for each in groups if each.answer[0].count]
        tables["breakdown"] = table("breakdown", f"By {field}", (field, *chosen, "Conversion"), by_value)
    median = found[-1].median_seconds
    return dataclasses.replace(empty, steps=steps, median_seconds=median, tables=tables)


def _steps(found: list[r.FunnelStep]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for at, each in enumerate(found):
        before = found[at - 1].count if at else None
        steps.append(
            Step(
                event=each.event,
                count=each.count,
                conversion=each.conversion,
                from_previous=each.count / before if before else None,
                lost=0 if before is None else before - each.count,
            )
        )
    return tuple(steps)


def _group(group: r.Group[list[r.FunnelStep]]) -> tuple[Any, ...]:
    key = "(all others)" if group.rest else "(none)" if group.key is None else group.key
    return (key, *(step.count for step in group.answer), group.answer[-1].conversion)
