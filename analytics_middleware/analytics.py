"""`Analytics`: what an application creates and calls. Its life cycle is in `Running`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Self
from uuid import UUID

from analytics_middleware.assembly import build_hub, build_outbox, build_store
from analytics_middleware.block import block
from analytics_middleware.collectors.base import Collector
from analytics_middleware.collectors.configured import build_collectors
from analytics_middleware.context import RequestContext, current
from analytics_middleware.counters import NOTES, REASONS
from analytics_middleware.enrich.salts import new_salt
from analytics_middleware.erasing import erase_record
from analytics_middleware.errors import AnalyticsError, ConfigurationError, MissingExtraError
from analytics_middleware.event import Event
from analytics_middleware.exclusions import STAFF
from analytics_middleware.outbox.base import STORE, Draft, Erased, Outbox
from analytics_middleware.outbox.file_system import refuse_network_file_system
from analytics_middleware.parts import Parts
from analytics_middleware.request import Request
from analytics_middleware.running import Running
from analytics_middleware.settings import Settings, by_name
from analytics_middleware.tracking import TrackedTraits, identification, tracked

if TYPE_CHECKING:
    from analytics_middleware.store.base import Store
    from analytics_middleware.store.hub import HubStore
    from analytics_middleware.store.insights import Insights


class Analytics(Running):
    """Records events and delivers them. One object for the whole application, made at start.

    ``Analytics([StdoutCollector()], data_dir="/var/lib/shop/analytics")``; *settings* are the keywords of `Settings`.
    No thread is started and no file opened until the first request or event of the process.

    Raises `ConfigurationError` for a setting that is wrong.
    """

    default_sinks: ClassVar[list[Callable[[Event], None]]] = []
    """Sinks of the testing module; a new instance captures to the last one (see `capture`)."""

    def __init__(self, collectors: Iterable[Any] = (), **settings: Any) -> None:
        checked = Settings.from_mapping({**settings, "collectors": collectors})
        if checked.data_dir is not None:
            refuse_network_file_system(checked.data_dir)
        outbox = build_outbox(checked)
        hub = build_hub(checked)
        self.parts = Parts()
        """Objects that the API and the pages share."""
        super().__init__(
            checked,
            build_collectors(checked.collectors, reserved=(STORE,)),
            outbox,
            None if hub is not None else build_store(checked, outbox),
            hub,
        )
        self.leaves_out_staff = STAFF in checked.exclude
        """Whether adapters must find out if the user is staff."""
        if self.default_sinks:
            self.capture(self.default_sinks[-1])

    def after_fork(self) -> None:
        """See `Running.after_fork`."""
        super().after_fork()
        self.parts.after_fork()

    @classmethod
    def from_settings(cls, mapping: Mapping[str, Any]) -> Self:
        """Return analytics configured by *mapping*, whose keys are those of `Settings` in upper or lower case."""
        return cls(**by_name(mapping))

    # For applications.

    def track(self, event: str | Event, properties: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Record a custom event, anywhere. Inside a request, its empty fields are filled from the request.

        *event* is a name or an `Event`; *fields* are further fields of a named event, such as ``user_id`` or
        ``revenue``. Raises `TypeError` or `ValueError` for invalid arguments.
        """
        context = current.get()
        item = tracked(event, properties, fields, context, self.counters)
        if context is None:
            self.submit(item)
        else:
            context.submit(item, self)

    def identify(
        self, user_id: str | int | UUID, traits: Mapping[str, Any] | None = None, anon_id: str | None = None
    ) -> None:
        """Merge *traits* into those known of *user_id* (None removes a key), and link *anon_id* to that user.

        Raises `ValueError` for an empty *user_id*, `TypeError` for one of another type.
        """
        self.submit(TrackedTraits(identification(user_id, traits, anon_id), current.get()))

    def erase(self, user_id: str | int | UUID, progress: Callable[[int], object] = lambda _: None) -> Erased:
        """Permanently delete everything recorded of *user_id* up to now; return what was deleted.

        It is gone from the log, retries and dead letters when this returns; the store deletes its part when it reads
        the record that this writes to the log. What collectors have already sent must be deleted at its destination.
        *progress* is called with the number of rows examined since its last call. Raises `ValueError` for an empty
        *user_id*, `TypeError` for one of another type.
        """
        name, record = erase_record(user_id)
        # A store that has not read the log yet starts at its end, so it must start before the record is written.
        self.ensure_started()
        erased = self._outbox.erase(name, record, progress)
        # The store should read the record now, not when the next event comes.
        self._engine.wake_delivery()
        return erased

    def context(self, event_name: str | None = None, **fields: Any) -> AbstractContextManager[RequestContext]:
        """Give jobs and scripts what a request gives views: a context from which `track` fills events.

        *fields* are `Event` fields such as ``user_id``, ``locale`` and ``client_ip``. With *event_name*, the block
        itself becomes a custom event with its duration, and the helpers change it as they change a request's event.
        If the block raises, the exception's class name becomes the property ``error``. Entering the block raises
        `TypeError` or `ValueError` for invalid arguments.
        """
        return block(self, event_name, fields)

    @property
    def insights(self) -> "Insights":
        """The questions to the store: ``analytics.insights.funnel(["pageview", "checkout.completed"])``.

        Raises `AnalyticsError` if there is no store or it is on another host, and `MissingExtraError` if it needs the
        extra ``insights``.
        """
        from analytics_middleware.store.insights import Insights

        if self._hub is not None:
            raise AnalyticsError(f"the store is elsewhere: ask {self._hub.url}, where the pages are too")
        if self._store is None and self.settings.store is None:
            raise AnalyticsError("there is no store to ask: the setting 'store' is None")
        if self._store is None:
            raise MissingExtraError(
                "questions to a data directory need the extra: pip install 'analytics-middleware[insights]'"
            )
        return Insights(self._store, timezone=self.settings.timezone)

    def maintain(self) -> bool:
        """Do the periodic maintenance now: seal, compact, prune, delete addresses and old salts, empty SQLite's WAL.

        Return whether nothing of the deleted data is left in the files. If not, somebody was reading the database;
        it is tried again within a minute.
        """
        if self._store is not None:
            self._store.maintain()
        return self._engine.maintain()

    def stats(self) -> dict[str, Any]:
        """Return all counters: how many events were accepted and dropped, and the state of each collector.

        For each collector and for the store ``accepted == delivered + sum(dropped) + dead + pending``.
        """
        outbox = self._outbox.stats()
        counts = dict(outbox.counts)
        for name, count in self.counters.peek().items():
            counts[name] = counts.get(name, 0) + count
        return {
            **{name: counts.get(name, 0) for name in NOTES},
            "dropped": {reason: count for reason in REASONS if (count := counts.get(f"dropped.{reason}", 0))},
            "durable": self._outbox.durable,
            "collectors": {name: stats._asdict() for name, stats in outbox.consumers.items() if name != STORE},
            "store": stats._asdict() if (stats := outbox.consumers.get(STORE)) is not None else None,
        }

    # For the command line.

    @property
    def outbox(self) -> Outbox:
        """The log."""
        return self._outbox

    @property
    def awaited(self) -> list[str]:
        """The names of the consumers that `flush` waits for."""
        return self._engine.awaited()

    @property
    def collectors(self) -> Sequence[Collector]:
        """The collectors that events are delivered to."""
        return self._collectors

    @property
    def store(self) -> "Store | None":
        """The store that answers questions in this process, if it is not on another host."""
        return self._store

    @property
    def hub(self) -> "HubStore | None":
        """The client of the hub, if the store is on another host."""
        return self._hub

    # For the API.

    def take_over(self, drafts: Sequence[Draft]) -> None:
        """Write *drafts*, which another host sent, to the log before returning. Raises if they can't be written."""
        self.ensure_started()
        self._engine.take_over(drafts)

    def shared_salt(self, day: date) -> bytes:
        """Return the salt that all hosts use for cookieless visitors on *day*. Raises if it can't be stored."""
        return self._engine.salts.shared(day, new_salt)

    def leaves_out(self, request: Request) -> bool:
        """Whether `exclude` leaves out the visitor who made *request*, by address or user agent."""
        return self.exclusions.any_visitor and self.exclusions.visitor(request, self.client_ip(request))


def check_analytics(given: object) -> Analytics:
    """Return *given*. Raises `ConfigurationError` unless it is an `Analytics` object."""
    if not isinstance(given, Analytics):
        # Not its repr: settings hold secrets.
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise ConfigurationError(f"analytics must be an Analytics object, such as Analytics(data_dir='…'), not {what}")
    return given
