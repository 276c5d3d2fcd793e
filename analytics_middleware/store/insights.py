"""Insights: the questions as a Python API, with defaults, dates and texts in place of exact parameters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, TypeVar, overload
from uuid import UUID

from analytics_middleware.durations import read_duration
from analytics_middleware.properties import Scalar, clean_user_id
from analytics_middleware.store import questions as q
from analytics_middleware.store import results as r
from analytics_middleware.store.base import Store
from analytics_middleware.store.calendar import Unit, day_start, local_day
from analytics_middleware.store.filters import Filter, QuestionError
from analytics_middleware.store.parameters import check_zone
from analytics_middleware.store.when import When, read_instant

Where = Iterable[Filter | Mapping[str, Any]]
Span = timedelta | str
T = TypeVar("T")


def _now() -> datetime:
    return datetime.now(UTC)


class Insights:
    """Asks a store questions; available as `analytics.insights`.

    *timezone* is the default zone of days and buckets; *clock* returns the current time.

    Every question takes `where` (filters that must all hold: `Filter` or ``{"field", "op", "value"}``) and `bots`
    (True includes bots' page views). A `start` or `end` is an aware datetime, a date (the beginning of that day in the
    zone), or either as RFC 3339 text. The range is ``[start, end)``, by default the last seven local days including
    today. A `breakdown` names a field; the answer is then a list of `Group`, one per value.

    Raises `QuestionError`, a `ValueError` that names the parameter, for an invalid question.
    """

    def __init__(self, store: Store, *, timezone: str = "UTC", clock: Callable[[], datetime] = _now) -> None:
        check_zone(timezone)
        self._store = store
        self.timezone = timezone
        self._clock = clock

    def now(self) -> datetime:
        """Return the current time, in UTC."""
        return self._clock().astimezone(UTC)

    @overload
    def volume(
        self, event: str = "", start: When | None = None, end: When | None = None, bucket: Unit = "day",
        tz: str | None = None, where: Where = (), breakdown: None = None, bots: bool = False,
    ) -> list[r.VolumePoint]: ...  # fmt: skip
    @overload
    def volume(
        self, event: str = "", start: When | None = None, end: When | None = None, bucket: Unit = "day",
        tz: str | None = None, where: Where = (), *, breakdown: str, bots: bool = False,
        breakdown_limit: int = 10,
    ) -> list[r.Group[list[r.VolumePoint]]]: ...  # fmt: skip
    def volume(
        self, event: str = "", start: When | None = None, end: When | None = None, bucket: Unit = "day",
        tz: str | None = None, where: Where = (), breakdown: str | None = None, bots: bool = False,
        breakdown_limit: int = 10,
    ) -> list[r.VolumePoint] | list[r.Group[list[r.VolumePoint]]]:  # fmt: skip
        """Events called *event* (``""``: all) per hour, day, week or month, including empty ones."""
        scope = self.range(start, end, tz, where, bots)
        question = q.Volume(**scope, event=event, bucket=bucket, breakdown=breakdown, breakdown_limit=breakdown_limit)
        return _answer(self._store.volume(question, now=self.now()), breakdown)

    def top_events(
        self, start: When | None = None, end: When | None = None, limit: int = 10,
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> list[r.Count]:  # fmt: skip
        """The most frequent event names; equal counts are ordered by name."""
        return self._store.top_events(q.TopEvents(**self.range(start, end, tz, where, bots), limit=limit))

    def top_properties(
        self, event: str, prop: str, start: When | None = None, end: When | None = None, limit: int = 10,
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> list[r.Count]:  # fmt: skip
        """The most frequent values of property *prop* of the events called *event*."""
        scope = self.range(start, end, tz, where, bots)
        return self._store.top_properties(q.TopProperties(**scope, event=event, prop=prop, limit=limit))

    def property_names(
        self, event: str = "", start: When | None = None, end: When | None = None, limit: int = 100,
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> list[r.Count]:  # fmt: skip
        """The names of the most frequent properties of the events called *event* (``""``: all)."""
        scope = self.range(start, end, tz, where, bots)
        return self._store.property_names(q.PropertyNames(**scope, event=event, limit=limit))

    def top_values(
        self, field: str, event: str = "", start: When | None = None, end: When | None = None, limit: int = 10,
        tz: str | None = None, where: Where = (), bots: bool = False, errors: bool = False,
    ) -> list[r.ValueCount]:  # fmt: skip
        """The values of *field* (``"matched_pattern"``, ``"source"``, ``"country"``, …) with the most users."""
        scope = self.range(start, end, tz, where, bots)
        return self._store.top_values(q.TopValues(**scope, field=field, event=event, limit=limit, errors=errors))

    def overview(
        self, start: When | None = None, end: When | None = None,
        tz: str | None = None, where: Where = (), bots: bool = False, timeout: Span = q.SESSION_TIMEOUT,
    ) -> r.Totals:  # fmt: skip
        """Visitors, page views, sessions, bounce rate and duration of the whole range."""
        scope = self.range(start, end, tz, where, bots)
        return self._store.overview(q.Overview(**scope, timeout=_span("timeout", timeout)))

    def trend(
        self, start: When | None = None, end: When | None = None, bucket: Unit = "day",
        tz: str | None = None, where: Where = (), bots: bool = False, timeout: Span = q.SESSION_TIMEOUT,
    ) -> list[r.TrendPoint]:  # fmt: skip
        """Visitors, page views, sessions and bounce rate per hour, day, week or month."""
        scope = self.range(start, end, tz, where, bots)
        question = q.Trend(**scope, bucket=bucket, timeout=_span("timeout", timeout))
        return self._store.trend(question, now=self.now())

    @overload
    def active_users(
        self, start: When | None = None, end: When | None = None, event: str = "",
        tz: str | None = None, where: Where = (), breakdown: None = None, bots: bool = False,
    ) -> r.Active: ...  # fmt: skip
    @overload
    def active_users(
        self, start: When | None = None, end: When | None = None, event: str = "",
        tz: str | None = None, where: Where = (), *, breakdown: str, bots: bool = False,
        breakdown_limit: int = 10,
    ) -> list[r.Group[r.Active]]: ...  # fmt: skip
    def active_users(
        self, start: When | None = None, end: When | None = None, event: str = "",
        tz: str | None = None, where: Where = (), breakdown: str | None = None, bots: bool = False,
        breakdown_limit: int = 10,
    ) -> r.Active | list[r.Group[r.Active]]:  # fmt: skip
        """How many distinct users had an event called *event* (``""``: any)."""
        scope = self.range(start, end, tz, where, bots)
        question = q.ActiveUsers(**scope, event=event, breakdown=breakdown, breakdown_limit=breakdown_limit)
        return _answer(self._store.active_users(question), breakdown)

    def dashboard_summary(
        self, days: int = 7, tz: str | None = None, where: Where = (), bots: bool = False
    ) -> r.Dashboard:
        """Events of the last *days* local days, users of today and of the last seven days, top events."""
        question = q.DashboardSummary(**self._scope(tz, where, bots), days=days)
        return self._store.dashboard_summary(question, now=self.now())

    @overload
    def funnel(
        self, steps: Sequence[str], start: When | None = None, end: When | None = None,
        window: Span | None = None, order: q.FunnelOrder = "ordered", breakdown: None = None,
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> list[r.FunnelStep]: ...  # fmt: skip
    @overload
    def funnel(
        self, steps: Sequence[str], start: When | None = None, end: When | None = None,
        window: Span | None = None, order: q.FunnelOrder = "ordered", *, breakdown: str,
        tz: str | None = None, where: Where = (), bots: bool = False,
        breakdown_limit: int = 10,
    ) -> list[r.Group[list[r.FunnelStep]]]: ...  # fmt: skip
    def funnel(
        self, steps: Sequence[str], start: When | None = None, end: When | None = None,
        window: Span | None = None, order: q.FunnelOrder = "ordered", breakdown: str | None = None,
        tz: str | None = None, where: Where = (), bots: bool = False,
        breakdown_limit: int = 10,
    ) -> list[r.FunnelStep] | list[r.Group[list[r.FunnelStep]]]:  # fmt: skip
        """How many users did *steps* (event names) one after the other, all within *window* of the first."""
        scope = self.range(start, end, tz, where, bots)
        question = q.Funnel(
            **scope, steps=_listed("steps", steps), window=_span("window", window), order=order,
            breakdown=breakdown, breakdown_limit=breakdown_limit,
        )  # fmt: skip
        return _answer(self._store.funnel(question), breakdown)

    def retention(
        self, start: When | None = None, offsets: Sequence[int] = (0, 1, 7),
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> list[r.RetentionRow]:  # fmt: skip
        """How many newcomers of the day of *start* came back the given numbers of calendar days later."""
        scope = self.range(start, None, tz, where, bots)
        del scope["end"]
        question = q.Retention(**scope, offsets=_listed("offsets", offsets))
        return self._store.retention(question, now=self.now())

    def retention_matrix(
        self, start: When | None = None, end: When | None = None, period: q.Period = "week",
        event: str | None = None, return_event: str | None = None, periods: int | None = None,
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> r.Matrix:  # fmt: skip
        """Cohorts by the period of the first ever *event*, and how many had a *return_event* in later periods."""
        question = q.RetentionMatrix(
            **self.range(start, end, tz, where, bots),
            period=period, event=event, return_event=return_event, periods=periods,
        )  # fmt: skip
        return self._store.retention_matrix(question, now=self.now())

    def paths(
        self, event: str, direction: Literal["after", "before"] = "after", depth: int = 3,
        start: When | None = None, end: When | None = None, limit: int = 10,
        tz: str | None = None, where: Where = (), bots: bool = False, timeout: Span = q.SESSION_TIMEOUT,
    ) -> list[r.Path]:  # fmt: skip
        """The most frequent sequences of event names after, or before, a session's first *event*."""
        scope = self.range(start, end, tz, where, bots)
        question = q.Paths(
            **scope, event=event, direction=direction, depth=depth, limit=limit, timeout=_span("timeout", timeout)
        )
        return self._store.paths(question)

    def lifecycle(
        self, start: When | None = None, end: When | None = None, period: q.Period = "day",
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> list[r.LifecyclePoint]:  # fmt: skip
        """New, returning, resurrecting and dormant users per period."""
        question = q.Lifecycle(**self.range(start, end, tz, where, bots), period=period)
        return self._store.lifecycle(question, now=self.now())

    def stickiness(
        self, start: When | None = None, end: When | None = None, within: Literal["week", "month"] = "week",
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> list[r.StickinessPoint]:  # fmt: skip
        """How many users were active on exactly one, two, … days of each week or month."""
        question = q.Stickiness(**self.range(start, end, tz, where, bots), within=within)
        return self._store.stickiness(question, now=self.now())

    @overload
    def sessions(
        self, start: When | None = None, end: When | None = None, tz: str | None = None, where: Where = (),
        breakdown: None = None, bots: bool = False, limit: int = 10, timeout: Span = q.SESSION_TIMEOUT,
    ) -> r.SessionSummary: ...  # fmt: skip
    @overload
    def sessions(
        self, start: When | None = None, end: When | None = None, tz: str | None = None, where: Where = (), *,
        breakdown: str, bots: bool = False, limit: int = 10, timeout: Span = q.SESSION_TIMEOUT,
        breakdown_limit: int = 10,
    ) -> list[r.Group[r.SessionSummary]]: ...  # fmt: skip
    def sessions(
        self, start: When | None = None, end: When | None = None, tz: str | None = None, where: Where = (),
        breakdown: str | None = None, bots: bool = False, limit: int = 10, timeout: Span = q.SESSION_TIMEOUT,
        breakdown_limit: int = 10,
    ) -> r.SessionSummary | list[r.Group[r.SessionSummary]]:  # fmt: skip
        """The sessions that begin in the range: bounces, durations, entry and exit pages (*limit* of each)."""
        scope = self.range(start, end, tz, where, bots)
        question = q.Sessions(
            **scope, timeout=_span("timeout", timeout), limit=limit,
            breakdown=breakdown, breakdown_limit=breakdown_limit,
        )  # fmt: skip
        return _answer(self._store.sessions(question), breakdown)

    @overload
    def revenue(
        self, start: When | None = None, end: When | None = None, bucket: Unit = "day", event: str = "",
        tz: str | None = None, where: Where = (), breakdown: None = None, bots: bool = False,
    ) -> list[r.RevenueTotal]: ...  # fmt: skip
    @overload
    def revenue(
        self, start: When | None = None, end: When | None = None, bucket: Unit = "day", event: str = "",
        tz: str | None = None, where: Where = (), *, breakdown: str, bots: bool = False,
        breakdown_limit: int = 10,
    ) -> list[r.Group[list[r.RevenueTotal]]]: ...  # fmt: skip
    def revenue(
        self, start: When | None = None, end: When | None = None, bucket: Unit = "day", event: str = "",
        tz: str | None = None, where: Where = (), breakdown: str | None = None, bots: bool = False,
        breakdown_limit: int = 10,
    ) -> list[r.RevenueTotal] | list[r.Group[list[r.RevenueTotal]]]:  # fmt: skip
        """Revenue per currency, in minor units, in total and per bucket."""
        scope = self.range(start, end, tz, where, bots)
        question = q.Revenue(**scope, event=event, bucket=bucket, breakdown=breakdown, breakdown_limit=breakdown_limit)
        return _answer(self._store.revenue(question, now=self.now()), breakdown)

    def users(
        self, of: q.Countable, cell: int | q.LifecycleState | None = None, at: datetime | None = None,
        limit: int | None = None,
    ) -> list[r.UserRow]:  # fmt: skip
        """The users behind one number of the question *of*, all of them by default; see `Users` for *cell* and *at*."""
        return self._store.users(q.Users(of=of, cell=cell, at=at, limit=limit))

    def timeline(
        self, user_id: str | int | UUID | None = None, anon_id: str | None = None, start: When | None = None,
        end: When | None = None, limit: int = 100, tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> r.Timeline:  # fmt: skip
        """The events, newest first, of the user called *user_id* or the visitor that *anon_id* belongs to."""
        scope = self.range(start, end, tz, where, bots)
        user = None if user_id is None else _user_id(user_id)
        return self._store.timeline(q.UserTimeline(**scope, user_id=user, anon_id=anon_id, limit=limit))

    def latest(
        self, event: str = "", start: When | None = None, end: When | None = None, limit: int = 100,
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> list[r.LatestEvent]:  # fmt: skip
        """The latest events called *event* (``""``: all) of all users, newest first."""
        scope = self.range(start, end, tz, where, bots)
        return self._store.latest(q.Latest(**scope, event=event, limit=limit))

    def traits(self, user_id: str | int | UUID) -> dict[str, Scalar]:
        """The traits of the user called *user_id*."""
        return self._store.traits(q.Traits(user_id=_user_id(user_id)))

    def _scope(self, tz: str | None, where: Where, bots: bool) -> dict[str, Any]:
        zone = self.timezone if tz is None else tz
        check_zone(zone)
        return {"tz": zone, "where": tuple(Filter.of(item) for item in _listed("where", where)), "bots": bots}

    def range(
        self, start: When | None = None, end: When | None = None,
        tz: str | None = None, where: Where = (), bots: bool = False,
    ) -> dict[str, Any]:  # fmt: skip
        """Return the keyword arguments of a question about a range: ``ActiveUsers(**insights.range())``."""
        scope = self._scope(tz, where, bots)
        zone: str = scope["tz"]
        if end is None:
            until = day_start(local_day(self.now(), zone) + timedelta(days=1), zone)
        else:
            until = read_instant("end", end, zone)
        if start is None:
            begin = day_start(local_day(until - timedelta(microseconds=1), zone) - timedelta(days=6), zone)
        else:
            begin = read_instant("start", start, zone)
        return {**scope, "start": begin, "end": until}


def _answer(groups: list[r.Group[T]], breakdown: str | None) -> T | list[r.Group[T]]:
    return groups[0].answer if breakdown is None else groups


def _listed(name: str, values: Iterable[T]) -> tuple[T, ...]:
    given: object = values
    if isinstance(given, (str, Mapping)) or not isinstance(given, Iterable):
        raise QuestionError(name, f"{given!r:.200} must be a list")
    return tuple(values)


def _user_id(user_id: object) -> str:
    try:
        return clean_user_id(user_id)
    except TypeError as error:
        raise QuestionError("user_id", str(error)) from None


def _span(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return read_duration(value)
    except ValueError as error:
        raise QuestionError(name, str(error)) from None
