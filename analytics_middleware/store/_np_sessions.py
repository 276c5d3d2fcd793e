"""Sessions, paths and the overview over arrays; `_sessions` says the same in plain Python."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from analytics_middleware.store._arrays import Codes, Int64s, Mask, NDArray, changes, nobodies, np
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._np_counting import count_bots
from analytics_middleware.store._np_funnel import median
from analytics_middleware.store._np_people import distinct, once
from analytics_middleware.store._np_rows import Selected, both
from analytics_middleware.store._np_select import Grouping, Spans, count_codes, errors, pages, passing, top, within
from analytics_middleware.store._np_visits import visits
from analytics_middleware.store.instants import micros
from analytics_middleware.store.questions import Overview, Paths, Sessions, Trend
from analytics_middleware.store.results import Count, Group, Path, SessionSummary, Totals, TrendPoint
from analytics_middleware.store.timeout import check_time

_MICROSECOND = timedelta(microseconds=1)


class Found(NamedTuple):
    """The matching sessions of one table: each the rows *first* to *last* of *rows*."""

    rows: Selected
    first: NDArray[Any]
    last: NDArray[Any]
    length: Int64s
    bounced: Mask
    cookieless: Mask
    entry: Codes
    exit: Codes


def sessions_in(frame: Frame, question: Sessions | Paths, *, with_pages: bool = False) -> list[Found]:
    """Return the complete sessions that begin in the range and have an event that passes the filters."""
    found: list[Found] = []
    begin, end = micros(question.start), micros(question.end)
    for table in frame.tables:
        check_time()
        mask = frame.visible(table, with_bots=question.bots)
        # An event more than a time-out before the range can't belong to a session that begins in it.
        earliest = begin - question.timeout // _MICROSECOND
        if table.bounds[0] < earliest:
            mask = both(mask, table.time >= earliest)
        known = nobodies(table.who)
        if known and mask is None:
            mask = np.ones(len(table), np.bool_)
        if known and mask is not None:
            mask = mask.copy()
            mask[:known] = False
        rows = Selected(table, None if mask is None else np.flatnonzero(mask))
        who, time = rows.who, rows.take(table.time)
        if not len(who):
            continue
        new = changes(who)
        new[1:] |= time[1:] - time[:-1] > question.timeout // _MICROSECOND
        first = np.flatnonzero(new)
        last = np.append(first[1:], len(who)) - 1
        began = time[first]
        kept = (began >= begin) & (began < end)
        passes = passing(frame, table, question.where)
        if passes is not None:
            before = np.concatenate([[0], np.cumsum(rows.take(passes))])
            kept &= before[last + 1] > before[first]
        if not kept.any():
            continue
        first, last = first[kept], last[kept]
        found.append(_described(frame, rows, first, last, time, with_pages=with_pages))
    return found


def _described(
    frame: Frame, rows: Selected, first: NDArray[Any], last: NDArray[Any], time: Int64s, *, with_pages: bool
) -> Found:
    check_time()
    page = rows.take(pages(frame, rows.table))
    none = np.zeros(0, np.int32)
    entry = leave = none
    if with_pages:
        places = np.flatnonzero(page)
        entered = np.searchsorted(places, first)
        left = np.searchsorted(places, last, "right") - 1
        paged = left >= entered
        paths = rows.take(frame.codes(rows.table, "path"))
        entry, leave = paths[places[entered[paged]]], paths[places[left[paged]]]
    return Found(
        rows=rows,
        first=first,
        last=last,
        length=time[last] - time[first],
        bounced=(first == last) & page[first],
        cookieless=frame.cookieless(rows.who[first]) if frame.has_cookieless else np.zeros(len(first), np.bool_),
        entry=entry,
        exit=leave,
    )


def _mean(lengths: Sequence[Int64s]) -> float | None:
    count = sum(map(len, lengths))
    return sum(int(length.sum()) for length in lengths) / count / 1_000_000 if count else None


def sessions(frame: Frame, question: Sessions) -> list[Group[SessionSummary]]:
    """Sessions, bounces, durations, entry and exit pages."""
    found = sessions_in(frame, question, with_pages=question.breakdown is None)
    if question.breakdown is None:
        return [Group(key=None, answer=_summary(frame, question, found))]
    columns = [frame.codes(each.rows.table, question.breakdown) for each in found]
    codes = [each.rows.take(column)[each.first] for each, column in zip(found, columns, strict=True)]
    grouping = Grouping.of(frame, question.breakdown, codes, question.breakdown_limit)

    def summary(index: int) -> SessionSummary:
        chosen: list[Found] = []
        for each, group in zip(found, grouping.groups, strict=True):
            mine = group == index
            time = each.rows.take(each.rows.table.time)
            chosen.append(_described(frame, each.rows, each.first[mine], each.last[mine], time, with_pages=True))
        return _summary(frame, question, chosen)

    return grouping.answer(summary)


def _summary(frame: Frame, question: Sessions, found: Sequence[Found]) -> SessionSummary:
    count = sum(len(each.first) for each in found)
    bounces = sum(int(each.bounced.sum()) for each in found)
    lengths = [each.length for each in found]
    # Code 0 means that the path is absent: no entry or exit page.
    return SessionSummary(
        count=count,
        bounces=bounces,
        bounce_rate=bounces / count if count else None,
        mean_duration=_mean(lengths),
        median_duration=median(np.concatenate(lengths) / 1_000_000) if count else None,
        entry_pages=_counts(frame, [each.entry for each in found], question.limit),
        exit_pages=_counts(frame, [each.exit for each in found], question.limit),
        cookieless=sum(int(each.cookieless.sum()) for each in found),
    )


def _counts(frame: Frame, columns: Sequence[Codes], limit: int) -> list[Count]:
    return [
        Count(key=key, count=count) for key, count in top(frame, "path", count_codes(frame, "path", columns), limit)
    ]


def overview(frame: Frame, question: Overview) -> Totals:
    """The totals of an overview page."""
    rows = within(frame, question)
    found = visits(frame, question)
    visitors = distinct(frame, rows, question)
    views = failed = 0
    for selected in rows:
        check_time()
        views += int(selected.take(pages(frame, selected.table)).sum())
        found_errors = errors(frame, selected)
        failed += 0 if found_errors is None else int(found_errors.sum())
    count = sum(len(each.began) for each in found)
    return Totals(
        visitors=len(visitors),
        pageviews=views - failed,
        events=sum(map(len, rows)),
        sessions=count,
        bounce_rate=sum(int(each.bounced.sum()) for each in found) / count if count else None,
        mean_duration=_mean([each.length for each in found]),
        errors=failed,
        bots=count_bots(frame, question),
        cookieless=visitors.cookieless,
    )


def trend(frame: Frame, question: Trend, now: datetime) -> list[TrendPoint]:
    """The overview's figures for each bucket."""
    spans = Spans.of(question, question.bucket)
    events, views, failed, visitors, cookieless, begun, bounced = (np.zeros(len(spans), np.int64) for _ in range(7))

    def count(places: NDArray[Any], into: NDArray[Any]) -> None:
        into += np.bincount(places, minlength=len(spans))

    for selected in within(frame, question):
        check_time()
        places = spans.find(selected)
        count(places, events)
        count(places[selected.take(pages(frame, selected.table))], views)
        found_errors = errors(frame, selected)
        if found_errors is not None:
            count(places[found_errors], failed)
        first, day = once(frame, selected, question, places)
        count(places[first], visitors)
        count(places[first[day >= 0]], cookieless)
    for each in visits(frame, question):
        places = spans.of_times(each.began)
        count(places, begun)
        count(places[each.bounced], bounced)
    return [
        TrendPoint(
            time=span.start,
            visitors=visitor,
            pageviews=view - error,
            events=event,
            sessions=session,
            bounce_rate=bounce / session if session else None,
            errors=error,
            cookieless=cookieless,
            incomplete=span.end > now,
        )
        for span, event, view, error, visitor, cookieless, session, bounce in zip(
            spans.all,
            *(each.tolist() for each in (events, views, failed, visitors, cookieless, begun, bounced)),
            strict=True,
        )
    ]


