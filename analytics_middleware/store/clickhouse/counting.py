"""Volumes, top values, active users, revenue: questions that count events and their users."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from analytics_middleware.store.calendar import Bucket, buckets, day_start, local_day
from analytics_middleware.store.clickhouse.breakdown import Row, ask_grouped, value_column
from analytics_middleware.store.clickhouse.fields import text_of
from analytics_middleware.store.clickhouse.schema import COOKIELESS
from analytics_middleware.store.clickhouse.scope import AT, Scope
from analytics_middleware.store.instants import micros
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

ERROR_PAGE = "(e.type = 'pageview' AND ifNull(e.status_code >= 400, 0))"
"""Whether the event is a page view answered with an error."""


def days_of(question: RangeQuestion) -> Sequence[Bucket]:
    """Return the local days that the range of *question* touches."""
    return buckets(question.start, question.end, "day", question.tz).all


def volume(scope: Scope, question: Volume, now: datetime) -> list[Group[list[VolumePoint]]]:
    """Events per bucket."""
    spans = buckets(question.start, question.end, question.bucket, question.tz).all

    def points(rows: list[Row]) -> list[VolumePoint]:
        counts: dict[int, int] = dict(rows)
        return [
            VolumePoint(time=span.start, count=counts.get(micros(span.start), 0), incomplete=span.end > now)
            for span in spans
        ]

    columns = f"{scope.floor(spans)} AS bucket{value_column(scope, question.breakdown)}"
    rows = scope.within(columns, question, question.event)
    return ask_grouped(scope, rows, question.breakdown, question.breakdown_limit, ["count()"], points, by=["bucket"])


def _top(scope: Scope, rows: str, limit: int) -> list[Count]:
    found = scope.ask(
        f"SELECT value, count() AS n FROM ({rows}) WHERE isNotNull(value) GROUP BY value "
        f"ORDER BY n DESC, value LIMIT {scope.bind('UInt32', limit)}"
    )
    return [Count(key=key, count=count) for key, count in found]


def top_events(scope: Scope, question: TopEvents) -> list[Count]:
    """The most frequent event names."""
    return _top(scope, scope.within("e.name AS value", question), question.limit)


def top_properties(scope: Scope, question: TopProperties) -> list[Count]:
    """The most frequent values of one property."""
    value = text_of(f"properties.{question.prop}", scope)
    return _top(scope, scope.within(f"{value} AS value", question, question.event), question.limit)


def property_names(scope: Scope, question: PropertyNames) -> list[Count]:
    """The names of the most frequent properties."""
    return _top(scope, scope.within("arrayJoin(mapKeys(e.texts)) AS value", question, question.event), question.limit)


def top_values(scope: Scope, question: TopValues) -> list[ValueCount]:
    """The values of one field with the most users."""
    columns = (
        f"{text_of(question.field, scope)} AS value, {scope.person(days_of(question))} AS person, e.kind AS kind, "
        f"{scope.somebody} AS somebody"
    )
    also = [] if question.errors else [f"NOT {ERROR_PAGE}"]
    found = scope.ask(
        "SELECT value, count() AS n, uniqExactIf(person, somebody) AS people, "
        f"uniqExactIf(person, kind = {COOKIELESS}) "
        f"FROM ({scope.within(columns, question, question.event, also)}) WHERE isNotNull(value) GROUP BY value "
        f"ORDER BY people DESC, n DESC, value LIMIT {scope.bind('UInt32', question.limit)}"
    )
    return [
        ValueCount(key=key, count=count, users=users, cookieless=cookieless) for key, count, users, cookieless in found
    ]


def active_users(scope: Scope, question: ActiveUsers) -> list[Group[Active]]:
    """Distinct users."""

    def active(rows: list[Row]) -> Active:
        [(count, cookieless)] = rows
        return Active(count=count, cookieless=cookieless)

    columns = (
        f"{scope.person(days_of(question))} AS person, e.kind AS kind, {scope.somebody} AS somebody"
        f"{value_column(scope, question.breakdown)}"
    )
    return ask_grouped(
        scope,
        scope.within(columns, question, question.event),
        question.breakdown,
        question.breakdown_limit,
        ["uniqExactIf(person, somebody)", f"uniqExactIf(person, kind = {COOKIELESS})"],
        active,
    )


def dashboard_summary(scope: Scope, question: DashboardSummary, now: datetime) -> Dashboard:
    """The last days at a glance."""
    today = local_day(now, question.tz)
    end = day_start(today + timedelta(days=1), question.tz)

    def begin(days: int) -> datetime:
        return day_start(today - timedelta(days=days - 1), question.tz)

    whole = RangeQuestion(start=begin(max(7, question.days)), end=end, tz=question.tz, where=question.where, bots=True)
    counted, week, day = (scope.bind("Int64", micros(begin(days))) for days in (question.days, 7, 1))
    human = "1" if question.bots else "NOT bot"
    columns = (
        f"{AT} AS at, e.name AS name, e.bot AS bot, {scope.person(days_of(whole))} AS person, e.kind AS kind, "
        f"{scope.somebody} AS somebody"
    )
    rows = scope.within(columns, whole)
    [(events, bots, *people)] = scope.ask(
        f"SELECT countIf({human} AND at >= {counted}), countIf(bot AND at >= {counted}), "
        + ", ".join(
            f"uniqExactIf(person, {human} AND {who} AND at >= {since})"
            for since in (day, week)
            for who in ("somebody", f"kind = {COOKIELESS}")
        )
        + f" FROM ({rows})"
    )
    dau, dau_cookieless, wau, wau_cookieless = people
    names = scope.ask(
        f"SELECT name, count() AS n FROM ({rows}) WHERE {human} AND at >= {counted} GROUP BY name "
        f"ORDER BY n DESC, name LIMIT {scope.bind('UInt32', question.limit)}"
    )
    return Dashboard(
        total_events=events,
        dau=dau,
        wau=wau,
        top_events=[Count(key=key, count=count) for key, count in names],
        dau_cookieless=dau_cookieless,
        wau_cookieless=wau_cookieless,
        bots=0 if question.bots else bots,
    )


def revenue(scope: Scope, question: Revenue, now: datetime) -> list[Group[list[RevenueTotal]]]:
    """Revenue per currency."""
    spans = buckets(question.start, question.end, question.bucket, question.tz).all

    def totals(rows: list[Row]) -> list[RevenueTotal]:
        currencies: dict[str, list[Row]] = {}
        for currency, *row in rows:
            currencies.setdefault(currency, []).append(tuple(row))
        return [_total(currency, found, spans, now) for currency, found in sorted(currencies.items())]

    # Each row counts in its bucket and in the total, bucket None: a user who paid in several buckets counts once there.
    columns = (
        f"assumeNotNull(e.currency) AS currency, arrayJoin([toNullable({scope.floor(spans)}), NULL]) AS bucket, "
        f"toInt128(e.revenue_minor) AS minor, {scope.person(days_of(question))} AS person, e.kind AS kind, "
        f"minor > 0 AND {scope.somebody} AS payer{value_column(scope, question.breakdown)}"
    )
    return ask_grouped(
        scope,
        scope.within(columns, question, question.event, ["isNotNull(e.currency)"]),
        question.breakdown,
        question.breakdown_limit,
        ["sum(minor)", "count()", "uniqExactIf(person, payer)", f"uniqExactIf(person, payer AND kind = {COOKIELESS})"],
        totals,
        by=["currency", "bucket"],
    )


def _total(currency: str, found: list[Row], spans: Sequence[Bucket], now: datetime) -> RevenueTotal:
    sums = {bucket: (total, count) for bucket, total, count, *_ in found}
    [(total, count, users, cookieless)] = [row for bucket, *row in found if bucket is None]
    points: list[RevenuePoint] = []
    for span in spans:
        amount, paid = sums.get(micros(span.start), (0, 0))
        points.append(RevenuePoint(time=span.start, total=amount, count=paid, incomplete=span.end > now))
    return RevenueTotal(
        currency=currency,
        total=total,
        count=count,
        users=users,
        per_user=total / users if users else None,
        points=points,
        cookieless=cookieless,
    )
