"""Volumes, top values, active users, revenue, breakdowns: questions that count events and their users."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from analytics_middleware.event import EventType
from analytics_middleware.store._history import History, Row, cookieless, distinct
from analytics_middleware.store.calendar import Buckets, buckets, day_start, local_day
from analytics_middleware.store.filters import as_text
from analytics_middleware.store.parameters import RangeQuestion
from analytics_middleware.store.questions import (
    ActiveUsers,
    DashboardSummary,
    PropertyNames,
    Revenue,
    TopEvents,
    TopProperties,
    TopValues,
    Volume,
)
from analytics_middleware.store.results import (
    Active,
    Count,
    Dashboard,
    Group,
    RevenuePoint,
    RevenueTotal,
    ValueCount,
    VolumePoint,
)

T = TypeVar("T")
A = TypeVar("A")


def grouped(
    items: Sequence[T], key: Callable[[T], str | None] | None, limit: int, answer: Callable[[list[T]], A]
) -> list[Group[A]]:
    """Return the answer for each of the *limit* most frequent keys, for the rest, and for items without a key."""
    if key is None:
        return [Group(key=None, answer=answer(list(items)))]
    found: dict[str | None, list[T]] = {}
    for item in items:
        found.setdefault(key(item), []).append(item)
    absent = found.pop(None, None)
    ranked = sorted(found.items(), key=lambda pair: (-len(pair[1]), pair[0] or ""))
    groups = [Group(key=name, answer=answer(members)) for name, members in ranked[:limit]]
    if rest := [item for _, members in ranked[limit:] for item in members]:
        groups.append(Group(key="other", answer=answer(rest), rest=True))
    if absent is not None:
        groups.append(Group(key=None, answer=answer(absent)))
    return groups


def by_field(history: History, field: str | None, event_of: Callable[[T], Row]) -> Callable[[T], str | None] | None:
    """Return the function that gives an item's group in a breakdown by *field* of the item's event."""
    return None if field is None else lambda item: history.text(event_of(item), field)


def _itself(row: Row) -> Row:
    return row


def top(values: Iterable[str], limit: int) -> list[Count]:
    """Return the most frequent of *values*; equal counts are ordered by value."""
    ranked = sorted(Counter(values).items(), key=lambda pair: (-pair[1], pair[0]))
    return [Count(key=key, count=count) for key, count in ranked[:limit]]


def volume(history: History, question: Volume, now: datetime) -> list[Group[list[VolumePoint]]]:
    """Events per bucket."""
    spans = buckets(question.start, question.end, question.bucket, question.tz)

    def points(rows: list[Row]) -> list[VolumePoint]:
        counts = Counter(spans.find(row.at) for row in rows)
        return [
            VolumePoint(time=span.start, count=counts[index], incomplete=span.end > now)
            for index, span in enumerate(spans.all)
        ]

    rows = history.within(question, question.event)
    return grouped(rows, by_field(history, question.breakdown, _itself), question.breakdown_limit, points)


def top_events(history: History, question: TopEvents) -> list[Count]:
    """The most frequent event names."""
    return top((row.name for row in history.within(question)), question.limit)


def top_properties(history: History, question: TopProperties) -> list[Count]:
    """The most frequent values of one property."""
    values = (as_text(row.event.properties.get(question.prop)) for row in history.within(question, question.event))
    return top((value for value in values if value is not None), question.limit)


def property_names(history: History, question: PropertyNames) -> list[Count]:
    """The names of the most frequent properties."""
    rows = history.within(question, question.event)
    properties = (item for row in rows for item in row.event.properties.items())
    return top((name for name, value in properties if as_text(value) is not None), question.limit)


def top_values(history: History, question: TopValues) -> list[ValueCount]:
    """The values of one field with the most users."""
    found: dict[str, list[Row]] = {}
    for row in history.within(question, question.event):
        value = history.text(row, question.field)
        if value is not None and (question.errors or not is_error_page(row)):
            found.setdefault(value, []).append(row)
    counts: list[ValueCount] = []
    for key, rows in found.items():
        users = distinct(rows, question)
        counts.append(ValueCount(key=key, count=len(rows), users=len(users), cookieless=cookieless(users)))
    return sorted(counts, key=lambda item: (-item.users, -item.count, item.key))[: question.limit]


def is_error_page(row: Row) -> bool:
    """Return whether *row* is a page view answered with an error."""
    status = row.event.status_code
    return row.event.type is EventType.PAGEVIEW and status is not None and status >= 400


def active_users(history: History, question: ActiveUsers) -> list[Group[Active]]:
    """Distinct users."""

    def active(rows: list[Row]) -> Active:
        users = distinct(rows, question)
        return Active(count=len(users), cookieless=cookieless(users))

    rows = history.within(question, question.event)
    return grouped(rows, by_field(history, question.breakdown, _itself), question.breakdown_limit, active)


def dashboard_summary(history: History, question: DashboardSummary, now: datetime) -> Dashboard:
    """The last days at a glance."""
    today = local_day(now, question.tz)

    def last(days: int, bots: bool = question.bots) -> RangeQuestion:
        return RangeQuestion(
            start=day_start(today - timedelta(days=days - 1), question.tz),
            end=day_start(today + timedelta(days=1), question.tz),
            tz=question.tz,
            where=question.where,
            bots=bots,
        )

    def users(days: int) -> Active:
        found = distinct(history.within(last(days)), last(days))
        return Active(count=len(found), cookieless=cookieless(found))

    rows = history.within(last(question.days))
    dau, wau = users(1), users(7)
    return Dashboard(
        total_events=len(rows),
        dau=dau.count,
        wau=wau.count,
        top_events=top((row.name for row in rows), question.limit),
        dau_cookieless=dau.cookieless,
        wau_cookieless=wau.cookieless,
        bots=0 if question.bots else count_bots(history, last(question.days, bots=True)),
    )


def count_bots(history: History, question: RangeQuestion) -> int:
    """Return how many bot events are among those that *question*, which must include bots, is about."""
    return sum(row.bot for row in history.within(question))


def revenue(history: History, question: Revenue, now: datetime) -> list[Group[list[RevenueTotal]]]:
    """Revenue per currency."""
    spans = buckets(question.start, question.end, question.bucket, question.tz)

    def totals(rows: list[Row]) -> list[RevenueTotal]:
        currencies: dict[str, list[Row]] = {}
        for row in rows:
            assert row.event.revenue is not None
            currencies.setdefault(row.event.revenue.currency, []).append(row)
        return [_total(currency, paid, question, spans, now) for currency, paid in sorted(currencies.items())]

    rows = [row for row in history.within(question, question.event) if row.event.revenue is not None]
    return grouped(rows, by_field(history, question.breakdown, _itself), question.breakdown_limit, totals)


def _minor(row: Row) -> int:
    return row.event.revenue.minor if row.event.revenue is not None else 0


def _total(currency: str, rows: list[Row], question: Revenue, spans: Buckets, now: datetime) -> RevenueTotal:
    payers = distinct((row for row in rows if _minor(row) > 0), question)
    total = sum(_minor(row) for row in rows)
    sums: Counter[int | None] = Counter()
    counts: Counter[int | None] = Counter()
    for row in rows:
        index = spans.find(row.at)
        sums[index] += _minor(row)
        counts[index] += 1
    return RevenueTotal(
        currency=currency,
        total=total,
        count=len(rows),
        users=len(payers),
        per_user=total / len(payers) if payers else None,
        points=[
            RevenuePoint(time=span.start, total=sums[index], count=counts[index], incomplete=span.end > now)
            for index, span in enumerate(spans.all)
        ],
        cookieless=cookieless(payers),
    )
