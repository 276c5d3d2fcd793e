"""The port between callers and engines: one method per question."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple, Protocol, runtime_checkable

from analytics_middleware.delivery.runner import Feed
from analytics_middleware.event import Erase, Event, Identify, Record
from analytics_middleware.properties import Scalar
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


class FirstSeen(NamedTuple):
    """When a user or an anonymous id was first seen; kept even after its events are deleted."""

    user_id: str | None
    anon_id: str | None
    at: datetime
    human_at: datetime | None
    """The first event that is not a bot's, None if all are."""


@runtime_checkable
class Store(Protocol):
    """Keeps events and answers questions about them. Safe to use from several threads at once.

    `apply` may be given a record again, in any batch and order: it counts once. All stores answer by the same rules,
    each question at one consistent point. A question that can be broken down is answered with one `Group` per value;
    without a breakdown, with a single group. *now* decides what is incomplete, and which day is today.
    """

    max_batch: int = 500
    """The largest number of records from the log to pass to `apply` at once."""
    linger: float = 0.0
    """Seconds to wait for a full batch."""

    def start(self) -> None:
        """Start receiving what is logged from now on, if the store reads the log itself."""
        return

    def apply(self, records: Sequence[Record]) -> None:
        """Store *records*: events, traits and ties between ids, and erasures."""
        ...

    def volume(self, question: Volume, *, now: datetime) -> list[Group[list[VolumePoint]]]:
        """Events per bucket."""
        ...

    def top_events(self, question: TopEvents) -> list[Count]:
        """The most frequent event names."""
        ...

    def top_properties(self, question: TopProperties) -> list[Count]:
        """The most frequent values of a property."""
        ...

    def property_names(self, question: PropertyNames) -> list[Count]:
        """The names of the most frequent properties."""
        ...

    def top_values(self, question: TopValues) -> list[ValueCount]:
        """The values of a field with the most users."""
        ...

    def overview(self, question: Overview) -> Totals:
        """Visitors, page views and sessions."""
        ...

    def trend(self, question: Trend, *, now: datetime) -> list[TrendPoint]:
        """Visitors, page views and sessions per bucket."""
        ...

    def active_users(self, question: ActiveUsers) -> list[Group[Active]]:
        """Distinct users."""
        ...

    def dashboard_summary(self, question: DashboardSummary, *, now: datetime) -> Dashboard:
        """The last days at a glance."""
        ...

    def funnel(self, question: Funnel) -> list[Group[list[FunnelStep]]]:
        """Users per step."""
        ...

    def retention(self, question: Retention, *, now: datetime) -> list[RetentionRow]:
        """How many newcomers of one day came back."""
        ...

    def retention_matrix(self, question: RetentionMatrix, *, now: datetime) -> Matrix:
        """How many of each cohort came back in each following period."""
        ...

    def paths(self, question: Paths) -> list[Path]:
        """The events that follow, or precede, an event."""
        ...

    def lifecycle(self, question: Lifecycle, *, now: datetime) -> list[LifecyclePoint]:
        """New, returning, resurrecting and dormant users per period."""
        ...

    def stickiness(self, question: Stickiness, *, now: datetime) -> list[StickinessPoint]:
        """Users by their number of active days."""
        ...

    def sessions(self, question: Sessions) -> list[Group[SessionSummary]]:
        """Sessions, bounces, durations, entry and exit pages."""
        ...

    def revenue(self, question: Revenue, *, now: datetime) -> list[Group[list[RevenueTotal]]]:
        """Revenue per currency."""
        ...

    def users(self, question: Users) -> list[UserRow]:
        """The users behind one number. Raises `QuestionError` if the question has no such number."""
        ...

    def timeline(self, question: UserTimeline) -> Timeline:
        """One user's events."""
        ...

    def latest(self, question: Latest) -> list[LatestEvent]:
        """The latest events."""
        ...

    def traits(self, question: Traits) -> dict[str, Scalar]:
        """The traits of a user."""
        ...

    def maintain(self) -> bool | None:
        """Do background work now. Return False if another process is doing it, None if the store has none."""
        return None

    def after_fork(self) -> None:
        """In a forked child: don't touch what belongs to the parent."""
        return

    @property
    def feed(self) -> Feed | None:
        """The consumer of the log, for a store that works on the log itself; None for any other store."""
        return None

    def close(self) -> None:
        """Release all resources; the store must not be used afterwards."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A store whose contents can be read back and copied to another."""

    def apply(self, records: Sequence[Record]) -> None:
        """See `Store.apply`."""
        ...

    @property
    def refused(self) -> int:
        """How many of the records given to `apply` here were refused."""
        ...

    def events(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        user_id: str | None = None,
        after: tuple[datetime, str] | None = None,
    ) -> Iterator[Event]:
        """Return all visible events, once each, in order of time and event id."""
        ...

    def people(self, *, user_id: str | None = None) -> Iterator[Identify | Erase]:
        """Return traits, ties and erasures as records for `apply`. Apply them after the events."""
        ...

    def first_seen(self) -> Iterator[FirstSeen]:
        """Return when ids were first seen, if events that show it may have been deleted."""
        ...

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Store what another store's `first_seen` returned."""
        ...

    def close(self) -> None:
        """See `Store.close`."""
        ...
