"""The port between whoever asks and the engine that answers: one method per question."""

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
    """When a user, or an anonymous id, was seen first; it outlives the events that tell it."""

    user_id: str | None
    anon_id: str | None
    at: datetime
    human_at: datetime | None
    """The first event that is no bot's, None when all are."""


@runtime_checkable
class Store(Protocol):
    """Keeps events and answers questions about them; safe to use from several threads at once.

    `apply` may be given a record again, in any company and order: it counts once. Every question is answered at one
    consistent point and to the same rules by every store. Questions that can be broken down answer with one `Group`
    per value, without a breakdown with one in all. *now* decides what is not over yet, and what "today" is.
    """

    max_batch: int = 500
    """Records from the log that it is given at once, at most."""
    linger: float = 0.0
    """Seconds to wait for that many."""

    def start(self) -> None:
        """Begin to take what is logged from now on, if the store takes it from the log itself."""
        return

    def apply(self, records: Sequence[Record]) -> None:
        """Take in *records*: events, traits and ties of users, and wishes to be forgotten."""
        ...

    def volume(self, question: Volume, *, now: datetime) -> list[Group[list[VolumePoint]]]:
        """Events per bucket."""
        ...

    def top_events(self, question: TopEvents) -> list[Count]:
        """The most frequent names of events."""
        ...

    def top_properties(self, question: TopProperties) -> list[Count]:
        """The most frequent values of a property."""
        ...

    def property_names(self, question: PropertyNames) -> list[Count]:
        """The names of the properties that most events have."""
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
        """What follows, or precedes, an event."""
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
        """The users behind one number; raises `QuestionError` when the question has no such number."""
        ...

    def timeline(self, question: UserTimeline) -> Timeline:
        """What one user did."""
        ...

    def latest(self, question: Latest) -> list[LatestEvent]:
        """The latest events."""
        ...

    def traits(self, question: Traits) -> dict[str, Scalar]:
        """What is known of a user."""
        ...

    def maintain(self) -> bool | None:
        """Do now what is done by and by; return False when another process does so, None when nothing ever is."""
        return None

    def after_fork(self) -> None:
        """In a forked child: leave what is the parent's alone."""
        return

    @property
    def feed(self) -> Feed | None:
        """What takes records from the log to a store that works on the log itself; None of any other."""
        return None

    def close(self) -> None:
        """Release what the store holds; it is not used afterwards."""
        ...


@runtime_checkable
class Portable(Protocol):
    """A store whose contents can be read back and given to another one."""

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
        """Return the events that count, once each, in order of time and event id."""
        ...

    def people(self, *, user_id: str | None = None) -> Iterator[Identify | Erase]:
        """Return traits, ties and erasures as records for `apply`, after the events."""
        ...

    def first_seen(self) -> Iterator[FirstSeen]:
        """Return when ids were first seen, where events that tell it may be deleted."""
        ...

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Take in what another store's `first_seen` told."""
        ...

    def close(self) -> None:
        """See `Store.close`."""
        ...
