"""Analytics: builds the pipeline from the settings and owns its life cycle."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import date
from typing import TYPE_CHECKING, Any, ClassVar, Self

from analytics_middleware import lifecycle
from analytics_middleware.block import block
from analytics_middleware.collectors.base import Collector
from analytics_middleware.collectors.configured import build_collectors, listed
from analytics_middleware.context import RequestContext, current
from analytics_middleware.counters import NOTES, REASONS, Counters, logger
from analytics_middleware.delivery.consumer import Consumer
from analytics_middleware.engine import Engine, build_feed, build_hub, build_outbox, build_store, immediate
from analytics_middleware.enrich.salts import new_salt
from analytics_middleware.erasing import erase_record
from analytics_middleware.errors import AnalyticsError, MissingExtraError
from analytics_middleware.event import Event
from analytics_middleware.exclusions import STAFF
from analytics_middleware.outbox.base import Draft, Erased, Outbox
from analytics_middleware.outbox.database import refuse_network_file_system
from analytics_middleware.pipeline import Handed
from analytics_middleware.settings import Settings
from analytics_middleware.tracking import Identified, identification, tracked
from analytics_middleware.visitor_cookie import VisitorCookie

if TYPE_CHECKING:
    from analytics_middleware.store.base import Store
    from analytics_middleware.store.hub import HubStore
    from analytics_middleware.store.insights import Insights


STORE = "store"
"""The store's name among the consumers of the log; no collector may have it."""
_RESPONSE_TIMEOUT = 5.0
"""Seconds that a response waits for delivery at most (``flush_on_response``)."""