def paths(frame: Frame, question: Paths) -> list[Path]:
    """The names that follow, or precede, the first event of a name in each session."""
    names: list[str] = frame.vocabularies["name"].values
    counts: Counter[tuple[str, ...]] = Counter()
    for each in sessions_in(frame, question):
        check_time()
        for sequence, count in _sequences(frame, each, question):
            counts[tuple(names[code] for code in sequence if code > 0)] += count
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Path(events=list(events), count=count) for events, count in ranked[: question.limit]]


def _sequences(frame: Frame, found: Found, question: Paths) -> list[tuple[list[int], int]]:
    """Return the distinct sequences of names and how often each occurs; 0 pads shorter sessions."""
    column = found.rows.take(frame.codes(found.rows.table, "name"))
    code = frame.vocabularies["name"].code(question.event)
    places = np.flatnonzero(column == (-1 if code is None else code))
    if not len(places):
        return []
    index = np.searchsorted(places, found.first)
    place = places[np.minimum(index, len(places) - 1)]
    inside = (index < len(places)) & (place <= found.last)
    place, first, last = place[inside], found.first[inside], found.last[inside]
    if question.direction == "after":
        steps = [(place + k, place + k <= last) for k in range(1, question.depth + 1)]
    else:
        steps = [(place - k, place - k >= first) for k in range(question.depth, 0, -1)]
    base = np.int64(column.max()) + 1
    keys = np.zeros(len(place), np.int64)
    tables: list[NDArray[Any]] = []
    for at, there in steps:
        codes = np.where(there, column[np.clip(at, 0, len(column) - 1)], 0)
        # Renumber the sequences at each step so that the numbers stay small.
        distinct_keys, keys = np.unique(keys * base + codes, return_inverse=True)
        tables.append(distinct_keys)
    counts = np.bincount(keys)
    sequences = np.zeros((len(counts), 0), np.int64)
    numbers = np.arange(len(counts))
    for table in reversed(tables):
        numbers, codes = np.divmod(table[numbers], base)
        sequences = np.concatenate([codes[:, None], sequences], axis=1)
    return list(zip(sequences.tolist(), counts.tolist(), strict=True))
