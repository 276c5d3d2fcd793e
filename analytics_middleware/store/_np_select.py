"""What a question is about: rows of tables, their buckets, visitors and groups."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import lru_cache
from heapq import nsmallest
from typing import Any, TypeVar

from analytics_middleware.event import EventType
from analytics_middleware.store._arrays import Codes, Floats, Int32s, Mask, NDArray, Rows, np
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._np_rows import Selected, both, places, portions
from analytics_middleware.store._sources import NUMERIC
from analytics_middleware.store._tables import QUARTER, Table
from analytics_middleware.store.calendar import Bucket, Unit, buckets
from analytics_middleware.store.filters import Filter
from analytics_middleware.store.instants import micros
from analytics_middleware.store.parameters import Question, RangeQuestion
from analytics_middleware.store.results import Group
from analytics_middleware.store.timeout import check_time

A = TypeVar("A")


def passing(frame: Frame, table: Table, where: Sequence[Filter]) -> Mask | None:
    """Return which rows of *table* pass all filters, None without filters."""
    mask: Mask | None = None
    for condition in where:
        check_time()
        mask = both(mask, _matches(frame, table, condition))
    return mask


def _matches(frame: Frame, table: Table, condition: Filter) -> Mask:
    if condition.field not in NUMERIC:
        codes = frame.codes(table, condition.field)
        found: Mask = frame.vocabularies[condition.field].matches(condition)[codes]
        return found
    values: Floats = frame.numbers(table, condition.field)
    mask: Mask
    match condition.op:
        case "exists":
            mask = ~np.isnan(values)
        case "not_exists":
            mask = np.isnan(values)
        case "gt":
            mask = values > condition.value
        case "gte":
            mask = values >= condition.value
        case "lt":
            mask = values < condition.value
        case "lte":
            mask = values <= condition.value
        case _:
            distinct, places = np.unique(values, return_inverse=True)
            passes = [condition.matches(None if value != value else value) for value in distinct.tolist()]
            mask = np.array(passes, np.bool_)[places]
    return mask


def named(frame: Frame, table: Table, event: str) -> Mask | None:
    """Return which rows of *table* are called *event*, None if *event* is empty."""
    if not event:
        return None
    codes = frame.codes(table, "name")
    code = frame.vocabularies["name"].code(event)
    mask: Mask = codes == (-1 if code is None else code)
    return mask


def select(frame: Frame, question: Question, event: str = "", span: tuple[int, int] | None = None) -> list[Selected]:
    """Return the events at any time, or in *span*, that *question* is about, called *event* unless that is empty."""
    return frame.selections.get(
        (question.bots, question.where, event, span), lambda: _select(frame, question, event, span)
    )


def _select(frame: Frame, question: Question, event: str, span: tuple[int, int] | None) -> list[Selected]:
    found: list[Selected] = []
    for table in frame.tables:
        if span is not None and (table.bounds[1] < span[0] or table.bounds[0] >= span[1]):
            continue
        check_time()
        mask = both(frame.visible(table, with_bots=question.bots), named(frame, table, event))
        mask = both(mask, passing(frame, table, question.where))
        selected = Selected(table, _rows(table, mask, span))
        if len(selected):
            found.append(selected)
    return found


def _rows(table: Table, mask: Mask | None, span: tuple[int, int] | None) -> Rows | None:
    """Return the rows that *mask* passes and that lie in *span*, None for all rows."""
    first, last = table.bounds
    after = None if span is None or first >= span[0] else span[0]
    before = None if span is None or last < span[1] else span[1]
    if mask is None and after is None and before is None:
        return None

    def kept(part: slice) -> Mask:
        passed = None if mask is None else mask[part]
        time = table.time[part]
        if after is not None:
            passed = both(passed, time >= after)
        if before is not None:
            passed = both(passed, time < before)
        assert passed is not None
        return passed

    return places(len(table), kept)


def within(frame: Frame, question: RangeQuestion, event: str = "") -> list[Selected]:
    """Return the events in the range that *question* is about."""
    return select(frame, question, event, (micros(question.start), micros(question.end)))


class Spans:
    """Consecutive buckets, as arrays for looking up times."""

    def __init__(self, spans: Sequence[Bucket]) -> None:
        self.all = spans
        self.starts = np.array([micros(span.start) for span in spans], np.int64)
        self.end = micros(spans[-1].end)
        edges = np.append(self.starts, self.end)
        self._first = int(edges[0] // QUARTER)
        self._lookup: Int32s | None = None
        if not (edges % QUARTER).any() and self.end // QUARTER - self._first < 4_000_000:
            places = np.repeat(np.arange(len(spans), dtype=np.int32), np.diff(edges) // QUARTER)
            # One more at either end, for times before and after.
            self._lookup = np.concatenate([[np.int32(-1)], places, [np.int32(-1)]]).astype(np.int32)

    @classmethod
    def of(cls, question: RangeQuestion, unit: Unit) -> "Spans":
        """Return the buckets that the range of *question* touches."""
        return _spans(question.start, question.end, unit, question.tz)

    def __len__(self) -> int:
        return len(self.all)

    def find(self, selected: Selected) -> NDArray[Any]:
        """Return the index of each row's bucket, -1 for none."""
        if self._lookup is None:
            return self.of_times(selected.take(selected.table.time))
        quarters = selected.take(selected.table.quarters)
        first, last = selected.table.bounds
        places = quarters - (self._first - 1)
        if first < self.starts[0] or last >= self.end:
            places = np.clip(places, 0, len(self._lookup) - 1)
        found: Int32s = self._lookup[places]
        return found

    def of_quarters(self, first: int, last: int) -> NDArray[Any] | None:
        """Return the bucket of each quarter of an hour in ``[first, last)``, or None if a bucket divides a quarter."""
        if self._lookup is None:
            return None
        places = np.clip(np.arange(first, last) - (self._first - 1), 0, len(self._lookup) - 1)
        return self._lookup[places]

    def of_times(self, times: NDArray[Any]) -> NDArray[Any]:
        """Return the index of the bucket of each of *times*, -1 for none."""
        found = np.searchsorted(self.starts, times, "right") - 1
        return np.where(times < self.end, found, -1)


