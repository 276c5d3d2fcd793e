"""The days that a report is about, and those that it compares them with."""

import dataclasses
from datetime import date, timedelta
from typing import Final

from analytics_middleware.store.calendar import day_start
from analytics_middleware.store.insights import Insights, Where
from analytics_middleware.web.pages.scope import Scope, Span, read_scope

_DAY: Final = timedelta(days=1)
LENGTHS: Final = ("day", "week", "month")
"""The calendar periods that reports can cover; weeks begin on Monday."""


def whole_period(insights: Insights, length: str, where: Where = ()) -> Scope:
    """Return the last complete *length*, one of `LENGTHS`, and the one before, filtered by *where*.

    Raises `QuestionError` for an invalid filter.
    """
    today = _today(insights)
    if length == "day":
        return between(insights, (today - _DAY).isoformat(), (today - _DAY).isoformat(), where)
    if length == "week":
        monday = today - timedelta(days=today.weekday())
        return between(insights, (monday - timedelta(days=7)).isoformat(), (monday - _DAY).isoformat(), where)
    last = today.replace(day=1) - _DAY
    scope = between(insights, last.replace(day=1).isoformat(), last.isoformat(), where)
    # The month before may have another number of days.
    earlier = last.replace(day=1) - _DAY
    before = Span(start=day_start(earlier.replace(day=1), scope.tz), end=scope.start)
    return dataclasses.replace(scope, before=before, before_whole=before)


def between(insights: Insights, first: str | None, last: str | None, where: Where = ()) -> Scope:
    """Return the days from *first* to *last* (default: yesterday), both included, and as many days before.

    Raises `QuestionError` for an invalid date, range of dates or filter.
    """
    end = last or (_today(insights) - _DAY).isoformat()
    return read_scope(insights, {"period": "custom", "from": first, "to": end, "where": where})


def _today(insights: Insights) -> date:
    return read_scope(insights, {"period": "today"}).last
