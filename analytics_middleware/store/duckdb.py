"""DuckDBStore: the embedded store of a data directory, in Parquet files that other engines can read.

Events stay in the outbox's log until they are sealed into segments; a question sees both. NumPy answers questions
from arrays of the few columns they need, ordered by visitor and time. DuckDB only runs `sql`.
"""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar

import msgspec

from analytics_middleware.event import Erase, Event, Identify, Record
from analytics_middleware.outbox.base import STORE
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.properties import Scalar
from analytics_middleware.store import _np_counting, _np_funnel, _np_retention, _np_sessions, _np_users
from analytics_middleware.store import questions as q
from analytics_middleware.store import results as r
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._warming import warm
from analytics_middleware.store.base import FirstSeen, Store
from analytics_middleware.store.catalogue import segment_directory
from analytics_middleware.store.columns import events_of
from analytics_middleware.store.compaction import Compactor
from analytics_middleware.store.identity import identity, is_cookieless
from analytics_middleware.store.reading import EventSelection, read_first_seen, read_people, read_tables
from analytics_middleware.store.sealing import Sealer, SealingPace
from analytics_middleware.store.segments import Segments
from analytics_middleware.store.snapshot import FrameReader
from analytics_middleware.store.sql import Rows, run_sql
from analytics_middleware.store.tail import TableCounts
from analytics_middleware.store.timeout import time_limit
from analytics_middleware.store.traits import Stale, TraitReader

T = TypeVar("T")

_TRIES = 10
_MAX_ANSWERS = 256