@lru_cache(64)
def _spans(start: datetime, end: datetime, unit: Unit, tz: str) -> Spans:
    return Spans(buckets(start, end, unit, tz).all)


def count_codes(frame: Frame, field: str, columns: Sequence[Codes]) -> NDArray[Any]:
    """Return how often each code of *field* occurs in *columns*."""
    counts = np.zeros(len(frame.vocabularies[field].values), np.int64)
    for column in columns:
        check_time()
        for part in portions(len(column)):
            found = np.bincount(column[part])
            counts[: len(found)] += found
    return counts


def _by_text(frame: Frame, field: str, counted: NDArray[Any]) -> tuple[Int32s, list[str], NDArray[Any]]:
    """Return the index of each code's text, the texts, and how often each occurs, with absent values last."""
    text_of, texts = frame.texts(field)
    counts = np.zeros(len(texts) + 1, np.int64)
    np.add.at(counts, text_of[: len(counted)], counted)
    return text_of, texts, counts


class Grouping:
    """The groups of a breakdown: the most frequent values, the rest, and rows without the field."""

    def __init__(self, frame: Frame, field: str, counted: NDArray[Any], limit: int) -> None:
        text_of, texts, counts = _by_text(frame, field, counted)
        there = [number for number in range(len(texts)) if counts[number]]
        ranked = sorted(there, key=lambda number: (-int(counts[number]), texts[number]))
        self.labels: list[tuple[str | None, bool]] = [(texts[number], False) for number in ranked[:limit]]
        group_of = np.full(len(texts) + 1, -1, np.int32)
        group_of[ranked[:limit]] = np.arange(len(self.labels))
        if ranked[limit:]:
            group_of[ranked[limit:]] = len(self.labels)
            self.labels.append(("other", True))
        if counts[-1]:
            group_of[-1] = len(self.labels)
            self.labels.append((None, False))
        self.group_of: Int32s = group_of[text_of]
        """The index of each code's group."""
        self.groups: list[Int32s] = []

    @classmethod
    def of(cls, frame: Frame, field: str, codes: Sequence[Codes], limit: int) -> "Grouping":
        """Return the groups of items with *codes*; `groups` then holds the group of each item."""
        grouping = cls(frame, field, count_codes(frame, field, codes), limit)
        grouping.groups = [grouping.group_of[column] for column in codes]
        return grouping

    def answer(self, answer: Callable[[int], A]) -> list[Group[A]]:
        """Return the groups, each with *answer* of its index."""
        return [Group(key=key, answer=answer(index), rest=rest) for index, (key, rest) in enumerate(self.labels)]


def grouped(
    frame: Frame,
    selections: Sequence[Selected],
    field: str | None,
    limit: int,
    answer: Callable[[Sequence[Selected]], A],
) -> list[Group[A]]:
    """Return the answer for each of the *limit* most frequent values, for the rest, and for rows without one."""
    if field is None:
        return [Group(key=None, answer=answer(selections))]
    columns = [selected.take(frame.codes(selected.table, field)) for selected in selections]
    grouping = Grouping.of(frame, field, columns, limit)
    return grouping.answer(
        lambda index: answer(
            [
                selected.pick(places(len(group), lambda part: group[part] == index))  # noqa: B023 - used at once
                for selected, group in zip(selections, grouping.groups, strict=True)
            ]
        )
    )


def top(frame: Frame, field: str, counted: NDArray[Any], limit: int) -> list[tuple[str, int]]:
    """Return the most frequent texts of the *counted* codes; equal counts are ordered by text."""
    _, texts, counts = _by_text(frame, field, counted)
    there = np.flatnonzero(counts[:-1])
    if len(there) > 4 * limit:
        # Compare the texts only of those that can make the list.
        least = np.partition(counts[there], -limit)[-limit]
        there = there[counts[there] >= least]
    found = nsmallest(limit, zip((-counts[there]).tolist(), [texts[number] for number in there.tolist()], strict=True))
    return [(text, -count) for count, text in found]


def pages(frame: Frame, table: Table) -> Mask:
    """Return which rows are page views."""
    codes = frame.codes(table, "type")
    code = frame.vocabularies["type"].code(EventType.PAGEVIEW.value)
    mask: Mask = codes == (-1 if code is None else code)
    return mask


def errors(frame: Frame, selected: Selected) -> Mask | None:
    """Return which rows are page views answered with an error, or None if none are."""
    if "errors" not in selected.kept:
        codes = frame.codes(selected.table, "status_code")
        values = frame.vocabularies["status_code"].values
        failed = np.fromiter((value is not None and value >= 400 for value in values), np.bool_, len(values))
        found = failed[selected.take(codes)] & selected.take(pages(frame, selected.table)) if failed.any() else None
        selected.kept["errors"] = found
    mask: Mask | None = selected.kept["errors"]
    return mask
