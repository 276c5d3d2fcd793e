"""Numbers, times and texts as people read them."""

import unicodedata
from datetime import UTC, date, datetime
from typing import Any, Final

from analytics_middleware.money import Money
from analytics_middleware.store.calendar import Unit
from analytics_middleware.store.filters import Filter
from analytics_middleware.timezones import zone

_SYMBOLS: Final = {"GBP": "£", "EUR": "€", "USD": "$", "JPY": "¥"}
_OPERATORS: Final = {
    "eq": "is",
    "ne": "is not",
    "in": "is one of",
    "not_in": "is none of",
    "contains": "contains",
    "exists": "is there",
    "not_exists": "is not there",
    "gt": ">",
    "gte": "≥",
    "lt": "<",
    "lte": "≤",
}
_OWN: Final = ("properties.", "traits.")
"""What fields that the application named begin with."""
_FIELDS: Final = {"matched_pattern": "route", "name": "event"}


def count(value: float | None) -> str:
    """Return a number with thousands separators; large ones shortened, such as 12.3M."""
    if value is None:
        return "–"
    for limit, suffix in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e5, "k")):
        if abs(value) >= limit:
            return f"{value / min(limit, 1e3 if suffix == 'k' else limit):,.1f}".removesuffix(".0") + suffix
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def percent(value: float | None) -> str:
    """Return a fraction as a percentage."""
    if value is None:
        return "–"
    return f"{value:.0%}" if value in (0, 1) or value >= 0.0995 else f"{value:.1%}"


def money(minor: float | None, currency: str) -> str:
    """Return an amount in minor units as money."""
    if minor is None:
        return "–"
    try:
        amount = Money.from_minor(round(minor), currency)
    except ValueError:
        return f"{currency} {minor:,}"
    return _money(amount, f"{abs(amount.amount):,.{amount.exponent}f}")


def _money(amount: Money, text: str) -> str:
    sign = "−" if amount.minor < 0 else ""
    symbol = _SYMBOLS.get(amount.currency)
    return f"{sign}{symbol}{text}" if symbol else f"{sign}{text} {amount.currency}"


def figure(value: float | None, metric: str) -> str:
    """Return the value of *metric* as text."""
    if metric.startswith("revenue."):
        return money(value, metric.removeprefix("revenue."))
    return percent(value) if metric.endswith("_rate") else count(value)


def exact(value: float | int | None, metric: str) -> str:
    """Return the same with every digit, for whoever points at it."""
    return f"{value:,}" if isinstance(value, int) and not metric.startswith("revenue.") else figure(value, metric)


def brief(value: float | None, metric: str) -> str:
    """Return the same with large amounts of money shortened, so that it fits into a tile: £1,235, £12.3M."""
    if value is not None and metric.startswith("revenue."):
        try:
            amount = Money.from_minor(round(value), metric.removeprefix("revenue."))
        except ValueError:
            return figure(value, metric)
        if abs(amount.amount) >= 1000:
            return _money(amount, count(float(round(abs(amount.amount)))))
    return figure(value, metric)


def tick(value: float, metric: str) -> str:
    """Return the same in short, for an axis."""
    return brief(value, metric).removesuffix(".00")


def change(value: float | None, metric: str) -> str:
    """Return a change of *metric* as text: rates in percentage points, others in percent."""
    if value is None:
        return ""
    points = metric.endswith("_rate")
    shown = round(abs(value) * 100)
    arrow = "→" if not shown else "↑" if value > 0 else "↓"
    return f"{arrow} {shown:,}{' pp' if points else '%'}"


def seconds(value: float | None) -> str:
    """Return a length of time with its two largest units."""
    if value is None:
        return "–"
    if value < 1:
        return f"{value:.1f}s" if value else "0s"
    left, parts = round(value), list[str]()
    for length, unit in ((86_400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        whole, left = divmod(left, length)
        if whole or parts:
            parts.append(f"{whole}{unit}")
    return " ".join(part for part in parts[:2] if not part.startswith("0")) or "0s"


def bucket(at: datetime, unit: Unit, tz: str) -> str:
    """Return the name of the bucket that begins at *at*."""
    local = at.astimezone(zone(tz))
    if unit == "hour":
        return f"{local:%a} {local:%H:%M}"
    if unit == "month":
        return f"{local:%b %Y}"
    name = f"{local.day} {local:%b}"
    return f"Week of {name}" if unit == "week" else f"{local:%a} {name}"


def short_bucket(at: datetime, unit: Unit, tz: str) -> str:
    """Return the same in short, for an axis; the first hour of a day has the day's name."""
    local = at.astimezone(zone(tz))
    if unit == "hour" and local.hour:
        return f"{local:%H:%M}"
    return f"{local:%b %Y}" if unit == "month" else f"{local.day} {local:%b}"


def moment(at: datetime, tz: str) -> str:
    """Return an instant in *tz*, to the second."""
    local = at.astimezone(zone(tz))
    return f"{local.day} {local:%b %Y, %H:%M:%S}"


def instant(seconds: float) -> datetime:
    """Return the instant so many *seconds* after the epoch."""
    return datetime.fromtimestamp(seconds, UTC)


def ago(at: datetime, now: datetime) -> str:
    """Return how long before *now* something was."""
    past = (now - at.astimezone(UTC)).total_seconds()
    return "now" if past < 1 else f"{seconds(past).split()[0]} ago"


def days(first: date, last: date) -> str:
    """Return a range of days, both included."""
    end = f"{last.day} {last:%b %Y}"
    if first == last:
        return end
    start = f"{first.day} {first:%b}" if first.year == last.year else f"{first.day} {first:%b %Y}"
    return f"{start} – {end}"


def shortened(text: object, most: int = 120) -> str:
    """Return *text* with an ellipsis where it is too long to show, and a word where nothing of it can be seen."""
    whole = str(text)
    if whole and all(unicodedata.category(each)[0] in "CZM" for each in whole):
        return "(blank)"
    return whole if len(whole) <= most else whole[: most - 1] + "…"


def field_called(words: str) -> str:
    """Return the name of the field that `condition` writes as *words*."""
    if words.startswith(_OWN):
        return words
    plain = words.lower().replace(" ", "_")
    return next((field for field, called in _FIELDS.items() if called == plain), plain)


def condition(each: Filter) -> str:
    """Return a filter as words."""
    own = each.field.startswith(_OWN)
    field = each.field if own else _FIELDS.get(each.field, each.field).replace("_", " ")
    words = f"{field} {_OPERATORS[each.op]}"
    if each.op in ("exists", "not_exists"):
        return words
    given: Any = each.value
    value: Any = int(given) if isinstance(given, float) and given.is_integer() else given
    listed = ", ".join(sorted(map(str, value))) if each.op in ("in", "not_in") else value
    return f"{words} {shortened(listed, 60) or '(blank)'}"
