"""Questions that count events and their users."""

from datetime import timedelta

from analytics_middleware.store.calendar import Unit
from analytics_middleware.store.filters import QuestionError, check_field
from analytics_middleware.store.parameters import (
    MAX_LIMIT,
    SESSION_TIMEOUT,
    EventQuestion,
    Question,
    RangeQuestion,
    check_breakdown,
    check_bucket,
    check_event,
    check_int,
    check_span,
)


class Volume(EventQuestion, frozen=True, kw_only=True):
    """Events called *event* (``""``: all) per bucket, including buckets without events."""

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
        check_event("event", self.event)
        if not self.prop or not isinstance(self.prop, str):
            raise QuestionError("prop", f"{self.prop!r} must be a property's name")
        check_int("limit", self.limit, 1, MAX_LIMIT)


class PropertyNames(EventQuestion, frozen=True, kw_only=True):
    """The names of the most frequent properties of the events called *event* (``""``: all)."""

    limit: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("limit", self.limit, 1, MAX_LIMIT)


class TopValues(EventQuestion, frozen=True, kw_only=True):
    """The values of any *field* with the most users: pages, sources, countries, devices.

    Page views answered with an error are included only with *errors*.
    """

    field: str
    errors: bool = False
    limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_field(self.field, "field")
        check_int("limit", self.limit, 1, MAX_LIMIT)


class Overview(RangeQuestion, frozen=True, kw_only=True):
    """The totals of an overview page: visitors, page views, sessions."""

    timeout: timedelta = SESSION_TIMEOUT

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("timeout", self.timeout)


class Trend(Overview, frozen=True, kw_only=True):
    """The figures of the overview per bucket."""

    bucket: Unit = "day"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bucket(self, self.bucket)


class ActiveUsers(EventQuestion, frozen=True, kw_only=True):
    """Distinct users with an event called *event* (``""``: any)."""

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


class Revenue(EventQuestion, frozen=True, kw_only=True):
    """Revenue per currency and bucket, of the events called *event* (``""``: all)."""

    bucket: Unit = "day"
    breakdown: str | None = None
    breakdown_limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bucket(self, self.bucket)
        check_breakdown(self.breakdown, self.breakdown_limit)