class DuckDBStore(Store):
    """A `Store` in the directory of *outbox*, shared by all its processes.

    Run `sealer` in a thread, like a collector. The process that holds the lease seals what is in the log, compacts, and
    deletes events more than *retention_days* old. Questions include what is still in the log.

    A question may take *question_timeout* seconds. *cache_bytes* limits the columns cached in this process, and
    separately those on disk, where columns are kept from *disk_from* compacted events on; *memory_limit* and *threads*
    apply to `sql`. *clock* returns seconds since 1970.
    """

    def __init__(
        self,
        outbox: SqliteOutbox,
        *,
        retention_days: int | None = None,
        question_timeout: float = 30.0,
        cache_bytes: int = 512 * 2**20,
        disk_from: int = 1_000_000,
        memory_limit: str = "1GB",
        threads: int = 2,
        pace: SealingPace | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if retention_days is not None and retention_days < 1:
            raise ValueError(f"retention_days {retention_days} must be at least 1")
        self._outbox = outbox
        self._clock = clock
        self._timeout = question_timeout
        self._memory_limit = memory_limit
        self._threads = threads
        self.segments = Segments(segment_directory(outbox.database.directory))
        new_reader = partial(FrameReader, outbox.database, self.segments, self._now, cache_bytes, disk_from)
        compactor = Compactor(outbox, self.segments, retention_days=retention_days, clock=clock)
        self.sealer = Sealer(
            outbox,
            self.segments,
            compactor,
            pace=pace or SealingPace(),
            compacted=partial(warm, new_reader),
            clock=clock,
            keep_replaced=2 * question_timeout,
        )
        self._reader = new_reader()
        self._traits = TraitReader(outbox.database)
        self._refused = 0
        self._applying = threading.Lock()

    def start(self) -> None:
        """Register the store with the log: it receives what is logged from now on."""
        self._outbox.register(STORE)

    @property
    def refused(self) -> int:
        """How many records `apply` refused here: from the future, erased, or of nobody."""
        return self._refused

    def apply(self, records: Sequence[Record]) -> None:
        """Store *records* that are in no log, such as imports: they are sealed at once and not sent to collectors."""
        with self._applying:
            self._refused += self.sealer.apply(records)

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Store what another store's `first_seen` returned.

        Raises `LeaseLost` while another process holds the store's lease, because the dates go into compacted files.
        """
        known = [item for item in seen if identity(item.user_id or item.anon_id) and not is_cookieless(item.anon_id)]
        with self._applying:
            self.sealer.apply_first_seen(known)

    def append_table(self, table: Any) -> TableCounts:
        """Store events from an Arrow table with `columns.SCHEMA`, to load history fast; `maintain` compacts it.

        Ids must be validated already: null if they identify nobody. Known, erased and too old events and those from the
        future are left out. Returns the counts.
        """
        with self._applying:
            return self.sealer.append_table(table)

    def events(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        user_id: str | None = None,
        after: tuple[datetime, str] | None = None,
    ) -> Iterator[Event]:
        """Return all events that count at this moment, sealed or not, once each, in order of time and event id.

        *start* and *end* limit the range ``[start, end)``. *user_id* selects a user, including what their anonymous ids
        did earlier. *after* is the timestamp and event id at which an earlier reading stopped. Memory use is bounded.
        Addresses are not kept.
        """
        tables = self.tables(start=start, end=end, user_id=user_id, after=after)
        return (event for table in tables for event in events_of(table))

    def tables(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        user_id: str | None = None,
        after: tuple[datetime, str] | None = None,
    ) -> Iterator[Any]:
        """Return the same as `events`, as Arrow tables of `columns.SCHEMA` with a few thousand rows each."""
        return read_tables(
            self._outbox.database,
            self.segments,
            EventSelection.of(start, end, user_id, after),
            now=self._now(),
        )

    def people(self, *, user_id: str | None = None) -> Iterator[Identify | Erase]:
        """Return traits, ties and erasures of everybody, or of one user, as records for `apply`.

        Another store that applies them after the `events` gives the same answers as this one. Erasures come first. An
        identify at the time of an erasure is refused, but tells which anonymous id was the erased user's.
        """
        return read_people(self._outbox.database, self.segments, now=self._now(), user_id=user_id)

    def first_seen(self) -> Iterator[FirstSeen]:
        """Return when ids were first seen, if events that show it may be deleted; for the rest their events show it."""
        return read_first_seen(self._outbox.database, self.segments, now=self._now())

    def maintain(self) -> bool:
        """Seal, compact and delete what there is; return False if another process is doing so."""
        return self.sealer.maintain()

    @property
    def feed(self) -> Sealer:
        """The consumer of the log: `step` does the sealing and compacting that is due."""
        return self.sealer

    def close(self) -> None:
        """Give up the lease. The outbox stays open."""
        self.sealer.close()
        self._reader.close()

    def after_fork(self) -> None:
        """In a forked child, after the outbox's own `after_fork`: don't touch the parent's locks."""
        self._reader.after_fork()
        self._applying = threading.Lock()

    def volume(self, question: q.Volume, *, now: datetime) -> list[r.Group[list[r.VolumePoint]]]:
        """Events per bucket."""
        return self._answer(question, lambda frame: _np_counting.volume(frame, question, now), now)

    def top_events(self, question: q.TopEvents) -> list[r.Count]:
        """The most frequent event names."""
        return self._answer(question, lambda frame: _np_counting.top_events(frame, question))

    def top_properties(self, question: q.TopProperties) -> list[r.Count]:
        """The most frequent values of a property."""
        return self._answer(question, lambda frame: _np_counting.top_properties(frame, question))

    def property_names(self, question: q.PropertyNames) -> list[r.Count]:
        """The names of the most frequent properties."""
        return self._answer(question, lambda frame: _np_counting.property_names(frame, question))

    def top_values(self, question: q.TopValues) -> list[r.ValueCount]:
        """The values of a field with the most users."""
        return self._answer(question, lambda frame: _np_counting.top_values(frame, question))

    def overview(self, question: q.Overview) -> r.Totals:
        """Visitors, page views and sessions."""
        return self._answer(question, lambda frame: _np_sessions.overview(frame, question))

    def trend(self, question: q.Trend, *, now: datetime) -> list[r.TrendPoint]:
        """Visitors, page views and sessions per bucket."""
        return self._answer(question, lambda frame: _np_sessions.trend(frame, question, now), now)

    def active_users(self, question: q.ActiveUsers) -> list[r.Group[r.Active]]:
        """Distinct users."""
        return self._answer(question, lambda frame: _np_counting.active_users(frame, question))

    def dashboard_summary(self, question: q.DashboardSummary, *, now: datetime) -> r.Dashboard:
        """The last days at a glance."""
        return self._answer(question, lambda frame: _np_counting.dashboard_summary(frame, question, now), now)

    def funnel(self, question: q.Funnel) -> list[r.Group[list[r.FunnelStep]]]:
        """Users per step."""
        return self._answer(question, lambda frame: _np_funnel.funnel(frame, question))

    def retention(self, question: q.Retention, *, now: datetime) -> list[r.RetentionRow]:
        """How many newcomers of one day came back."""
        return self._answer(question, lambda frame: _np_retention.retention(frame, question, now), now)

    def retention_matrix(self, question: q.RetentionMatrix, *, now: datetime) -> r.Matrix:
        """How many of each cohort came back in each following period."""
        return self._answer(question, lambda frame: _np_retention.retention_matrix(frame, question, now), now)

    def paths(self, question: q.Paths) -> list[r.Path]:
        """The events that follow, or precede, an event."""
        return self._answer(question, lambda frame: _np_sessions.paths(frame, question))

    def lifecycle(self, question: q.Lifecycle, *, now: datetime) -> list[r.LifecyclePoint]:
        """New, returning, resurrecting and dormant users per period."""
        return self._answer(question, lambda frame: _np_retention.lifecycle(frame, question, now), now)

    def stickiness(self, question: q.Stickiness, *, now: datetime) -> list[r.StickinessPoint]:
        """Users by their number of active days."""
        return self._answer(question, lambda frame: _np_retention.stickiness(frame, question, now), now)

    def sessions(self, question: q.Sessions) -> list[r.Group[r.SessionSummary]]:
        """Sessions, bounces, durations, entry and exit pages."""
        return self._answer(question, lambda frame: _np_sessions.sessions(frame, question))

    def revenue(self, question: q.Revenue, *, now: datetime) -> list[r.Group[list[r.RevenueTotal]]]:
        """Revenue per currency."""
        return self._answer(question, lambda frame: _np_counting.revenue(frame, question, now), now)

    def users(self, question: q.Users) -> list[r.UserRow]:
        """The users behind one number. Raises `QuestionError` if the question has no such number."""
        return self._answer(
            question, lambda frame: _np_users.users(frame, question, lambda ids: self._traits.of(frame, ids))
        )

    def timeline(self, question: q.UserTimeline) -> r.Timeline:
        """One user's events."""
        return self._answer(
            question, lambda frame: _np_users.timeline(frame, question, lambda ids: self._traits.of(frame, ids))
        )

    def latest(self, question: q.Latest) -> list[r.LatestEvent]:
        """The latest events."""
        return self._answer(question, lambda frame: _np_users.latest(frame, question))

    def traits(self, question: q.Traits) -> dict[str, Scalar]:
        """The traits of a user."""
        user_id = identity(question.user_id)
        if user_id is None:
            return {}
        return self._answer(question, lambda frame: dict(self._traits.of(frame, [user_id]).get(user_id, {})))

    def sql(self, query: str, *, max_rows: int = 10_000) -> Rows:
        """Return the rows of *query*, one SELECT statement over the view ``events``; at most *max_rows*.

        Raises `SqlError` for any other statement and if the query fails, `QuestionTimeout` if it takes too long.
        """
        return run_sql(
            query,
            self._outbox.database,
            self.segments,
            max_rows=max_rows,
            timeout=self._timeout,
            memory_limit=self._memory_limit,
            threads=self._threads,
            now=self._now(),
        )

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    def _answer(self, question: msgspec.Struct, answer: Callable[[Frame], T], now: datetime | None = None) -> T:
        """Return the answer for the current frame. Answers are cached with the frame, for a minute if *now* matters."""
        with time_limit(self._timeout):
            for _ in range(_TRIES):
                frame = self._reader.frame()
                # Buckets begin and end at whole minutes in every time zone, so *now* matters to the minute.
                key = (type(question), question, None if now is None else int(now.astimezone(UTC).timestamp()) // 60)
                if key in frame.answers:
                    found: T = frame.answers[key]
                    return found
                try:
                    self._traits.load(frame, question)
                    found = answer(frame)
                except Stale:
                    continue
                if len(frame.answers) >= _MAX_ANSWERS:
                    frame.answers.clear()
                frame.answers[key] = found
                return found
        raise TimeoutError(f"the catalogue changed {_TRIES} times while a question was being answered")
