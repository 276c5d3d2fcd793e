"""Results: the answers of a store. Fields may be added, never renamed.

Counts of users include cookieless visitors, once for each day; `cookieless` says how many of them there are.
`incomplete` marks a bucket, day or cell that is not over yet. Times are aware and UTC; a bucket's is its beginning.
"""

from datetime import datetime
from typing import Annotated, Any, Generic, Self, TypeVar

import msgspec

from analytics_middleware.properties import Scalar

T = TypeVar("T")
Instant = Annotated[datetime, msgspec.Meta(tz=True)]
"""Has a time zone, which the OpenAPI document says, too: clients made from it read times as such."""


class Result(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all results. The JSON form omits fields that have their default."""


class Group(Result, Generic[T], frozen=True, kw_only=True, omit_defaults=True):
    """The answer for one value of a breakdown.

    The most frequent values come first. Then, if there are more, the rest under ``"other"`` with `rest` true, and last
    the events without the field under None. Without a breakdown there is one group with key None.
    """

    key: str | None
    answer: T
    rest: bool = False


class VolumePoint(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The number of events in one bucket."""

    time: Instant
    count: int
    incomplete: bool = False


class Count(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How often a value occurred."""

    key: str
    count: int


class ValueCount(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How often a value occurred, and for how many users."""

    key: str
    count: int
    users: int
    cookieless: int = 0


class Totals(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The totals of an overview page.

    `pageviews` excludes those answered with an error, which `errors` counts. `bots` is how many bot page views the
    question excluded. Durations are in seconds, rates are fractions; both are None without a session.
    """

    visitors: int
    pageviews: int
    events: int
    sessions: int
    bounce_rate: float | None
    mean_duration: float | None
    errors: int = 0
    bots: int = 0
    cookieless: int = 0


class TrendPoint(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The figures of an overview for one bucket. Sessions count where they begin."""

    time: Instant
    visitors: int
    pageviews: int
    events: int
    sessions: int
    bounce_rate: float | None
    errors: int = 0
    cookieless: int = 0
    incomplete: bool = False


class Active(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How many users were active."""

    count: int
    cookieless: int = 0


class Dashboard(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The summary: events of the last days, users of today and of the last seven days, both including today."""

    total_events: int
    dau: int
    wau: int
    top_events: list[Count]
    dau_cookieless: int = 0
    wau_cookieless: int = 0
    bots: int = 0


class FunnelStep(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How many users got at least this far, and their fraction of those who entered.

    `median_seconds`, on the last step only, is the median time to convert, None if nobody did.
    """

    event: str
    count: int
    conversion: float
    median_seconds: float | None = None
    cookieless: int = 0


class RetentionRow(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How many of a day's newcomers had an event the given number of calendar days later."""

    offset_days: int
    returned: int
    incomplete: bool = False


class Cell(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How many of a cohort returned in one period."""

    returned: int
    incomplete: bool = False


class Cohort(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The newcomers of one period. Cell *k* is the *k*-th following period, None if it has not begun."""

    time: Instant
    size: int
    cells: list[Cell | None]
    incomplete: bool = False


def _mean(cohorts: list[Cohort], k: int) -> float | None:
    complete = [
        (cohort.size, cell) for cohort in cohorts if (cell := cohort.cells[k]) is not None and not cell.incomplete
    ]
    size = sum(size for size, _ in complete)
    return sum(cell.returned for _, cell in complete) / size if size else None


class Matrix(Result, frozen=True, kw_only=True, omit_defaults=True):
    """Cohorts, and for each *k* the fraction that returned, over all cohorts whose cell *k* is complete."""

    cohorts: list[Cohort]
    means: list[float | None]

    @classmethod
    def of(cls, cohorts: list[Cohort], width: int) -> Self:
        """Return the matrix of *cohorts* with *width* cells each."""
        return cls(cohorts=cohorts, means=[_mean(cohorts, k) for k in range(width)])


class Path(Result, frozen=True, kw_only=True, omit_defaults=True):
    """A sequence of event names in order of time, and the number of sessions it occurred in."""

    events: list[str]
    count: int


class LifecyclePoint(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The users of one period: the active ones are `new`, `returning` or `resurrecting`; `dormant` ones stayed away."""

    time: Instant
    new: int
    returning: int
    resurrecting: int
    dormant: int
    incomplete: bool = False


class StickinessPoint(Result, frozen=True, kw_only=True, omit_defaults=True):
    """How many users were active on exactly one, two, … days of one week or month: ``users[n - 1]``."""

    time: Instant
    users: list[int]
    incomplete: bool = False


class SessionSummary(Result, frozen=True, kw_only=True, omit_defaults=True):
    """Sessions that began in the range. Durations are in seconds, None without a session."""

    count: int
    bounces: int
    bounce_rate: float | None
    mean_duration: float | None
    median_duration: float | None
    entry_pages: list[Count]
    exit_pages: list[Count]
    cookieless: int = 0
    """The number of sessions of cookieless visitors."""


class RevenuePoint(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The revenue of one bucket, in minor units."""

    time: Instant
    total: int
    count: int
    incomplete: bool = False


class RevenueTotal(Result, frozen=True, kw_only=True, omit_defaults=True):
    """The revenue in one currency, in minor units. `users` are those with at least one amount above zero."""

    currency: str
    total: int
    count: int
    users: int
    per_user: float | None
    points: list[RevenuePoint]
    cookieless: int = 0


class UserRow(Result, frozen=True, kw_only=True, omit_defaults=True):
    """One user behind a number: a `user_id`, or the `anon_id` of a visitor who has none."""

    user_id: str | None
    anon_id: str | None
    first_seen: Instant
    last_seen: Instant
    traits: dict[str, Scalar] = msgspec.field(default_factory=dict[str, Scalar])
    day: Instant | None = None
    """For a cookieless visitor in a number that counts each day separately: the beginning of that day."""


class TimelineEvent(Result, frozen=True, kw_only=True, omit_defaults=True):
    """One event of a user."""

    event_id: str
    time: Instant
    name: str
    type: str
    path: str | None = None
    matched_pattern: str | None = None
    referrer: str | None = None
    status_code: int | None = None
    properties: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])
    currency: str | None = None
    revenue: int | None = None
    """In minor units."""


class LatestEvent(TimelineEvent, frozen=True, kw_only=True, omit_defaults=True):
    """One event of anybody; `user_id` is the user that it belongs to, if any."""

    user_id: str | None = None
    country: str | None = None
    source: str | None = None
    device: str | None = None


class Timeline(Result, frozen=True, kw_only=True, omit_defaults=True):
    """A user, None if unknown, and their events, newest first."""

    user: UserRow | None
    events: list[TimelineEvent]
