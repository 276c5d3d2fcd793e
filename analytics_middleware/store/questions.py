"""Questions: the typed parameters of everything a store can be asked.

A question is checked when it is made: whatever exists can be answered. Errors are `QuestionError`, a `ValueError`
that names the parameter and its value. Instants are aware; they are kept in UTC.
"""

from datetime import datetime, timedelta
from typing import Final, Literal, get_args

import msgspec

from analytics_middleware.store.calendar import Unit
from analytics_middleware.store.filters import QuestionError, check_field
from analytics_middleware.store.parameters import (
    SHORTEST,
    Question,
    RangeQuestion,
    check_breakdown,
    check_bucket,
    check_choice,
    check_int,
    check_span,
    set_field,
    set_instants,
)

Period = Literal["day", "week", "month"]
FunnelOrder = Literal["ordered", "strict", "any"]
LifecycleState = Literal["new", "returning", "resurrecting", "dormant"]

PERIODS: Final[tuple[str, ...]] = get_args(Period)
ORDERS: Final[tuple[str, ...]] = get_args(FunnelOrder)
STATES: Final[tuple[LifecycleState, ...]] = get_args(LifecycleState)
SESSION_TIMEOUT: Final = timedelta(minutes=30)
MAX_LIMIT: Final = 10_000
MAX_STEPS: Final = 20


class Volume(RangeQuestion, frozen=True, kw_only=True):
    """Events called *event* (``""``: all) per bucket, buckets without events included."""

    event: str = ""
    bucket: Unit = "day"
    breakdown: str | None = None
    breakdown_limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bucket(self, self.bucket)
        check_breakdown(self.breakdown, self.breakdown_limit)


class TopEvents(RangeQuestion, frozen=True, kw_only=True):
    """The most frequent event names."""

    limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("limit", self.limit, 1, MAX_LIMIT)


class TopProperties(RangeQuestion, frozen=True, kw_only=True):
    """The most frequent values of property *prop* of the events called *event* (``""``: all)."""

    event: str
    prop: str
    limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.prop or not isinstance(self.prop, str):
            raise QuestionError("prop", f"{self.prop!r} must be a property's name")
        check_int("limit", self.limit, 1, MAX_LIMIT)


class TopValues(RangeQuestion, frozen=True, kw_only=True):
    """The values of any *field* with the most users: pages, sources, countries, devices.

    Page views answered with an error are left out unless *errors*.
    """

    field: str
    event: str = ""
    errors: bool = False
    limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self.field, "field")
        check_int("limit", self.limit, 1, MAX_LIMIT)


class Overview(RangeQuestion, frozen=True, kw_only=True):
    """The figures above an overview page: visitors, page views, sessions."""

    timeout: timedelta = SESSION_TIMEOUT

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("timeout", self.timeout)


class ActiveUsers(RangeQuestion, frozen=True, kw_only=True):
    """Distinct users with an event called *event* (``""``: any)."""

    event: str = ""
    breakdown: str | None = None
    breakdown_limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_breakdown(self.breakdown, self.breakdown_limit)


class DashboardSummary(Question, frozen=True, kw_only=True):
    """The last *days* local days, including today."""

    days: int = 7
    limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("days", self.days, 1, 3660)
        check_int("limit", self.limit, 1, MAX_LIMIT)


class Funnel(RangeQuestion, frozen=True, kw_only=True):
    """How many users did one step after the other; *steps* are event names."""

    steps: tuple[str, ...]
    window: timedelta | None = None
    order: FunnelOrder = "ordered"
    breakdown: str | None = None
    breakdown_limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        steps: object = self.steps
        if isinstance(steps, str):
            raise QuestionError("steps", f"{self.steps!r} must be a list of event names")
        set_field(self, "steps", tuple(self.steps))
        if not 1 <= len(self.steps) <= MAX_STEPS:
            raise QuestionError("steps", f"must be 1 to {MAX_STEPS} event names, not {len(self.steps)}")
        for step in self.steps:
            if not step or not isinstance(step, str):
                raise QuestionError("steps", f"{step!r} must be an event's name")
        if self.window is not None:
            check_span("window", self.window)
        check_choice("order", self.order, ORDERS)
        check_breakdown(self.breakdown, self.breakdown_limit)


class Retention(Question, frozen=True, kw_only=True):
    """How many of the newcomers of the local day of *start* have an event so many calendar days later."""

    start: datetime
    offsets: tuple[int, ...] = (0, 1, 7)

    def __post_init__(self) -> None:
        super().__post_init__()
        set_instants(self, "start")
        set_field(self, "offsets", tuple(self.offsets))
        if not 1 <= len(self.offsets) <= 366:
            raise QuestionError("offsets", f"must be 1 to 366 numbers of days, not {len(self.offsets)}")
        for offset in self.offsets:
            check_int("offsets", offset, 0, 3660)


