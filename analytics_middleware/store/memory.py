"""MemoryStore: every question answered in plain Python; the reference for testing other stores."""

import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from analytics_middleware.event import Erase, Event, Identify, Record
from analytics_middleware.properties import Scalar
from analytics_middleware.store import _counting, _funnel, _retention, _sessions, _users
from analytics_middleware.store._history import History, Visitor
from analytics_middleware.store._records import Records
from analytics_middleware.store.base import FirstSeen, Store
from analytics_middleware.store.identity import identity
from analytics_middleware.store.questions import (
    ActiveUsers,
    DashboardSummary,
    Funnel,
    Latest,
    Lifecycle,
    Overview,
    Paths,
    PropertyNames,
    Retention,
    RetentionMatrix,
    Revenue,
    Sessions,
    Stickiness,
    TopEvents,
    TopProperties,
    TopValues,
    Traits,
    Trend,
    Users,
    UserTimeline,
    Volume,
)
from analytics_middleware.store.results import (
    Active,
    Count,
    Dashboard,
    FunnelStep,
    Group,
    LatestEvent,
    LifecyclePoint,
    Matrix,
    Path,
    RetentionRow,
    RevenueTotal,
    SessionSummary,
    StickinessPoint,
    Timeline,
    Totals,
    TrendPoint,
    UserRow,
    ValueCount,
    VolumePoint,
)


def _now() -> datetime:
    return datetime.now(UTC)


