"""What all pages have in common: dates, time zone, filters, and what to compare with."""

import dataclasses
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from analytics_middleware.store.calendar import Unit, day_start, local_day
from analytics_middleware.store.filters import OPERATORS, Filter, QuestionError, check_field
from analytics_middleware.store.insights import Insights
from analytics_middleware.store.parameters import check_year, check_zone
from analytics_middleware.timezones import zone
from analytics_middleware.web.formats import field_called
from analytics_middleware.web.parameters import Parameter, choice, filters, flag, text
from analytics_middleware.web.saved import Annotation

PERIODS: Final = {
    "today": "Today",
    "yesterday": "Yesterday",
    "7d": "Last 7 days",
    "30d": "Last 30 days",
    "90d": "Last 90 days",
    "365d": "Last 365 days",
    "month": "This month",
    "last-month": "Last month",
    "custom": "Custom",
}
"""The choices of the date picker. Periods up to now include today."""
COMMON: Final[tuple[Parameter, ...]] = (
    choice("period", "Which days. Default: 30d, or custom when from is given.", tuple(PERIODS)),
    text("from", "First day of a custom period."),
    text("to", "Last day of a custom period, which is part of it. Default: today."),
    text("tz", "IANA time zone of days. Default: the timezone setting."),
    choice("compare", "What to compare with. Default: previous.", ("previous", "none")),
    filters("where"),
    flag("bots", "Count page views of bots, too."),
)
"""The parameters of every page; links from page to page keep them."""
FILTER: Final[tuple[Parameter, ...]] = (
    text("filter_field", "A field to filter by, from the form; it becomes part of where."),
    choice("filter_op", "How to compare.", OPERATORS),
    text("filter_value", "With what."),
)

_DAYS: Final = {"today": 1, "yesterday": 1, "7d": 7, "30d": 30, "90d": 90, "365d": 365}
_MOST_DAYS: Final = 3660


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A range of instants, ``[start, end)``."""

    start: datetime
    end: datetime


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The dates and filters that a page is about."""

    period: str
    first: date
    last: date
    """The last day, included."""
    tz: str
    where: tuple[Filter, ...]
    bots: bool
    now: datetime
    start: datetime
    end: datetime
    unit: Unit
    """The length of a bucket on the time axis."""
    before: Span | None
    """What it is compared with: as many days before; if the period is not over, only up to the same time of day."""
    before_whole: Span | None
    """The same days in full, for the second line in the chart."""
    annotations: tuple[Annotation, ...] = ()
    """The annotations of these days."""

    @property
    def asked(self) -> dict[str, Any]:
        """Return the keywords of a question about this scope."""
        return {**self.of(Span(start=self.start, end=self.end))}

    @property
    def within(self) -> dict[str, Any]:
        """Return the same keywords without the range."""
        return {"tz": self.tz, "where": self.where, "bots": self.bots}

    def of(self, span: Span) -> dict[str, Any]:
        """Return the same keywords with *span* as the range."""
        return {**self.within, "start": span.start, "end": span.end}


def read_scope(insights: Insights, asked: dict[str, Any]) -> Scope:
    """Return the scope for the parameters in *asked*. Raises `QuestionError` for a wrong one."""
    tz: str = asked.get("tz") or insights.timezone
    check_zone(tz)
    now = insights.now()
    today = local_day(now, tz)
    period: str = asked.get("period") or ("custom" if asked.get("from") or asked.get("to") else "30d")
    first, last = _days(period, today, asked)
    start, end = day_start(first, tz), day_start(last + timedelta(days=1), tz)
    before = before_whole = None
    if asked.get("compare", "previous") == "previous":
        before, before_whole = _before(first, last, tz, now)
    return Scope(
        period=period,
        first=first,
        last=last,
        tz=tz,
        where=tuple(Filter.of(each) for each in asked.get("where", ())),
        bots=asked.get("bots", False),
        now=now,
        start=start,
        end=end,
        unit=_unit((last - first).days + 1),
        before=before,
        before_whole=before_whole,
    )


def _days(period: str, today: date, asked: dict[str, Any]) -> tuple[date, date]:
    if period == "custom":
        last = _date("to", asked.get("to"), today)
        first = _date("from", asked.get("from"), last - timedelta(days=29))
        if first > last:
            raise QuestionError("to", f"{last} must not be before from {first}")
        if (last - first).days >= _MOST_DAYS:
            raise QuestionError("from", f"{first} is more than {_MOST_DAYS} days before to")
        return first, last
    if period == "month":
        return today.replace(day=1), today
    if period == "last-month":
        last = today.replace(day=1) - timedelta(days=1)
        return last.replace(day=1), last
    last = today - timedelta(days=1) if period == "yesterday" else today
    return last - timedelta(days=_DAYS[period] - 1), last


def _date(name: str, value: str | None, default: date) -> date:
    if not value:
        return default
    try:
        return check_year(name, date.fromisoformat(value))
    except ValueError:
        raise QuestionError(name, f"{value!r:.100} is not a date such as 2025-03-01") from None


def _unit(days: int) -> Unit:
    if days <= 2:
        return "hour"
    if days <= 62:
        return "day"
    return "week" if days <= 400 else "month"


def _before(first: date, last: date, tz: str, now: datetime) -> tuple[Span | None, Span | None]:
    length = timedelta(days=(last - first).days + 1)
    if (first - length).year < 1970:
        return None, None
    whole = Span(start=day_start(first - length, tz), end=day_start(first, tz))
    start, end = day_start(first, tz), day_start(last + timedelta(days=1), tz)
    if start < now < end:
        # By local time of day, not by elapsed time: clocks may have changed in between.
        local = now.astimezone(zone(tz))
        until = datetime.combine(local_day(now, tz) - length, local.time(), local.tzinfo).astimezone(UTC)
        return Span(start=whole.start, end=min(until, whole.end)), whole
    return whole, whole


def added_filter(asked: dict[str, Any]) -> dict[str, Any] | None:
    """Return the filter in the form fields of *asked*, in the format of `where`; None if there is none."""
    field = field_called((asked.get("filter_field") or "").strip())
    if not field:
        return None
    check_field(field, "filter_field")
    op, value = asked.get("filter_op") or "eq", asked.get("filter_value") or ""
    made: dict[str, Any] = {"field": field, "op": op}
    if op in ("gt", "gte", "lt", "lte"):
        try:
            made["value"] = float(value)
        except ValueError:
            raise QuestionError("filter_value", f"{value!r:.100} is not a number") from None
    elif op in ("in", "not_in"):
        made["value"] = [each.strip() for each in value.split(",")]
    elif op not in ("exists", "not_exists"):
        made["value"] = value
    Filter.of(made)
    return made