class RetentionMatrix(RangeQuestion, frozen=True, kw_only=True):
    """Cohorts by the period of their first ever *event* (None: any), and who had a *return_event* in later ones.

    The cohorts are those of every period that the range touches. *periods* is the number of cells of each, by
    default the number of cohorts.
    """

    period: Period = "week"
    event: str | None = None
    return_event: str | None = None
    periods: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("period", self.period, PERIODS)
        if (self.end - self.start).days > 500 * SHORTEST[self.period]:
            raise QuestionError("period", f"{self.period!r} makes more than 500 cohorts of this range")
        if self.periods is not None:
            check_int("periods", self.periods, 1, 500)


class Paths(RangeQuestion, frozen=True, kw_only=True):
    """The most frequent sequences of *depth* event names after, or before, a session's first *event*."""

    event: str
    direction: Literal["after", "before"] = "after"
    depth: int = 3
    limit: int = 10
    timeout: timedelta = SESSION_TIMEOUT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.event:
            raise QuestionError("event", f"{self.event!r} must be an event's name")
        check_choice("direction", self.direction, ("after", "before"))
        check_int("depth", self.depth, 1, 20)
        check_int("limit", self.limit, 1, MAX_LIMIT)
        check_span("timeout", self.timeout)


class Lifecycle(RangeQuestion, frozen=True, kw_only=True):
    """New, returning, resurrecting and dormant users of every period that the range touches."""

    period: Period = "day"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("period", self.period, PERIODS)


class Stickiness(RangeQuestion, frozen=True, kw_only=True):
    """On how many days of each week or month that the range touches users were active."""

    period: Literal["day"] = "day"
    within: Literal["week", "month"] = "week"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("period", self.period, ("day",))
        check_choice("within", self.within, ("week", "month"))


class Sessions(RangeQuestion, frozen=True, kw_only=True):
    """The sessions that begin in the range; with filters, those with at least one event that passes them."""

    timeout: timedelta = SESSION_TIMEOUT
    limit: int = 10
    breakdown: str | None = None
    breakdown_limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("timeout", self.timeout)
        check_int("limit", self.limit, 1, MAX_LIMIT)
        check_breakdown(self.breakdown, self.breakdown_limit)


class Revenue(RangeQuestion, frozen=True, kw_only=True):
    """Revenue per currency and bucket, of the events called *event* (``""``: all)."""

    event: str = ""
    bucket: Unit = "day"
    breakdown: str | None = None
    breakdown_limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bucket(self, self.bucket)
        check_breakdown(self.breakdown, self.breakdown_limit)


Countable = ActiveUsers | Funnel | Retention | RetentionMatrix | Lifecycle | Stickiness


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """The users behind one number of another question, as many as it says.

    *cell* picks the number: the index of a funnel's step, an offset of a retention, the *k* of a matrix's cell,
    the state of a lifecycle's point, the number of days of a stickiness; nothing for active users. *at* is the
    time of the cohort or point, for the three questions that have them. *limit* None gives all of them.
    """

    of: Countable
    cell: int | LifecycleState | None = None
    at: datetime | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.of, Countable):
            raise QuestionError("of", f"{type(self.of).__name__} has no users behind its numbers")
        if isinstance(self.of, (ActiveUsers, Funnel)) and self.of.breakdown is not None:
            raise QuestionError("of", f"breakdown {self.of.breakdown!r} must be left out; filter with where instead")
        self._check_cell()
        if isinstance(self.of, (RetentionMatrix, Lifecycle, Stickiness)):
            if self.at is None:
                raise QuestionError("at", f"must be the time of a point of {type(self.of).__name__}")
            set_instants(self, "at")
        elif self.at is not None:
            raise QuestionError("at", f"{self.at} must be left out for {type(self.of).__name__}")
        if self.limit is not None:
            check_int("limit", self.limit, 1, MAX_LIMIT)

    def _check_cell(self) -> None:
        match self.of:
            case ActiveUsers():
                if self.cell is not None:
                    raise QuestionError("cell", f"{self.cell!r} must be left out for ActiveUsers")
            case Funnel():
                check_int("cell", self.cell, 0, len(self.of.steps) - 1)
            case Retention():
                if self.cell not in self.of.offsets:
                    raise QuestionError("cell", f"{self.cell!r} is not one of offsets {self.of.offsets}")
            case RetentionMatrix():
                check_int("cell", self.cell, 0, 500)
            case Stickiness():
                check_int("cell", self.cell, 1, 31)
            case Lifecycle():
                check_choice("cell", self.cell, STATES)


class UserTimeline(RangeQuestion, frozen=True, kw_only=True):
    """What one user did, newest first: the user called *user_id*, or the one that *anon_id* belongs to."""

    user_id: str | None = None
    anon_id: str | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.user_id is None) == (self.anon_id is None):
            raise QuestionError("user_id", f"{self.user_id!r} or anon_id {self.anon_id!r} must be given, one of them")
        check_int("limit", self.limit, 1, MAX_LIMIT)


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the user called *user_id*."""

    user_id: str
