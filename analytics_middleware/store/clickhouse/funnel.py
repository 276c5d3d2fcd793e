"""Funnels in SQL: how far each user got, by the rules of `_funnel.best_attempt`.

Each row is one user with an array of instants and the number of events of each step's name at each instant. Among all
attempts that have done a given number of steps by an instant, only the one that began last matters: most of its
window is left, and earlier events no longer count. So one pass over the array per step is enough.
"""

from collections import Counter
from collections.abc import Sequence

from analytics_middleware.store.clickhouse.breakdown import Row, ask_grouped, value_column
from analytics_middleware.store.clickhouse.rows import storable
from analytics_middleware.store.clickhouse.schema import COOKIELESS
from analytics_middleware.store.clickhouse.scope import AT, Scope
from analytics_middleware.store.instants import length
from analytics_middleware.store.questions import Funnel
from analytics_middleware.store.results import FunnelStep, Group

_FOREVER = 2**61
_NEVER = "toInt64(-4611686018427387904)"


def entrants(scope: Scope, question: Funnel) -> str:
    """Return the SELECT of every user who entered, their number of steps, and the microseconds to the last one."""
    names = list(dict.fromkeys(question.steps))
    instants = _instants(scope, question, names)
    if question.order == "any":
        return _any_order(scope, question, names, instants)
    return _in_order(scope, question, names, instants)


def _instants(scope: Scope, question: Funnel, names: Sequence[str]) -> str:
    """Return the SELECT of one row per user and instant with the counts ``n0``, ``n1``, … of each name's events.

    For order ``strict``, ``others`` counts all other events.
    """
    bound = [scope.bind("String", storable(name)) for name in names]
    strict = question.order == "strict"
    also = [scope.somebody]
    if not strict:
        also.append(f"e.name IN ({', '.join(bound)})")
    columns = f"{scope.visitor} AS visitor, {scope.kind} AS kind, {AT} AS at, e.name AS name"
    if question.breakdown is not None:
        columns += f", e.event_id AS event_id{value_column(scope, question.breakdown)}"
    counts = "".join(f", countIf(name = {name}) AS n{index}" for index, name in enumerate(bound))
    if strict:
        counts += f", countIf(name NOT IN ({', '.join(bound)})) AS others"
    if question.breakdown is not None:
        opening = "1" if question.order == "any" else f"name = {bound[0]}"
        counts += f", argMaxIf(tuple(value), event_id, {opening}) AS opened"
    rows = scope.within(columns, question, also=also)
    return f"SELECT visitor, any(kind) AS visitor_kind, at{counts} FROM ({rows}) GROUP BY visitor, at"


def _in_order(scope: Scope, question: Funnel, names: Sequence[str], instants: str) -> str:
    """Return the SELECT for steps in order; among equally long attempts the last to begin wins, with its earliest end.

    ``s3`` is the latest beginning of attempts that do their third step at this instant, ``b3`` that of attempts that
    did it at an earlier one.
    """
    steps = [names.index(step) for step in question.steps]
    window = None if question.window is None else scope.bind("Int64", length(question.window))
    strict = question.order == "strict"
    fields = ["at", *(f"n{index}" for index in range(len(names))), *(["others"] if strict else [])]
    kept = [*fields, "opened"] if question.breakdown is not None else fields
    columns = ", ".join(f"rows.{index} AS {field}" for index, field in enumerate(kept, 1))
    rows = (
        f"SELECT visitor, kind, {columns} FROM (SELECT visitor, any(visitor_kind) AS kind, "
        f"arraySort(x -> x.1, groupArray(({', '.join(kept)}))) AS rows FROM ({instants}) GROUP BY visitor)"
    )
    if strict:
        # An event that is no step ends all attempts that began before it and are not finished.
        rows = (
            f"SELECT *, {_before(f'arrayMap((t, o) -> if(o > 0, t, {_NEVER}), at, others)')} AS foreign FROM ({rows})"
        )
        fields.append("foreign")
    for done in range(1, len(steps) + 1):
        ways: list[str] = []
        for before in range(done):
            # Steps *before* to *done* all happen at this instant, so it must have an event for each.
            limits = [f"n{name} >= {count:d}" for name, count in Counter(steps[before:done]).items()]
            if before and window is not None:
                limits.append(f"at - b{before} <= {window}")
            if before and strict:
                limits.append(f"b{before} >= foreign")
            ways.append(f"if({' AND '.join(limits)}, {f'b{before}' if before else 'at'}, {_NEVER})")
        latest = f"greatest({', '.join(ways)})" if len(ways) > 1 else ways[0]
        # The lambda's parameters have the names of the columns: `at` is the time of the instant.
        rows = f"SELECT *, arrayMap(({', '.join(fields)}) -> {latest}, {', '.join(fields)}) AS s{done} FROM ({rows})"
        if done < len(steps):
            rows = f"SELECT *, {_before(f's{done}')} AS b{done} FROM ({rows})"
            fields.append(f"b{done}")
    levels = range(len(steps), 0, -1)
    reached = ", ".join(f"arrayMax(s{done}) AS m{done}" for done in levels)
    far = ", ".join(f"m{done} > {_NEVER}, {done}" for done in levels)
    begin = ", ".join(f"m{done} > {_NEVER}, m{done}" for done in levels)
    end = ", ".join(f"m{done} > {_NEVER}, at[indexOf(s{done}, m{done})]" for done in levels)
    taken = "" if question.breakdown is None else ", opened[indexOf(at, begin)].1 AS value"
    return (
        f"SELECT visitor, kind, steps, end - begin AS took{taken} FROM (SELECT *, multiIf({far}, 0) AS steps, "
        f"multiIf({begin}, 0) AS begin, multiIf({end}, 0) AS end FROM (SELECT *, {reached} FROM ({rows}))) "
        "WHERE steps > 0"
    )