class Analytics:
    """Records events and delivers them. One object for the whole application, made at start.

    ``Analytics([StdoutCollector()], data_dir="/var/lib/shop/analytics")``; *settings* are the keywords of `Settings`.
    No thread is started and no file opened until the first request or event of the process.

    Raises `ConfigurationError` for a setting that is wrong.
    """

    default_sinks: ClassVar[list[Callable[[Event], None]]] = []
    """What new instances `capture` to, the last one; set by the testing module."""

    def __init__(self, collectors: Iterable[Any] = (), **settings: Any) -> None:
        self.settings = Settings.from_mapping({"collectors": listed(collectors), **settings})
        self._collectors: Sequence[Collector] = build_collectors(self.settings.collectors, reserved=(STORE,))
        if self.settings.data_dir is not None:
            refuse_network_file_system(self.settings.data_dir)
        self._outbox = build_outbox(self.settings)
        self._hub = build_hub(self.settings)
        self._store = None if self._hub is not None else build_store(self.settings, self._outbox)
        self._engine = self._new_engine()
        self.leaves_out_staff = STAFF in self.settings.exclude
        """Whether adapters are to note who is staff."""
        self._pid = 0
        self._made_in = os.getpid()
        self._starting = threading.RLock()
        self._serving = 0
        """Applications that are up and will say when they go down."""
        self._closed = False
        self._at_start: list[Callable[[], None]] = []
        self.parts: dict[str, Any] = {}
        """What the pages and the API keep with this object, by name."""
        self._immediate: Callable[[Handed], None] | None = None
        self.active = self.settings.active
        """Whether requests are recorded at all."""
        if self.active:
            # Before the server takes requests: the first events must not wait for it in memory.
            self._engine.warm_up()
        lifecycle.register(self)
        if self.default_sinks:
            self.capture(self.default_sinks[-1])

    @classmethod
    def from_settings(cls, mapping: Mapping[str, Any]) -> Self:
        """Return analytics configured by *mapping*, whose keys are those of `Settings` in upper or lower case."""
        settings = {key.lower() if isinstance(key, str) else key: value for key, value in mapping.items()}
        return cls(settings.pop("collectors", ()), **settings)

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
        self._engine.look()
        return erased

    def context(self, event_name: str | None = None, **fields: Any) -> AbstractContextManager[RequestContext]:
        """Give jobs and scripts what a request gives views: a context that `track` fills events from.

        *fields* are `Event` fields such as ``user_id``, ``locale`` and ``client_ip``. With *event_name* the block
        itself becomes a custom event with its duration, which the helpers shape as they do a request's; what an
        exception ended has its class as property ``error``.
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
        maintain: Callable[[], object] | None = getattr(self._store, "maintain", None)
        if maintain is not None:
            maintain()
        return self._engine.maintain()

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every collector has passed the last event accepted here; return whether it was in time."""
        if not self.active or self._immediate is not None:
            return True
        self.ensure_started()
        return self._engine.flush(timeout)

    def flush_response(self) -> None:
        """Deliver what there is before a request ends, unless what it goes to is known to be down. Never raises."""
        try:
            if self.active and self._immediate is None:
                self.ensure_started()
                self._engine.flush(_RESPONSE_TIMEOUT, patient=False)
        except Exception:  # noqa: BLE001 - the boundary between analytics and the request
            self.note_internal_error()

    def close(self, timeout: float = 2.0) -> None:
        """End this process's part: write what is handed off, deliver what can be within *timeout* seconds.

        With a data directory what is not delivered yet stays there for the next process.
        """
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        if self._engine.stop(timeout):
            self._outbox.close()

    @property
    def closed(self) -> bool:
        """Whether this process's part has ended."""
        return self._closed

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

    # What the command line calls, too.

    def work(self) -> None:
        """Deliver in this process, although it serves no requests; `flush` then waits for all that is in the log."""
        self.ensure_started()
        self._engine.work()

    # What adapters call.

    @property
    def counters(self) -> Counters:
        """What this process has counted since it last wrote its counts down."""
        return self._engine.counters

    @property
    def capturing(self) -> bool:
        """Whether a test collects the events."""
        return self._immediate is not None

    def submit(self, item: Handed) -> None:
        """Hand *item* over to the writer thread. Never blocks and never raises."""
        try:
            if self._immediate is not None:
                self._immediate(item)
            elif self.active:
                if self._pid != os.getpid():
                    self.ensure_started()
                if self._closed:
                    self.counters.drop("exit")
                else:
                    self._engine.put(item)
        except Exception:  # noqa: BLE001 - the boundary between analytics and the request
            self.note_internal_error()

    def ensure_started(self) -> None:
        """Start this process's threads unless they run: at lifespan start-up, and at the first request of any kind."""
        if self._pid == os.getpid() or not self.active or self._closed:
            return
        with self._starting:
            self._start()

    def _start(self) -> None:
        pid = os.getpid()
        if self._pid == pid:
            # Another thread's first request was quicker.
            return
        if self._made_in != pid:
            # Forked where Python's hooks don't run (uWSGI), perhaps before anything was started: two workers must not
            # hold one lease under one name.
            self.after_fork()
        self._pid = pid
        lifecycle.register_exit()
        if not self._outbox.durable:
            nowhere = "" if self._collectors else " There are no collectors either; try collectors=[StdoutCollector()]."
            logger.warning(
                "analytics: no data_dir: events live in the memory of this process (%d) alone, and end with it.%s",
                pid,
                nowhere,
            )
        elif not self._collectors and self._store is None and self._hub is None:
            logger.warning(
                "analytics: no collector and no store: events go nowhere; the embedded store needs "
                "pip install 'analytics-middleware[insights]'"
            )
        self._engine.start()
        for tell in self._at_start:
            self._tell(tell)

    def begin_serving(self) -> None:
        """Note that an application is up: start, once more if the end of an earlier one has closed this."""
        with self._starting:
            self._serving += 1
            if self._closed and self._engine.ended(self.settings.shutdown_timeout):
                counts = self.counters.take()
                self._engine = self._new_engine()
                self.counters.give_back(counts)
                self._pid = 0
                self._closed = False
        self.ensure_started()

    def end_serving(self) -> None:
        """Note that an application goes down: `close`, unless another one is up."""
        with self._starting:
            self._serving -= 1
            last = self._serving <= 0
        if last:
            self.close(self.settings.shutdown_timeout)

    def at_start(self, tell: Callable[[], None]) -> None:
        """Have *tell* called when this process's threads are started; now, if they are."""
        self._at_start.append(tell)
        if self._pid == os.getpid():
            self._tell(tell)

    def quiet_start(self) -> None:
        """Tell nothing at start: what a command does with an application is none of its serving."""
        self._at_start.clear()

    def _tell(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception:  # noqa: BLE001 - what is only told must not keep the application from starting
            self.note_internal_error()

    def note_internal_error(self) -> None:
        """Count and log an exception inside analytics, from within the handler that caught it."""
        self.counters.add("internal_errors")
        self.counters.log("internal", logger.warning, "analytics: recording a request failed", exc_info=True)

    def after_fork(self) -> None:
        """In a forked child: the parent keeps what was its own; threads start again when they are needed."""
        self._engine.abandon()
        self._outbox.after_fork()
        if (store_after_fork := getattr(self._store, "after_fork", None)) is not None:
            store_after_fork()
        self._engine = self._new_engine()
        self._pid = 0
        self._made_in = os.getpid()
        self._starting = threading.RLock()
        self._serving = 0
        self._closed = False

    def at_exit(self) -> None:
        """At the end of the interpreter; see `close`."""
        self.close(self.settings.shutdown_timeout)

    def _new_engine(self) -> Engine:
        hub = self._hub
        feed = build_feed(self._store, self._outbox) if hub is None else Consumer(hub, self._outbox)
        engine = Engine(
            self.settings, self._collectors, self._outbox, feed, salt_source=None if hub is None else hub.salt
        )
        cookie = self.settings.visitor == "cookie"
        self.visitor_cookie = VisitorCookie(self.settings, engine.counters) if cookie else None
        return engine

    def capture(self, sink: Callable[[Event], None] | None) -> None:
        """Give every event to *sink* at once, in the thread that made it, and to no collector; None ends that.

        Analytics that is switched off (``enabled=False``) stays so.
        """
        if self.settings.enabled is not False:
            self._immediate = None if sink is None else immediate(self.settings, self.counters, sink)
            self.active = sink is not None or self.settings.active
