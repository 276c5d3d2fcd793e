"""Local calendars: hours, days, weeks and months of a time zone as exact instants.

A bucket is identified by the UTC instant at which it begins and ends where the next one begins, so buckets never
overlap or leave a gap, whatever the zone's clocks do: days have 23, 24 or 25 hours, a repeated autumn hour is a
bucket of its own, and a day skipped by the zone has none.
"""

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple, get_args

from analytics_middleware.timezones import zone

Unit = Literal["hour", "day", "week", "month"]
UNITS: Final[tuple[str, ...]] = get_args(Unit)

_DAY: Final = timedelta(days=1)
_HOUR: Final = timedelta(hours=1)
_INSTANT: Final = timedelta(microseconds=1)


class Bucket(NamedTuple):
    """A stretch of time, ``[start, end)``, both aware and UTC."""

    start: datetime
    end: datetime


class Buckets:
    """Consecutive buckets, with lookup by time."""

    def __init__(self, buckets: list[Bucket]) -> None:
        self.all = buckets
        self._starts = [bucket.start for bucket in buckets]

    def find(self, at: datetime) -> int | None:
        """Return the index of the bucket that contains *at*, or None if there is none."""
        index = bisect_right(self._starts, at) - 1
        return index if index >= 0 and at < self.all[index].end else None

    def __len__(self) -> int:
        return len(self.all)


def day_start(day: date, tz: str) -> datetime:
    """Return the first instant of *day* in *tz*, in UTC. A day the zone skipped begins where the next one does."""
    # fold=0 takes the first of two midnights, or the instant of the change if midnight is skipped.
    return datetime(day.year, day.month, day.day, tzinfo=zone(tz)).astimezone(UTC)


def local_day(at: datetime, tz: str) -> date:
    """Return the calendar day in *tz* that *at* belongs to: the last day that has begun.

    If clocks go back over midnight, the displayed date returns to the day before for a while. That while belongs to
    the day that had already begun.
    """
    day = at.astimezone(zone(tz)).date()
    return day + _DAY if day_start(day + _DAY, tz) <= at else day


def floor(at: datetime, unit: Unit, tz: str) -> datetime:
    """Return the instant, in UTC, at which the *unit* of *tz* that contains *at* begins."""
    if unit == "hour":
        return _hour_start(at.astimezone(UTC), zone(tz))
    return day_start(_first_day(local_day(at, tz), unit), tz)


def following(start: datetime, unit: Unit, tz: str) -> datetime:
    """Return where the bucket after the one beginning at *start* begins."""
    if unit == "hour":
        return _next_hour(start, zone(tz))
    day, after = _first_day(local_day(start, tz), unit), start
    while after <= start:  # a skipped day has no length
        day = _next_first_day(day, unit)
        after = day_start(day, tz)
    return after


def preceding(start: datetime, unit: Unit, tz: str) -> datetime:
    """Return where the bucket before the one beginning at *start* begins."""
    return floor(start - _INSTANT, unit, tz)


def buckets(start: datetime, end: datetime, unit: Unit, tz: str) -> Buckets:
    """Return every bucket of *tz* that ``[start, end)`` touches; the first may begin before *start*."""
    found: list[Bucket] = []
    begin = floor(start, unit, tz)
    while begin < end:
        after = following(begin, unit, tz)
        found.append(Bucket(begin, after))
        begin = after
    return Buckets(found)


def extended(spans: Sequence[Bucket], count: int, unit: Unit, tz: str) -> list[Bucket]:
    """Return *spans* followed by the next *count* buckets."""
    found = list(spans)
    for _ in range(count):
        begin = found[-1].end
        found.append(Bucket(begin, following(begin, unit, tz)))
    return found


def _first_day(day: date, unit: Unit) -> date:
    if unit == "week":
        return day - timedelta(days=day.weekday())
    return day.replace(day=1) if unit == "month" else day


def _next_first_day(day: date, unit: Unit) -> date:
    if unit == "week":
        return day + timedelta(days=7)
    return (day.replace(day=1) + timedelta(days=32)).replace(day=1) if unit == "month" else day + _DAY


def _hour_start(at: datetime, tz: tzinfo) -> datetime:
    local = at.astimezone(tz)
    start = at - timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    offset = local.utcoffset()
    if start.astimezone(tz).utcoffset() == offset:
        return start
    # The clock changed inside this hour, and not by whole hours: search for the change, where this hour begins.
    before, after = start, at.replace(microsecond=0)
    while after - before > timedelta(seconds=1):
        middle = (before + (after - before) / 2).replace(microsecond=0)
        if middle.astimezone(tz).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def _next_hour(start: datetime, tz: tzinfo) -> datetime:
    after = _hour_start(start + _HOUR, tz)
    while (earlier := _hour_start(after - _INSTANT, tz)) > start:
        after = earlier
    return after