def _before(latest: str) -> str:
    """Return for each element of an array of times the last earlier one that is set.

    That is also the latest: an attempt that gets as far later began no earlier.
    """
    return f"arrayPushFront(arrayPopBack(arrayFill(x -> x > {_NEVER}, {latest})), {_NEVER})"


def _any_order(scope: Scope, question: Funnel, names: Sequence[str], instants: str) -> str:
    """Return the SELECT for steps in any order: the window with the most steps, and the last of those.

    The events in a window are those up to its end minus those before its beginning. Both are running totals of one
    series that contains each instant twice: as itself, and at the end of the window that begins there.
    """
    wanted = Counter(question.steps)
    window = scope.bind("Int64", _FOREVER if question.window is None else length(question.window))
    indexes = range(len(names))
    own = ", ".join(f"if(ends, 0, n{index}) AS own{index}" for index in indexes)
    totals = ", ".join(
        f"sum(own{index}) OVER (PARTITION BY visitor ORDER BY at + ends * {window}, ends "
        f"ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS total{index}"
        for index in indexes
    )
    counts = ", ".join(
        f"least(maxIf(total{index}, ends) - maxIf(total{index} - own{index}, NOT ends), {wanted[names[index]]:d}) "
        f"AS c{index}, max(own{index}) AS n{index}"
        for index in indexes
    )
    opened = "" if question.breakdown is None else ", any(opened) AS opened"
    windows = (
        f"SELECT visitor, at, any(visitor_kind) AS visitor_kind, {counts}{opened} FROM (SELECT *, {totals} FROM "
        f"(SELECT *, {own} FROM (SELECT *, arrayJoin([false, true]) AS ends FROM ({instants})))) GROUP BY visitor, at"
    )
    score = " + ".join(f"c{index}" for index in indexes)
    value = "" if question.breakdown is None else f", argMax(opened, ({score}, at)).1 AS value"
    best = (
        f"SELECT visitor, any(visitor_kind) AS kind, argMax((at, {', '.join(f'c{index}' for index in indexes)}), "
        f"({score}, at)) AS chosen, max({score}) AS steps, "
        f"arraySort(x -> x.1, groupArray((at, {', '.join(f'n{index}' for index in indexes)}))) AS instants{value} "
        f"FROM ({windows}) GROUP BY visitor"
    )
    # A step is complete at its n-th event from the window's beginning, n being how often it counts.
    ends = ", ".join(
        f"if(chosen.{index + 2} = 0, chosen.1, arrayFlatten(arrayMap(i -> arrayWithConstant(i.{index + 2}, i.1), "
        f"arrayFilter(i -> i.1 >= chosen.1, instants)))[chosen.{index + 2}])"
        for index in indexes
    )
    taken = ", value" if value else ""
    return f"SELECT visitor, kind, steps, arrayMax([{ends}]) - chosen.1 AS took{taken} FROM ({best})"


def funnel(scope: Scope, question: Funnel) -> list[Group[list[FunnelStep]]]:
    """Users per step."""
    last = len(question.steps)

    def steps(rows: list[Row]) -> list[FunnelStep]:
        [(low, high, *counted)] = rows
        return [
            FunnelStep(
                event=step,
                count=counted[2 * index],
                conversion=counted[2 * index] / counted[0] if counted[0] else 0.0,
                median_seconds=(low / 10**6 + high / 10**6) / 2 if index == last - 1 and counted[2 * index] else None,
                cookieless=counted[2 * index + 1],
            )
            for index, step in enumerate(question.steps)
        ]

    counts = [
        f"countIf(steps > {index:d}{who})" for index in range(last) for who in ("", f" AND kind = {COOKIELESS:d}")
    ]
    return ask_grouped(
        scope,
        entrants(scope, question),
        question.breakdown,
        question.breakdown_limit,
        [
            f"quantileExactLowIf(took, steps = {last})",
            f"quantileExactHighIf(took, steps = {last})",
            *counts,
        ],
        steps,
    )
