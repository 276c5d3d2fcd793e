"""Analytics: what an application calls. It is built from the settings, and runs as `Running` says."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Self

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
from analytics_middleware.outbox.database import refuse_network_file_system
from analytics_middleware.parts import Parts
from analytics_middleware.request import Request
from analytics_middleware.running import Running
from analytics_middleware.settings import Settings, by_name
from analytics_middleware.tracking import Identified, identification, tracked

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
    """What new instances `capture` to, the last one; set by the testing module."""

    def __init__(self, collectors: Iterable[Any] = (), **settings: Any) -> None:
        checked = Settings.from_mapping({**settings, "collectors": collectors})
        if checked.data_dir is not None:
            refuse_network_file_system(checked.data_dir)
        outbox = build_outbox(checked)
        hub = build_hub(checked)
        super().__init__(
            checked,
            build_collectors(checked.collectors, reserved=(STORE,)),
            outbox,
            None if hub is not None else build_store(checked, outbox),
            hub,
        )
        self.leaves_out_staff = STAFF in checked.exclude
        """Whether adapters are to note who is staff."""
        self.parts = Parts()
        """What the API and the pages share."""
        if self.default_sinks:
            self.capture(self.default_sinks[-1])

    @classmethod
    def from_settings(cls, mapping: Mapping[str, Any]) -> Self:
        """Return analytics configured by *mapping*, whose keys are those of `Settings` in upper or lower case."""
        return cls(**by_name(mapping))

    # What applications call.

    def track(self, event: str | Event, properties: Mapping[str, Any] | None = None, **fields: Any) -> None:
        """Send a custom event, from anywhere. Inside a request its empty fields are filled.

        *event* is a name or an `Event`; *fields* are further fields of a named event, such as ``user_id`` or
        ``revenue``. Raises `TypeError` or `ValueError` for arguments that make no event.
        """
        context = current.get()
        item = tracked(event, properties, fields, context, self.counters)
        if context is None:
            self.submit(item)
        else:
            context.submit(item, self)

    def identify(self, user_id: object, traits: Mapping[str, Any] | None = None, anon_id: str | None = None) -> None:
        """Merge *traits* into what is known of *user_id* (None removes a key), and tie *anon_id* to it.

        Raises `ValueError` for an empty *user_id*.
        """
        self.submit(Identified(identification(user_id, traits, anon_id), current.get()))

    def erase(self, user_id: object, progress: Callable[[int], object] = lambda _: None) -> Erased:
        """Forget everything known of *user_id* up to now, for good; return what went.

        It is gone from the log, retries and dead letters when this returns; the store follows when it comes to the
        record that this writes. What was sent to collectors before must be asked of them. *progress* is called with
        the number of rows looked at. Raises `ValueError` for an empty *user_id*.
        """
        name, record = erase_record(user_id)
        # A store that reads the log for the first time begins at its end.
        self.ensure_started()
        erased = self._outbox.erase(name, record, progress)
        # Nor need it wait for the next event to come to the record.
        self._engine.wake_delivery()
        return erased

    def context(self, event_name: str | None = None, **fields: Any) -> AbstractContextManager[RequestContext]:
        """Give jobs and scripts what a request gives views: a context that `track` fills events from.

        *fields* are `Event` fields such as ``user_id``, ``locale`` and ``client_ip``. With *event_name* the block
        itself becomes a custom event with its duration, which the helpers shape as they do a request's; what an
        exception ended has its class as property ``error``. Entering it raises `TypeError` or `ValueError` for
        arguments that make no event.
        """
        return block(self, event_name, fields)

    @property
    def insights(self) -> "Insights":
        """The questions: ``analytics.insights.funnel(["pageview", "checkout.completed"])``.

        Raises `AnalyticsError` when ``store=None``.
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
        """Do now what is done by and by: seal, compact, prune, forget addresses and salts, empty the database's log.

        Return whether nothing of what was to go is left in the files. False: somebody was reading; it is tried again
        within a minute.
        """
        if self._store is not None:
            self._store.maintain()
        return self._engine.maintain()

    def stats(self) -> dict[str, Any]:
        """Return all counters: what was accepted and dropped, and where each collector stands.

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

    # What the command line calls.

    @property
    def outbox(self) -> Outbox:
        """The log."""
        return self._outbox

    @property
    def collectors(self) -> Sequence[Collector]:
        """Where events go."""
        return self._collectors

    @property
    def store(self) -> "Store | None":
        """What answers questions here."""
        return self._store

    @property
    def hub(self) -> "HubStore | None":
        """Where events go when the store is elsewhere."""
        return self._hub

    # What the API calls.

    def take_over(self, drafts: Sequence[Draft]) -> None:
        """Write *drafts*, another host's, into the log before this returns; raise when they can't be written."""
        self.ensure_started()
        self._engine.take_over(drafts)

    def shared_salt(self, day: date) -> bytes:
        """Return the salt that cookieless visitors have on *day* on all hosts; raise when it can't be kept."""
        return self._engine.salts.shared(day, new_salt)

    # What is asked within a request.

    def leaves_out(self, request: Request) -> bool:
        """Whether events of whoever made *request* are left out for their address or program (`exclude`)."""
        return self.exclusions.any_visitor and self.exclusions.visitor(request, self.client_ip(request))


def check_analytics(given: object) -> Analytics:
    """Return *given*. Raises `ConfigurationError` unless it is an `Analytics` object."""
    if not isinstance(given, Analytics):
        # Not its repr: settings hold secrets.
        what = f"the class {given.__name__}" if isinstance(given, type) else type(given).__name__
        raise ConfigurationError(f"analytics must be an Analytics object, such as Analytics(data_dir='…'), not {what}")
    return given
