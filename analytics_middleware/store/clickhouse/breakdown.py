"""Breakdowns in SQL: one answer for each of the most frequent values, for the rest, and for rows without the field."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from analytics_middleware.store.clickhouse.fields import text_of
from analytics_middleware.store.clickhouse.scope import Scope
from analytics_middleware.store.results import Group

A = TypeVar("A")
Row = tuple[Any, ...]

_VALUE, _REST, _ABSENT = 1, 2, 3


def value_column(scope: Scope, field: str | None) -> str:
    """Return the SQL of a column ``value`` with the breakdown's values, empty without a breakdown."""
    return "" if field is None else f", {text_of(field, scope)} AS value"


def ask_grouped(
    scope: Scope,
    rows: str,
    field: str | None,
    limit: int,
    aggregates: Sequence[str],
    answer: Callable[[list[Row]], A],
    by: Sequence[str] = (),
) -> list[Group[A]]:
    """Return the answer for each of the *limit* most frequent values of the SELECT *rows*.

    *answer* gets one row for each combination of the expressions *by*: their values, followed by the *aggregates*. For
    a breakdown by *field*, *rows* must have a column ``value``.
    """
    keys = [f"k{index}" for index in range(len(by))]
    named = [f"{expression} AS {key}" for expression, key in zip(by, keys, strict=True)]
    if field is None:
        grouping = f" GROUP BY {', '.join(keys)}" if keys else ""
        found = scope.ask(f"SELECT {', '.join([*named, *aggregates])} FROM ({rows}){grouping}")
        return [Group(key=None, answer=answer(found))]
    states = [f"{_with_suffix(each, 'State')} AS s{index}" for index, each in enumerate(aggregates)]
    merged = [f"{each.partition('(')[0]}Merge(s{index})" for index, each in enumerate(aggregates)]
    inner = (
        f"SELECT {', '.join(['value', *named, 'count() AS n', *states])} FROM ({rows}) "
        f"GROUP BY {', '.join(['value', *keys])}"
    )
    totals = f"SELECT *, sum(n) OVER (PARTITION BY value) AS total FROM ({inner})"
    ranked = f"SELECT *, dense_rank() OVER (ORDER BY isNull(value), total DESC, value) AS place FROM ({totals})"
    parted = (
        f"SELECT *, multiIf(isNull(value), {_ABSENT}, place <= {scope.bind('UInt32', limit)}, {_VALUE}, {_REST}) "
        f"AS part FROM ({ranked})"
    )
    found = scope.ask(
        f"SELECT part, if(part = {_VALUE}, value, NULL) AS label, min(place) AS first, "
        f"{', '.join([*keys, *merged])} FROM ({parted}) GROUP BY {', '.join(['part', 'label', *keys])} "
        "ORDER BY part, first"
    )
    return _groups(found, answer)


def _groups(found: Iterable[Row], answer: Callable[[list[Row]], A]) -> list[Group[A]]:
    groups: dict[tuple[int, str | None], list[Row]] = {}
    for part, label, _, *row in found:
        groups.setdefault((part, label), []).append(tuple(row))
    labels: Mapping[int, str | None] = {_REST: "other", _ABSENT: None}
    return [
        Group(key=labels.get(part, label), answer=answer(rows), rest=part == _REST)
        for (part, label), rows in groups.items()
    ]


def _with_suffix(aggregate: str, suffix: str) -> str:
    name, bracket, rest = aggregate.partition("(")
    return f"{name}{suffix}{bracket}{rest}"
