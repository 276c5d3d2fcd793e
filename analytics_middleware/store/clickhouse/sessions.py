"""Sessions, paths, the overview and its trend."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from msgspec import structs

from analytics_middleware.store.calendar import buckets
from analytics_middleware.store.clickhouse.breakdown import Row, ask_grouped
from analytics_middleware.store.clickhouse.counting import ERROR_PAGE, days_of
from analytics_middleware.store.clickhouse.fields import condition, text_of
from analytics_middleware.store.clickhouse.rows import storable
from analytics_middleware.store.clickhouse.schema import COOKIELESS
from analytics_middleware.store.clickhouse.scope import AT, Scope
from analytics_middleware.store.instants import length, micros
from analytics_middleware.store.questions import Overview, Paths, Sessions, Trend
from analytics_middleware.store.results import Count, Group, Path, SessionSummary, Totals, TrendPoint

_BOUNCED = "events = 1 AND pages = 1"
_FOREVER = 2**62


def sessions_in(
    scope: Scope,
    question: Sessions | Paths | Overview | Trend,
    fields: Sequence[str] = (),
    columns: str = "",
) -> str:
    """Return the SELECT of the complete sessions that begin in the range and have an event that passes the filters.

    *columns* are further columns computed from ``session``, an array of tuples: time, event id, whether it is a page
    view, whether it passes, and the *fields*. Event ids are filled only with fields, to put those in the right order.
    """
    begin, end = micros(question.start), micros(question.end)
    pause = length(question.timeout)
    passes = " AND ".join(condition(item, scope) for item in question.where) or "true"
    event = ", ".join([AT, "e.event_id" if fields else "''", "e.type = 'pageview'", f"toBool({passes})", *fields])
    order = "(x.1, x.2)" if fields else "x.1"
    # An event more than a time-out before the range can't belong to a session that begins in it.
    rows = scope.events(
        f"{scope.visitor} AS visitor, any({scope.kind}) AS visitor_kind, "
        f"arraySort(x -> {order}, groupArray(({event}))) AS whole",
        bots=question.bots,
        span=(begin - pause, _FOREVER),
        also=[scope.somebody],
    )
    gaps = "arrayDifference(arrayMap(x -> x.1, whole))"
    split = f"arraySplit((x, gap) -> gap > {scope.bind('Int64', pause)}, whole, {gaps})"
    return (
        "SELECT visitor, visitor_kind, session[1].1 AS begin, session[-1].1 AS end, length(session) AS events, "
        f"arrayCount(x -> x.3, session) AS pages{columns} FROM (SELECT visitor, visitor_kind, arrayJoin({split}) "
        f"AS session FROM ({rows} GROUP BY visitor)) WHERE begin >= {scope.bind('Int64', begin)} "
        f"AND begin < {scope.bind('Int64', end)} AND arrayExists(x -> x.4, session)"
    )


def sessions(scope: Scope, question: Sessions) -> list[Group[SessionSummary]]:
    """Sessions, bounces, durations, entry and exit pages."""
    fields = ["e.path"]
    columns = ", arrayFirst(x -> x.3, session).5 AS entry, arrayLast(x -> x.3, session).5 AS leave"
    if question.breakdown is not None:
        fields.append(text_of(question.breakdown, scope))
        columns += ", session[1].6 AS value"

    def summary(rows: list[Row]) -> SessionSummary:
        [(count, bounces, total, low, high, cookieless, entries, exits)] = rows
        return SessionSummary(
            count=count,
            bounces=bounces,
            bounce_rate=bounces / count if count else None,
            mean_duration=total / count / 1_000_000 if count else None,
            median_duration=(low / 1_000_000 + high / 1_000_000) / 2 if count else None,
            entry_pages=_top(entries, question.limit),
            exit_pages=_top(exits, question.limit),
            cookieless=cookieless,
        )

    return ask_grouped(
        scope,
        sessions_in(scope, question, fields, columns),
        question.breakdown,
        question.breakdown_limit,
        [
            "count()",
            f"countIf({_BOUNCED})",
            "sum(toInt128(end - begin))",
            "quantileExactLow(end - begin)",
            "quantileExactHigh(end - begin)",
            f"countIf(visitor_kind = {COOKIELESS})",
            *(
                f"sumMap(if(isNull({page}), [], [assumeNotNull({page})]), if(isNull({page}), [], [toUInt64(1)]))"
                for page in ("entry", "leave")
            ),
        ],
        summary,
    )


def _top(counts: tuple[list[str], list[int]], limit: int) -> list[Count]:
    ranked = sorted(zip(*counts, strict=True), key=lambda pair: (-pair[1], pair[0]))
    return [Count(key=key, count=count) for key, count in ranked[:limit]]


def overview(scope: Scope, question: Overview) -> Totals:
    """The totals of an overview page."""
    everything = structs.replace(question, bots=True)
    human = "1" if question.bots else "NOT bot"
    columns = (
        f"{scope.person(days_of(question))} AS person, e.kind AS kind, {scope.somebody} AS somebody, e.bot AS bot, "
        f"e.type = 'pageview' AS page, {ERROR_PAGE} AS error"
    )
    [(events, bots, visitors, cookieless, views, errors)] = scope.ask(
        f"SELECT countIf({human}), countIf(bot), uniqExactIf(person, {human} AND somebody), "
        f"uniqExactIf(person, {human} AND kind = {COOKIELESS}), countIf({human} AND page), countIf({human} AND error) "
        f"FROM ({scope.within(columns, everything)})"
    )
    [(count, bounces, total)] = scope.ask(
        f"SELECT count(), countIf({_BOUNCED}), sum(toInt128(end - begin)) FROM ({sessions_in(scope, question)})"
    )
    return Totals(
        visitors=visitors,
        pageviews=views - errors,
        events=events,
        sessions=count,
        bounce_rate=bounces / count if count else None,
        mean_duration=total / count / 1_000_000 if count else None,
        errors=errors,
        bots=0 if question.bots else bots,
        cookieless=cookieless,
    )


def trend(scope: Scope, question: Trend, now: datetime) -> list[TrendPoint]:
    """The overview's figures for each bucket."""
    spans = buckets(question.start, question.end, question.bucket, question.tz).all
    columns = (
        f"{scope.floor(spans)} AS bucket, {scope.person(days_of(question))} AS person, e.kind AS kind, "
        f"{scope.somebody} AS somebody, e.type = 'pageview' AS page, {ERROR_PAGE} AS error"
    )
    counted = scope.ask(
        f"SELECT bucket, count(), uniqExactIf(person, somebody), uniqExactIf(person, kind = {COOKIELESS}), "
        f"countIf(page), countIf(error) FROM ({scope.within(columns, question)}) GROUP BY bucket"
    )
    begun = scope.ask(
        f"SELECT {scope.floor(spans, 'begin')} AS bucket, count(), countIf({_BOUNCED}) "
        f"FROM ({sessions_in(scope, question)}) GROUP BY bucket"
    )
    rows: Mapping[int, Row] = {bucket: tuple(row) for bucket, *row in counted}
    found: Mapping[int, Row] = {bucket: tuple(row) for bucket, *row in begun}
    points: list[TrendPoint] = []
    for span in spans:
        events, visitors, cookieless, views, errors = rows.get(micros(span.start), (0,) * 5)
        count, bounces = found.get(micros(span.start), (0, 0))
        points.append(
            TrendPoint(
                time=span.start,
                visitors=visitors,
                pageviews=views - errors,
                events=events,
                sessions=count,
                bounce_rate=bounces / count if count else None,
                errors=errors,
                cookieless=cookieless,
                incomplete=span.end > now,
            )
        )
    return points


def paths(scope: Scope, question: Paths) -> list[Path]:
    """The names that follow, or precede, the first event of a name in each session."""
    event, depth = scope.bind("String", storable(question.event)), scope.bind("UInt32", question.depth)
    found = sessions_in(scope, question, ["e.name"], ", arrayMap(x -> x.5, session) AS names")
    place = f"indexOf(names, {event})"
    if question.direction == "after":
        part = f"arraySlice(names, {place} + 1, {depth})"
    else:
        begin = f"greatest(1, toInt64({place}) - toInt64({depth}))"
        part = f"arraySlice(names, {begin}, {place} - {begin})"
    counts = scope.ask(
        f"SELECT {part} AS sequence, count() AS n FROM ({found}) WHERE has(names, {event}) GROUP BY sequence "
        f"ORDER BY n DESC, sequence LIMIT {scope.bind('UInt32', question.limit)}"
    )
    return [Path(events=list(sequence), count=count) for sequence, count in counts]
