"""ClickHouseStore: answers questions from a ClickHouse server or cluster."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import ClassVar

from analytics_middleware.event import Erase, Event, Identify, Record
from analytics_middleware.properties import Scalar
from analytics_middleware.store import questions as q
from analytics_middleware.store import results as r
from analytics_middleware.store.base import FirstSeen, Store
from analytics_middleware.store.clickhouse import counting, funnel, migrating, returning, sessions, users
from analytics_middleware.store.clickhouse.address import Address, read_address
from analytics_middleware.store.clickhouse.connection import Connection
from analytics_middleware.store.clickhouse.reading import read_events, read_first_seen, read_people
from analytics_middleware.store.clickhouse.schema import Layout
from analytics_middleware.store.clickhouse.scope import Scope
from analytics_middleware.store.clickhouse.writing import Writer


class ClickHouseStore(Store):
    """A `Store` at *address*: ``clickhouse://user:password@host:8123/database``, ``clickhouses://…`` with TLS.

    With ``?cluster=NAME`` the tables are replicated and distributed over that cluster. It connects on first use, and
    creates the tables if there are none. The server deletes events more than *retention_days* old. A question may take
    *question_timeout* seconds. *clock* returns seconds since 1970.

    Raises `ConfigurationError` for an invalid address, `MissingExtraError` without the extra ``clickhouse``. All
    methods raise `ClickHouseError` if the server can't be reached or returns an error.
    """

    max_batch = 10_000
    linger = 1.0
    """Each insert creates a part that the server has to merge later, so inserts should be few and large
    (https://clickhouse.com/docs/optimize/bulk-inserts)."""

    _connection_type: ClassVar = Connection
    _layout_type: ClassVar = Layout

    def __init__(
        self,
        address: str | Address,
        *,
        retention_days: int | None = None,
        question_timeout: float = 30.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if retention_days is not None and retention_days < 1:
            raise ValueError(f"retention_days {retention_days} must be at least 1")
        self.address = read_address(address) if isinstance(address, str) else address
        self._retention = retention_days
        self._connection: Connection = self._connection_type(self.address, question_timeout)
        self._layout: Layout = self._layout_type(self.address.database, self.address.cluster)
        self._writer = Writer(self._connection, self._layout, retention_days, lambda: int(clock() * 1_000_000))
        self._prepared = False
        self._preparing = threading.Lock()

    def __repr__(self) -> str:
        """Return the address without user and password."""
        return f"<ClickHouseStore {self.address}>"

    def after_fork(self) -> None:
        """In a forked child: don't use or close the parent's connections."""
        self._connection.after_fork()
        self._preparing = threading.Lock()

    @property
    def refused(self) -> int:
        """How many records `apply` refused here: too old, from the future, erased, or of nobody."""
        return self._writer.refused

    def migrate(self) -> tuple[int, int]:
        """Create the tables or migrate them to this program's version; return versions before (0: none) and after."""
        return migrating.migrate(self._connection, self._layout, self._retention)

    def migrations(self) -> list[str]:
        """Return the statements that `migrate` would run."""
        return migrating.pending(self._connection, self._layout, self._retention)

    def apply(self, records: Sequence[Record]) -> None:
        """Store *records*; those already known change nothing."""
        self._prepare()
        self._writer.apply(records)

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Store first dates of deleted events, unless earlier ones are known."""
        self._prepare()
        self._writer.apply_first_seen(seen)

    def events(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        user_id: str | None = None,
        after: tuple[datetime, str] | None = None,
    ) -> Iterator[Event]:
        """Yield the events that count, once each, in order of time and event id. Memory use is bounded.

        *start* and *end* limit the range ``[start, end)``. *user_id* selects a user, including what their anonymous ids
        did earlier. *after* is the timestamp and event id at which an earlier reading stopped. Addresses are not kept.
        Events added or removed during the reading may or may not be included.
        """
        return read_events(self._scope, start, end, user_id, after)

    def people(self, *, user_id: str | None = None) -> Iterator[Identify | Erase]:
        """Return traits, ties and erasures of everybody, or of one user, as records for `apply`."""
        return read_people(self._scope(), user_id)

    def first_seen(self) -> Iterator[FirstSeen]:
        """Yield when ids were first seen."""
        return read_first_seen(self._scope)

    def volume(self, question: q.Volume, *, now: datetime) -> list[r.Group[list[r.VolumePoint]]]:
        """Events per bucket."""
        return counting.volume(self._scope(), question, now)

    def top_events(self, question: q.TopEvents) -> list[r.Count]:
        """The most frequent event names."""
        return counting.top_events(self._scope(), question)

    def top_properties(self, question: q.TopProperties) -> list[r.Count]:
        """The most frequent values of a property."""
        return counting.top_properties(self._scope(), question)

    def property_names(self, question: q.PropertyNames) -> list[r.Count]:
        """The names of the most frequent properties."""
        return counting.property_names(self._scope(), question)

    def top_values(self, question: q.TopValues) -> list[r.ValueCount]:
        """The values of a field with the most users."""
        return counting.top_values(self._scope(), question)

    def overview(self, question: q.Overview) -> r.Totals:
        """Visitors, page views and sessions."""
        return sessions.overview(self._scope(), question)

    def trend(self, question: q.Trend, *, now: datetime) -> list[r.TrendPoint]:
        """Visitors, page views and sessions per bucket."""
        return sessions.trend(self._scope(), question, now)

    def active_users(self, question: q.ActiveUsers) -> list[r.Group[r.Active]]:
        """Distinct users."""
        return counting.active_users(self._scope(), question)

    def dashboard_summary(self, question: q.DashboardSummary, *, now: datetime) -> r.Dashboard:
        """The last days at a glance."""
        return counting.dashboard_summary(self._scope(), question, now)

    def funnel(self, question: q.Funnel) -> list[r.Group[list[r.FunnelStep]]]:
        """Users per step."""
        return funnel.funnel(self._scope(), question)

    def retention(self, question: q.Retention, *, now: datetime) -> list[r.RetentionRow]:
        """How many newcomers of one day came back."""
        return returning.retention(self._scope(), question, now)

    def retention_matrix(self, question: q.RetentionMatrix, *, now: datetime) -> r.Matrix:
        """How many of each cohort came back in each following period."""
        return returning.retention_matrix(self._scope(), question, now)

    def paths(self, question: q.Paths) -> list[r.Path]:
        """The events that follow, or precede, an event."""
        return sessions.paths(self._scope(), question)

    def lifecycle(self, question: q.Lifecycle, *, now: datetime) -> list[r.LifecyclePoint]:
        """New, returning, resurrecting and dormant users per period."""
        return returning.lifecycle(self._scope(), question, now)

    def stickiness(self, question: q.Stickiness, *, now: datetime) -> list[r.StickinessPoint]:
        """Users by their number of active days."""
        return returning.stickiness(self._scope(), question, now)

    def sessions(self, question: q.Sessions) -> list[r.Group[r.SessionSummary]]:
        """Sessions, bounces, durations, entry and exit pages."""
        return sessions.sessions(self._scope(), question)

    def revenue(self, question: q.Revenue, *, now: datetime) -> list[r.Group[list[r.RevenueTotal]]]:
        """Revenue per currency."""
        return counting.revenue(self._scope(), question, now)

    def users(self, question: q.Users) -> list[r.UserRow]:
        """The users behind one number. Raises `QuestionError` if the question has no such number."""
        return users.users(self._scope(), question)

    def timeline(self, question: q.UserTimeline) -> r.Timeline:
        """One user's events."""
        return users.timeline(self._scope(), question)

    def latest(self, question: q.Latest) -> list[r.LatestEvent]:
        """The latest events."""
        return users.latest(self._scope(), question)

    def traits(self, question: q.Traits) -> dict[str, Scalar]:
        """The traits of a user."""
        return users.traits(self._scope(), question)

    def close(self) -> None:
        """Close the connections."""
        self._connection.close()

    def _prepare(self) -> None:
        with self._preparing:
            if not self._prepared:
                migrating.prepare(self._connection, self._layout, self._retention)
                self._prepared = True

    def _scope(self) -> Scope:
        self._prepare()
        return Scope(self._connection, self._layout)
