"""Sessions: a visitor's events without a long pause, and the paths through them."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from statistics import median
from typing import NamedTuple

from msgspec import structs

from analytics_middleware.event import EventType
from analytics_middleware.store._counting import by_field, count_bots, grouped, is_error_page, top
from analytics_middleware.store._history import History, Row, Visitor, by_visitor, cookieless, distinct
from analytics_middleware.store.calendar import buckets
from analytics_middleware.store.questions import Overview, Paths, Sessions, Trend
from analytics_middleware.store.results import Group, Path, SessionSummary, Totals, TrendPoint

_SECOND = timedelta(seconds=1)


class Session(NamedTuple):
    """One visitor's events, each within the time-out of the one before."""

    visitor: Visitor
    rows: list[Row]

    @property
    def seconds(self) -> float:
        """Seconds from the first event to the last."""
        return (self.rows[-1].at - self.rows[0].at) / _SECOND

    @property
    def pages(self) -> list[Row]:
        """Its page views."""
        return [row for row in self.rows if row.event.type is EventType.PAGEVIEW]

    @property
    def bounced(self) -> bool:
        """Whether it consists of a single page view."""
        return len(self.rows) == len(self.pages) == 1


def sessions_in(history: History, question: Sessions | Paths | Overview) -> list[Session]:
    """Return the complete sessions that begin in the range and have an event that passes the filters."""
    key = ("sessions", question.bots, question.timeout)
    found: list[Session] | None = history.answers.get(key)
    if found is None:
        visitors = by_visitor(history.people(question.bots)).items()
        found = [session for visitor, rows in visitors for session in _split(visitor, rows, question.timeout)]
        history.answers[key] = found
    return [
        session
        for session in found
        if question.start <= session.rows[0].at < question.end
        and any(history.passes(row, question) for row in session.rows)
    ]


def _split(visitor: Visitor, rows: list[Row], timeout: timedelta) -> Iterator[Session]:
    begin = 0
    for index in range(1, len(rows) + 1):
        if index == len(rows) or rows[index].at - rows[index - 1].at > timeout:
            yield Session(visitor, rows[begin:index])
            begin = index


def _first(session: Session) -> Row:
    return session.rows[0]


def sessions(history: History, question: Sessions) -> list[Group[SessionSummary]]:
    """Sessions, bounces, durations, entry and exit pages."""

    def summary(found: list[Session]) -> SessionSummary:
        paged = [session.pages for session in found if session.pages]
        bounces = sum(session.bounced for session in found)
        seconds = [session.seconds for session in found]
        return SessionSummary(
            count=len(found),
            bounces=bounces,
            bounce_rate=bounces / len(found) if found else None,
            mean_duration=_mean(found),
            median_duration=median(seconds) if seconds else None,
            entry_pages=top(
                (pages[0].event.path for pages in paged if pages[0].event.path is not None), question.limit
            ),
            exit_pages=top(
                (pages[-1].event.path for pages in paged if pages[-1].event.path is not None), question.limit
            ),
            cookieless=cookieless(session.visitor for session in found),
        )

    key = by_field(history, question.breakdown, _first)
    return grouped(sessions_in(history, question), key, question.breakdown_limit, summary)


def _mean(found: list[Session]) -> float | None:
    if not found:
        return None
    # Add timedeltas, which is exact: a sum of floats would depend on the order of the sessions.
    length = sum((session.rows[-1].at - session.rows[0].at for session in found), timedelta(0))
    return length // timedelta(microseconds=1) / len(found) / 1_000_000


def overview(history: History, question: Overview) -> Totals:
    """The totals of an overview page."""
    rows = history.within(question)
    found = sessions_in(history, question)
    visitors = distinct(rows, question)
    return Totals(
        visitors=len(visitors),
        pageviews=_pageviews(rows),
        events=len(rows),
        sessions=len(found),
        bounce_rate=_bounce_rate(found),
        mean_duration=_mean(found),
        errors=sum(is_error_page(row) for row in rows),
        bots=0 if question.bots else count_bots(history, structs.replace(question, bots=True)),
        cookieless=cookieless(visitors),
    )


def _pageviews(rows: list[Row]) -> int:
    return sum(row.event.type is EventType.PAGEVIEW and not is_error_page(row) for row in rows)


def _bounce_rate(found: list[Session]) -> float | None:
    return sum(session.bounced for session in found) / len(found) if found else None


def trend(history: History, question: Trend, now: datetime) -> list[TrendPoint]:
    """The overview's figures for each bucket."""
    spans = buckets(question.start, question.end, question.bucket, question.tz)
    rows: dict[int | None, list[Row]] = {}
    for row in history.within(question):
        rows.setdefault(spans.find(row.at), []).append(row)
    found: dict[int | None, list[Session]] = {}
    for session in sessions_in(history, question):
        found.setdefault(spans.find(session.rows[0].at), []).append(session)
    points: list[TrendPoint] = []
    for index, span in enumerate(spans.all):
        own, begun = rows.get(index, []), found.get(index, [])
        part = structs.replace(question, start=max(span.start, question.start), end=min(span.end, question.end))
        visitors = distinct(own, part)
        points.append(
            TrendPoint(
                time=span.start,
                visitors=len(visitors),
                pageviews=_pageviews(own),
                events=len(own),
                sessions=len(begun),
                bounce_rate=_bounce_rate(begun),
                errors=sum(is_error_page(row) for row in own),
                cookieless=cookieless(visitors),
                incomplete=span.end > now,
            )
        )
    return points


def paths(history: History, question: Paths) -> list[Path]:
    """The names that follow, or precede, the first event of a name in each session."""
    counts: Counter[tuple[str, ...]] = Counter()
    for session in sessions_in(history, question):
        names = [row.name for row in session.rows]
        if question.event in names:
            place = names.index(question.event)
            if question.direction == "after":
                counts[tuple(names[place + 1 : place + 1 + question.depth])] += 1
            else:
                counts[tuple(names[max(0, place - question.depth) : place])] += 1
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return [Path(events=list(names), count=count) for names, count in ranked[: question.limit]]
