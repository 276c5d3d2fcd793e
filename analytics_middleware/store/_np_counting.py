"""Volumes, top values, active users, revenue over arrays; `_counting` says the same in plain Python."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from analytics_middleware.store._arrays import NDArray, changes, narrowed, np, side_by_side
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._np_people import People, distinct, row_visitors, users_by
from analytics_middleware.store._np_rollup import roll
from analytics_middleware.store._np_rows import Selected
from analytics_middleware.store._np_select import Grouping, Spans, count_codes, errors, grouped, select, top, within
from analytics_middleware.store.calendar import day_start, local_day
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
from analytics_middleware.store.timeout import check_time


def volume(frame: Frame, question: Volume, now: datetime) -> list[Group[list[VolumePoint]]]:
    """Events per bucket."""
    spans = Spans.of(question, question.bucket)
    field = question.breakdown
    rolled = roll(frame, question, field or "name", question.event)
    places = None if rolled is None else spans.of_quarters(rolled.first, rolled.first + len(rolled.counts))
    if rolled is not None and places is not None:
        by_code = np.zeros((len(spans), rolled.counts.shape[1]), np.int64)
        starts = np.flatnonzero(changes(places))
        by_code[places[starts]] = np.add.reduceat(rolled.counts, starts, axis=0)
        if field is None:
            return [Group(key=None, answer=_points(spans, by_code.sum(axis=1), now))]
        grouping = Grouping(frame, field, by_code.sum(axis=0), question.breakdown_limit)
        groups = grouping.group_of[: by_code.shape[1]]
        return grouping.answer(lambda index: _points(spans, by_code[:, groups == index].sum(axis=1), now))
    found = within(frame, question, question.event)
    if field is None:
        return [Group(key=None, answer=_points(spans, _counts(spans, found, None, 1)[0], now))]
    codes = [selected.take(frame.codes(selected.table, field)) for selected in found]
    grouping = Grouping.of(frame, field, codes, question.breakdown_limit)
    counts = _counts(spans, found, grouping.groups, len(grouping.labels))
    return grouping.answer(lambda index: _points(spans, counts[index], now))


def _counts(
    spans: Spans, found: Sequence[Selected], groups: Sequence[NDArray[Any]] | None, number: int
) -> NDArray[Any]:
    """Return the number of rows by group and bucket."""
    counts = np.zeros(number * len(spans), np.int64)
    for index, selected in enumerate(found):
        check_time()
        places = spans.find(selected)
        if groups is not None:
            places = groups[index].astype(np.int64) * len(spans) + places
        counts += np.bincount(places, minlength=len(counts))
    return counts.reshape(number, len(spans))


def _points(spans: Spans, counts: NDArray[Any], now: datetime) -> list[VolumePoint]:
    return [
        VolumePoint(time=span.start, count=count, incomplete=span.end > now)
        for span, count in zip(spans.all, counts.tolist(), strict=True)
    ]


def _top(frame: Frame, question: RangeQuestion, field: str, event: str, limit: int) -> list[Count]:
    rolled = roll(frame, question, field, event)
    if rolled is not None:
        counted = rolled.counts.sum(axis=0)
    else:
        found = within(frame, question, event)
        counted = count_codes(frame, field, [selected.take(frame.codes(selected.table, field)) for selected in found])
    return [Count(key=key, count=count) for key, count in top(frame, field, counted, limit)]


def top_events(frame: Frame, question: TopEvents) -> list[Count]:
    """The most frequent event names."""
    return _top(frame, question, "name", "", question.limit)


def top_properties(frame: Frame, question: TopProperties) -> list[Count]:
    """The most frequent values of one property."""
    return _top(frame, question, f"properties.{question.prop}", question.event, question.limit)


def property_names(frame: Frame, question: PropertyNames) -> list[Count]:
    """The names of the most frequent properties."""
    counts: Counter[str] = Counter()
    for selected in within(frame, question, question.event):
        check_time()
        counts += frame.property_names(selected.table, selected.rows)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Count(key=name, count=count) for name, count in ranked[: question.limit]]


def top_values(frame: Frame, question: TopValues) -> list[ValueCount]:
    """The values of one field with the most users."""
    found = within(frame, question, question.event)
    columns = [selected.take(frame.codes(selected.table, question.field)) for selected in found]
    text_of, texts = frame.texts(question.field)
    if not texts:
        return []
    number = len(texts)
    text_of = narrowed(np.where(text_of < 0, number, text_of), number + 1)
    counts, users, cookieless = (np.zeros(number, np.int64) for _ in range(3))
    for selected, column in zip(found, columns, strict=True):
        check_time()
        values = text_of[column]
        failed = None if question.errors else errors(frame, selected)
        if failed is not None:
            values[failed] = number
        counts += np.bincount(values, minlength=number + 1)[:-1]
        people = row_visitors(frame, selected, question)
        own, own_cookieless = users_by(people, values[people.begin :], number)
        users += own
        cookieless += own_cookieless
    # Values with too few users to make the list need no text.
    there = np.flatnonzero(counts)
    if len(there) > question.limit:
        least = np.partition(users[there], -question.limit)[-question.limit]
        there = there[users[there] >= least]
    rows = [
        ValueCount(key=texts[index], count=count, users=who, cookieless=without_cookie)
        for index, count, who, without_cookie in zip(
            there.tolist(), counts[there].tolist(), users[there].tolist(), cookieless[there].tolist(), strict=True
        )
    ]
    return sorted(rows, key=lambda item: (-item.users, -item.count, item.key))[: question.limit]


def active_users(frame: Frame, question: ActiveUsers) -> list[Group[Active]]:
    """Distinct users."""

    def active(found: Sequence[Selected]) -> Active:
        people = distinct(frame, found, question)
        return Active(count=len(people), cookieless=people.cookieless)

    found = within(frame, question, question.event)
    return grouped(frame, found, question.breakdown, question.breakdown_limit, active)


def dashboard_summary(frame: Frame, question: DashboardSummary, now: datetime) -> Dashboard:
    """The last days at a glance."""
    today = local_day(now, question.tz)

    def last(days: int) -> RangeQuestion:
        return RangeQuestion(
            start=day_start(today - timedelta(days=days - 1), question.tz),
            end=day_start(today + timedelta(days=1), question.tz),
            tz=question.tz,
            where=question.where,
            bots=question.bots,
        )

    longest = max(question.days, 7)
    widest = within(frame, last(longest))

    def of_last(days: int) -> list[Selected]:
        if days == longest:
            return widest
        start = micros(last(days).start)
        return [selected.only(selected.take(selected.table.time) >= start) for selected in widest]

    def users(days: int) -> People:
        return distinct(frame, of_last(days), last(days))

    found = of_last(question.days)
    dau, wau = side_by_side(users, (1, 7))
    return Dashboard(
        total_events=sum(map(len, found)),
        dau=len(dau),
        wau=len(wau),
        top_events=_top(frame, last(question.days), "name", "", question.limit),
        dau_cookieless=dau.cookieless,
        wau_cookieless=wau.cookieless,
        bots=count_bots(frame, last(question.days)),
    )


def count_bots(frame: Frame, question: RangeQuestion) -> int:
    """Return how many bot events *question* leaves out."""
    if question.bots:
        return 0
    everybody = msgspec.structs.replace(question, bots=True)
    total = 0
    if any(frame.bots(table) is not None for table in frame.tables):
        for selected in select(frame, everybody, span=(micros(question.start), micros(question.end))):
            found = frame.bots(selected.table)
            total += 0 if found is None else int(selected.take(found).sum())
    return total


def revenue(frame: Frame, question: Revenue, now: datetime) -> list[Group[list[RevenueTotal]]]:
    """Revenue per currency."""
    spans = Spans.of(question, question.bucket)
    found: list[Selected] = []
    for selected in within(frame, question, question.event):
        paid = selected.only(selected.take(frame.codes(selected.table, "currency")) > 0)
        if len(paid):
            found.append(paid)

    def totals(rows: Sequence[Selected]) -> list[RevenueTotal]:
        codes = [selected.take(frame.codes(selected.table, "currency")) for selected in rows]
        values: list[str] = frame.vocabularies["currency"].values
        there = np.flatnonzero(count_codes(frame, "currency", codes)).tolist()
        return [
            _total(
                frame,
                values[code],
                [selected.only(column == code) for selected, column in zip(rows, codes, strict=True)],
                question,
                spans,
                now,
            )
            for code in sorted(there, key=values.__getitem__)
        ]

    return grouped(frame, found, question.breakdown, question.breakdown_limit, totals)


def _total(
    frame: Frame, currency: str, rows: Sequence[Selected], question: Revenue, spans: Spans, now: datetime
) -> RevenueTotal:
    # Python integers: sums may exceed 64 bits.
    sums: NDArray[Any] = np.zeros(len(spans), object)
    counts = np.zeros(len(spans), np.int64)
    payers: list[Selected] = []
    for selected in rows:
        check_time()
        minor = selected.take(frame.numbers(selected.table, "revenue_minor"))
        places = spans.find(selected)
        counts += np.bincount(places, minlength=len(spans))
        sums += _sums(places, minor, len(spans))
        payers.append(selected.only(minor > 0))
    people = distinct(frame, payers, question)
    total = int(sums.sum())
    return RevenueTotal(
        currency=currency,
        total=total,
        count=int(counts.sum()),
        users=len(people),
        per_user=total / len(people) if len(people) else None,
        points=[
            RevenuePoint(time=span.start, total=int(amount), count=count, incomplete=span.end > now)
            for span, amount, count in zip(spans.all, sums.tolist(), counts.tolist(), strict=True)
        ],
        cookieless=people.cookieless,
    )


def _sums(places: NDArray[Any], minor: NDArray[Any], number: int) -> NDArray[Any]:
    if len(minor) and float(np.abs(minor.astype(np.float64)).max()) * len(minor) >= 2.0**62:
        sums: NDArray[Any] = np.zeros(number, object)
        np.add.at(sums, places, minor.astype(object))
        return sums
    small = np.zeros(number, np.int64)
    np.add.at(small, places, minor)
    return small.astype(object)
