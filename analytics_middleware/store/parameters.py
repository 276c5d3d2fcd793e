"""The parameters of every question, and how they are checked."""

from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, TypeVar

import msgspec

from analytics_middleware.store.calendar import UNITS
from analytics_middleware.store.filters import Filter, QuestionError, check_field
from analytics_middleware.timezones import zone

MAX_BUCKETS: Final = 100_000
MAX_LIMIT: Final = 10_000
SESSION_TIMEOUT: Final = timedelta(minutes=30)
SHORTEST: Final = {"hour": 1 / 24, "day": 1, "week": 7, "month": 28}
"""The minimum length of a bucket in days, close enough to limit the number of buckets."""
LONGEST_SPAN: Final = timedelta(days=3660)

_YEARS: Final = range(1970, 2200)

D = TypeVar("D", date, datetime)


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters of every question: the time zone, filters that must all hold, and whether bots count."""

    tz: str = "UTC"
    where: tuple[Filter, ...] = ()
    bots: bool = False

    def __post_init__(self) -> None:
        check_zone(self.tz)
        set_field(self, "where", tuple(Filter.of(item) for item in self.where))


class RangeQuestion(Question, frozen=True, kw_only=True):
    """A question about the events in ``[start, end)``."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        super().__post_init__()
        set_instants(self, "start", "end")
        if self.end <= self.start:
            raise QuestionError("end", f"{self.end.isoformat()} must be after start {self.start.isoformat()}")


class EventQuestion(RangeQuestion, frozen=True, kw_only=True):
    """A question about the events called *event* (``""``: all)."""

    event: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_event("event", self.event)


def set_field(question: msgspec.Struct, field: str, value: Any) -> None:
    """Set *field* of a frozen question during its construction."""
    msgspec.structs.force_setattr(question, field, value)


def set_instants(question: msgspec.Struct, *fields: str) -> None:
    """Convert the instants called *fields* to UTC; raise `QuestionError` for naive or far-off ones."""
    for field in fields:
        value: Any = getattr(question, field)
        if not isinstance(value, datetime) or value.tzinfo is None:
            raise QuestionError(field, f"{value!r} must be a datetime with a time zone")
        set_field(question, field, check_year(field, value).astimezone(UTC))


def check_year(field: str, when: D) -> D:
    """Return *when*; raise `QuestionError` if it is too far off for calendar arithmetic."""
    if when.year not in _YEARS:
        raise QuestionError(field, f"{when.isoformat()} must lie between {_YEARS.start} and {_YEARS.stop}")
    return when


def check_zone(tz: str) -> None:
    """Raise `QuestionError` unless *tz* is an IANA time zone."""
    try:
        zone(tz)
    except (ValueError, TypeError) as error:
        raise QuestionError("tz", str(error)) from None


def check_bucket(question: RangeQuestion, bucket: str) -> None:
    """Raise `QuestionError` unless *bucket* is a unit that divides the question's range into few enough buckets."""
    check_choice("bucket", bucket, UNITS)
    if (question.end - question.start) / timedelta(days=SHORTEST[bucket]) > MAX_BUCKETS:
        raise QuestionError("bucket", f"{bucket!r} makes more than {MAX_BUCKETS} buckets of this range")


def check_breakdown(field: str | None, limit: int) -> None:
    """Raise `QuestionError` unless *field*, if given, can be used for a breakdown into *limit* groups."""
    if field is not None:
        check_field(field, "breakdown")
    check_int("breakdown_limit", limit, 1, 1000)


def check_choice(field: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise `QuestionError` unless *value* is one of *choices*."""
    if value not in choices:
        raise QuestionError(field, f"{value!r} is not one of {', '.join(choices)}")


def check_event(field: str, name: object) -> None:
    """Raise `QuestionError` unless *name* is text."""
    if not isinstance(name, str):
        raise QuestionError(field, f"{name!r:.200} must be an event's name")


def check_int(field: str, value: object, least: int, most: int) -> None:
    """Raise `QuestionError` unless *value* is an integer from *least* to *most*."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise QuestionError(field, f"{value!r} is not a whole number from {least} to {most}")


def check_span(field: str, value: object) -> None:
    """Raise `QuestionError` unless *value* is a timedelta above zero and at most `LONGEST_SPAN`."""
    if not isinstance(value, timedelta) or not timedelta(0) < value <= LONGEST_SPAN:
        right = f"a timedelta above zero, of at most {LONGEST_SPAN.days} days, or text such as '24h'"
        raise QuestionError(field, f"{value!r} must be {right}")