class MemoryStore(Store):
    """A `Store` in this process's memory, for tests, trials and small sites. Its contents end with the process.

    It keeps the latest *max_events* events; older ones are dropped and counted in `dropped`. First dates, links between
    ids and traits of dropped events are remembered, within the same limit. *clock* returns the current time (aware);
    events from the future are refused. Raises `ValueError` if *max_events* is less than 1.
    """

    def __init__(self, max_events: int = 100_000, *, clock: Callable[[], datetime] = _now) -> None:
        if max_events < 1:
            raise ValueError(f"max_events {max_events} must be at least 1")
        self._max_events = max_events
        self._clock = clock
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: start empty, because a thread of the parent may have been in the middle of a change."""
        self._records = Records(self._max_events)
        self._lock = threading.Lock()
        self._history: History | None = None

    @property
    def dropped(self) -> int:
        """How many events were dropped to make room for later ones."""
        return self._records.dropped

    @property
    def refused(self) -> int:
        """How many records were refused: too far in the future, erased, or of nobody."""
        return self._records.refused

    def __len__(self) -> int:
        return len(self._records)

    def apply(self, records: Sequence[Record]) -> None:
        """Store *records*; those already known change nothing."""
        now = self._clock()
        with self._lock:
            self._history = None
            for record in records:
                if isinstance(record, Event):
                    self._records.add_event(record, now)
                elif isinstance(record, Identify):
                    self._records.add_identify(record, now)
                else:
                    self._records.erase(record)

    def events(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        user_id: str | None = None,
        after: tuple[datetime, str] | None = None,
    ) -> Iterator[Event]:
        """Return the events kept at this moment, once each, in order of time and event id.

        *start* and *end* limit the range ``[start, end)``. *user_id* selects a user, including what their anonymous ids
        did earlier. *after* is the timestamp and event id at which an earlier reading stopped. Addresses are not kept.
        """
        with self._lock:
            return self._records.events(start, end, user_id, after)

    def people(self, *, user_id: str | None = None) -> Iterator[Identify | Erase]:
        """Return traits, ties and erasures of everybody, or of one user, as records for `apply`.

        Another store that applies them after the `events` gives the same answers as this one. Erasures come first. An
        identify at the time of an erasure is refused, but tells which anonymous id was the erased user's.
        """
        with self._lock:
            return iter([record for record in self._records.people() if user_id in (None, record.user_id)])

    def first_seen(self) -> Iterator[FirstSeen]:
        """Return when ids with dropped events were first seen; for the rest their events show it."""
        with self._lock:
            return iter(self._records.first_seen())

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Store what another store's `first_seen` returned."""
        with self._lock:
            for item in seen:
                self._records.add_first_seen(item)
            self._history = None

    def _read(self) -> History:
        with self._lock:
            if self._history is None:
                self._history = self._records.history()
            return self._history

    def volume(self, question: Volume, *, now: datetime) -> list[Group[list[VolumePoint]]]:
        """Events per bucket."""
        return _counting.volume(self._read(), question, now)

    def top_events(self, question: TopEvents) -> list[Count]:
        """The most frequent event names."""
        return _counting.top_events(self._read(), question)

    def top_properties(self, question: TopProperties) -> list[Count]:
        """The most frequent values of a property."""
        return _counting.top_properties(self._read(), question)

    def property_names(self, question: PropertyNames) -> list[Count]:
        """The names of the most frequent properties."""
        return _counting.property_names(self._read(), question)

    def top_values(self, question: TopValues) -> list[ValueCount]:
        """The values of a field with the most users."""
        return _counting.top_values(self._read(), question)

    def overview(self, question: Overview) -> Totals:
        """Visitors, page views and sessions."""
        return _sessions.overview(self._read(), question)

    def trend(self, question: Trend, *, now: datetime) -> list[TrendPoint]:
        """Visitors, page views and sessions per bucket."""
        return _sessions.trend(self._read(), question, now)

    def active_users(self, question: ActiveUsers) -> list[Group[Active]]:
        """Distinct users."""
        return _counting.active_users(self._read(), question)

    def dashboard_summary(self, question: DashboardSummary, *, now: datetime) -> Dashboard:
        """The last days at a glance."""
        return _counting.dashboard_summary(self._read(), question, now)

    def funnel(self, question: Funnel) -> list[Group[list[FunnelStep]]]:
        """Users per step."""
        return _funnel.funnel(self._read(), question)

    def retention(self, question: Retention, *, now: datetime) -> list[RetentionRow]:
        """How many newcomers of one day came back."""
        return _retention.retention(self._read(), question, now)

    def retention_matrix(self, question: RetentionMatrix, *, now: datetime) -> Matrix:
        """How many of each cohort came back in each following period."""
        return _retention.retention_matrix(self._read(), question, now)

    def paths(self, question: Paths) -> list[Path]:
        """The events that follow, or precede, an event."""
        return _sessions.paths(self._read(), question)

    def lifecycle(self, question: Lifecycle, *, now: datetime) -> list[LifecyclePoint]:
        """New, returning, resurrecting and dormant users per period."""
        return _retention.lifecycle(self._read(), question, now)

    def stickiness(self, question: Stickiness, *, now: datetime) -> list[StickinessPoint]:
        """Users by their number of active days."""
        return _retention.stickiness(self._read(), question, now)

    def sessions(self, question: Sessions) -> list[Group[SessionSummary]]:
        """Sessions, bounces, durations, entry and exit pages."""
        return _sessions.sessions(self._read(), question)

    def revenue(self, question: Revenue, *, now: datetime) -> list[Group[list[RevenueTotal]]]:
        """Revenue per currency."""
        return _counting.revenue(self._read(), question, now)

    def users(self, question: Users) -> list[UserRow]:
        """The users behind one number. Raises `QuestionError` if the question has no such number."""
        return _users.users(self._read(), question)

    def timeline(self, question: UserTimeline) -> Timeline:
        """One user's events."""
        return _users.timeline(self._read(), question)

    def latest(self, question: Latest) -> list[LatestEvent]:
        """The latest events."""
        return _users.latest(self._read(), question)

    def traits(self, question: Traits) -> dict[str, Scalar]:
        """The traits of a user."""
        user_id = identity(question.user_id)
        return {} if user_id is None else dict(self._read().traits(Visitor("user", user_id)))

    def close(self) -> None:
        """Nothing to release."""
