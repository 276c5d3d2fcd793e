"""Local calendars: every instant lies in exactly one bucket, whatever the clocks do."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.store.calendar import UNITS, buckets, day_start, floor, following, local_day, preceding
from analytics_middleware.timezones import zone

HOUR = timedelta(hours=1)


def lengths(day, tz, unit="hour", days=1):
    found = buckets(day_start(day, tz), day_start(day + timedelta(days=days), tz), unit, tz)
    return [(bucket.end - bucket.start) / HOUR for bucket in found.all]


@pytest.mark.parametrize(
    ("tz", "day", "hours"),
    [
        ("Europe/Berlin", date(2025, 3, 30), 23),
        ("Europe/Berlin", date(2025, 10, 26), 25),
        ("Europe/Berlin", date(2025, 7, 1), 24),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),  # midnight itself was skipped
        ("Asia/Kathmandu", date(2025, 1, 1), 24),
    ],
)
def test_a_day_has_as_many_hours_as_its_clock_shows(tz, day, hours):
    assert lengths(day, tz) == [1.0] * hours
    assert lengths(day, tz, "day") == [hours]


def test_a_change_by_half_an_hour_makes_half_an_hour():
    """At 02:00 clocks go back to 01:30 in April, forward to 02:30 in October."""
    assert lengths(date(2025, 4, 6), "Australia/Lord_Howe") == [1.0, 1.0, 0.5, *[1.0] * 22]
    assert lengths(date(2025, 10, 5), "Australia/Lord_Howe") == [1.0, 1.0, 0.5, *[1.0] * 21]


def test_a_skipped_day_is_no_bucket():
    assert lengths(date(2011, 12, 29), "Pacific/Apia", "day", days=3) == [24.0, 24.0]
    assert local_day(day_start(date(2011, 12, 30), "Pacific/Apia"), "Pacific/Apia") == date(2011, 12, 31)


def test_a_day_that_clocks_reenter_stays_over():
    """In St John's, at one past midnight, it was 23:01 of the day before once more."""
    tz = "America/St_Johns"
    reentered = day_start(date(2010, 11, 7), tz) + timedelta(minutes=10)
    assert reentered.astimezone(zone(tz)).date() == date(2010, 11, 6)
    assert local_day(reentered, tz) == date(2010, 11, 7)
    assert lengths(date(2010, 11, 6), tz, "day", days=2) == [24.0, 25.0]


def test_weeks_begin_on_monday_and_months_on_the_first():
    at = datetime(2025, 3, 12, 5, tzinfo=UTC)
    assert floor(at, "week", "UTC") == datetime(2025, 3, 10, tzinfo=UTC)
    assert floor(at, "month", "America/New_York") == datetime(2025, 3, 1, 5, tzinfo=UTC)


def test_an_instant_outside_is_in_no_bucket():
    days = buckets(datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 1, 3, tzinfo=UTC), "day", "UTC")
    assert days.find(datetime(2024, 12, 31, 23, tzinfo=UTC)) is None
    assert days.find(datetime(2025, 1, 3, tzinfo=UTC)) is None
    assert days.find(datetime(2025, 1, 2, tzinfo=UTC)) == 1


@pytest.mark.parametrize("name", ["Nowhere/City", "", "../etc/passwd", "Europe"])
def test_an_unknown_zone_is_an_error_that_names_it(name):
    with pytest.raises(ValueError, match="not an IANA time zone"):
        zone(name)


ZONES = ["UTC", "Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kathmandu",
         "America/Sao_Paulo", "Africa/Casablanca"]  # fmt: skip


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    st.sampled_from(UNITS),
    st.sampled_from(ZONES),
)
def test_every_instant_lies_in_one_bucket_and_buckets_touch(at, unit, tz):
    start = floor(at, unit, tz)
    end = following(start, unit, tz)
    assert start <= at < end
    assert floor(start, unit, tz) == floor(end - timedelta(microseconds=1), unit, tz) == start
    assert preceding(end, unit, tz) == start
