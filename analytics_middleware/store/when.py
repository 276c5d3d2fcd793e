"""Instants as people write them: aware datetimes, dates in a zone, and either as text."""

import re
from datetime import date, datetime

from analytics_middleware.store.calendar import day_start
from analytics_middleware.store.filters import QuestionError
from analytics_middleware.store.parameters import check_year

When = datetime | date | str

_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def read_instant(name: str, when: When, tz: str) -> datetime:
    """Return *when*, the value of parameter *name*, as an aware datetime.

    Raises `QuestionError` if it is none of the three or has no time zone.
    """
    if isinstance(when, str):
        when = _parsed(name, when)
    if not isinstance(when, datetime):
        if not isinstance(when, date):
            raise QuestionError(name, f"{when!r} must be a datetime, a date or RFC 3339 text")
        return day_start(check_year(name, when), tz)
    if when.tzinfo is None:
        raise QuestionError(name, f"{when.isoformat()} must have a time zone")
    return check_year(name, when)


def _parsed(name: str, text: str) -> datetime | date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
        if _RFC3339.fullmatch(text):
            return datetime.fromisoformat(text.upper())
    except ValueError:
        pass
    raise QuestionError(name, f"{text!r:.100} must be a date or a time with its zone, such as 2025-03-30T12:00:00Z")
