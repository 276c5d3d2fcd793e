"""The life cycle of `Analytics` in a process: started when needed, closed, started over in a forked child."""

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from analytics_middleware import lifecycle
from analytics_middleware.assembly import build_feed
from analytics_middleware.collectors.base import Collector
from analytics_middleware.counters import Counters, logger
from analytics_middleware.delivery.consumer import Consumer
from analytics_middleware.engine import Engine, immediate
from analytics_middleware.event import Event
from analytics_middleware.outbox.base import Outbox
from analytics_middleware.outbox.spill import FAILURES
from analytics_middleware.pipeline import Submission
from analytics_middleware.settings import Settings

if TYPE_CHECKING:
    from analytics_middleware.store.base import Store
    from analytics_middleware.store.hub import HubStore


_RESPONSE_TIMEOUT = 5.0
"""Maximum number of seconds that a response waits for delivery (``flush_on_response``)."""


class Running:
    """Starts and stops the threads that record and deliver. No thread is started before it is needed."""

    def __init__(
        self,
        settings: Settings,
        collectors: Sequence[Collector],
        outbox: Outbox,
        store: "Store | None",
        hub: "HubStore | None",
    ) -> None:
        self.settings = settings
        self._collectors = collectors
        self._outbox = outbox
        self._store = store
        self._hub = hub
        self._begin()
        self._at_start: list[Callable[[], None]] = []
        self._has_outer = False
        self._immediate: Callable[[Submission], None] | None = None
        self.active = settings.active
        """Whether requests are recorded at all."""
        if self.active:
            # Before the server takes requests, so that the first events don't wait in memory for slow imports.
            self._engine.warm_up()
        lifecycle.register(self)

    def _begin(self) -> None:
        """Start over in this process: at first, and in a forked child."""
        self._engine = self._new_engine()
        self._pid = 0
        self._made_in = os.getpid()
        self._starting = threading.RLock()
        self._serving = 0
        """How many applications are up and will call `end_serving`."""
        self._closed = False

    @property
    def counters(self) -> Counters:
        """The counts of this process since it last stored them."""
        return self._engine.counters

    @property
    def capturing(self) -> bool:
        """Whether a test collects the events."""
        return self._immediate is not None

    def submit(self, item: Submission) -> None:
        """Submit *item* to the writer thread. Never blocks and never raises."""
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
        if self._pid == os.getpid() or not self.active or self._closed or self._immediate is not None:
            return
        with self._starting:
            self._start()

    def _start(self) -> None:
        pid = os.getpid()
        if self._pid == pid:
            # Another thread was quicker.
            return
        if self._made_in != pid:
            # Forked by a server that does not run Python's hooks (uWSGI), perhaps before anything was started: two
            # workers must not hold the same lease under the same name.
            self.after_fork()
        self._pid = pid
        lifecycle.register_exit()
        self._warn_at_start()
        self._engine.start()
        for announce in self._at_start:
            self._announce(announce)

    def _warn_at_start(self) -> None:
        if not self._outbox.durable:
            nowhere = "" if self._collectors else " There are no collectors either; try collectors=[StdoutCollector()]."
            logger.warning(
                "analytics: no data_dir: events live in the memory of this process (%d) alone, and end with it.%s",
                self._pid,
                nowhere,
            )
            return
        if self._store is None and self._hub is None:
            nowhere = "" if self._collectors else " There are no collectors either: events go nowhere."
            if self.settings.store is not None:
                logger.warning(
                    "analytics: no store: questions and the dashboard need pip install "
                    "'analytics-middleware[insights]'; store=None says that they are not wanted.%s",
                    nowhere,
                )
            elif nowhere:
                logger.warning("analytics: no store.%s", nowhere)
        if any(isinstance(each, Running) and each._shares_directory(self) for each in lifecycle.living()):
            logger.warning(
                "analytics: two Analytics objects of this process (%d) use the data_dir %s; make one, and pass it as "
                "analytics=... wherever it is needed",
                self._pid,
                self.settings.data_dir,
            )

    def _shares_directory(self, other: "Running") -> bool:
        """Whether this is another object than *other*, running in this process with the same data directory."""
        running = self._pid == os.getpid() and not self._closed
        return self is not other and running and self.settings.data_dir == other.settings.data_dir

    def close(self, timeout: float = 2.0) -> None:
        """Stop in this process: write what is queued, deliver what is possible within *timeout* seconds.

        With a data directory, what is not delivered yet stays there for the next process.
        """
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        if self._engine.stop(timeout):
            with suppress(*FAILURES):
                # If another process keeps it from being closed, it ends with this process.
                self._outbox.close()

    @property
    def closed(self) -> bool:
        """Whether `close` has stopped this in this process."""
        return self._closed

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every collector has passed the last event accepted here; return whether it was in time."""
        if not self.active or self._immediate is not None:
            return True
        self.ensure_started()
        return self._engine.flush(timeout)

    def flush_response(self) -> None:
        """Deliver what is pending before a request ends; don't wait for what is known to be down. Never raises."""
        try:
            if self.active and self._immediate is None:
                self.ensure_started()
                self._engine.flush(_RESPONSE_TIMEOUT, patient=False)
        except Exception:  # noqa: BLE001 - the boundary between analytics and the request
            self.note_internal_error()

    def begin_serving(self) -> None:
        """Note that an application is up, and start, also if the shutdown of an earlier one has closed this."""
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
        """Note that an application goes down, and `close` unless another one is up."""
        with self._starting:
            self._serving -= 1
            last = self._serving <= 0
        if last:
            self.close(self.settings.shutdown_timeout)

    def work(self) -> None:
        """Deliver in this process, although it serves no requests; `flush` then waits for all that is in the log."""
        self.ensure_started()
        self._engine.work()

    def record_for_others(self) -> None:
        """Record in this process, after `work`, what the host's web processes hand over (``background=False``)."""
        self._engine.record_for_others()

    def at_start(self, announce: Callable[[], None]) -> None:
        """Have *announce* called when this process's threads start, or now if they have started."""
        self._at_start.append(announce)
        if self._pid == os.getpid():
            self._announce(announce)

    def quiet_start(self) -> None:
        """Call nothing at start: a command uses an application without serving it."""
        self._at_start.clear()

    def _announce(self, announce: Callable[[], None]) -> None:
        try:
            announce()
        except Exception:  # noqa: BLE001 - a message must not keep the application from starting
            self.note_internal_error()

    def note_internal_error(self) -> None:
        """Count and log an exception inside analytics, from within the handler that caught it."""
        self.counters.add("internal_errors")
        self.counters.log(
            "internal", logger.warning, "analytics: an error inside; the application goes on", exc_info=True
        )

    def note_outer(self) -> None:
        """Log, once, that a request came through the middleware of another object, which records it."""
        if not self._has_outer:
            self._has_outer = True
            logger.warning(
                "analytics: requests pass the middleware of two Analytics objects: the outer one records them, and the "
                "inner one's collectors and store get none. Give both the same object: analytics=…"
            )

    def after_fork(self) -> None:
        """In a forked child: leave to the parent what is its own; threads start again when they are needed."""
        self._engine.abandon()
        self._outbox.after_fork()
        if self._store is not None:
            self._store.after_fork()
        self._begin()

    def at_exit(self) -> None:
        """At the end of the interpreter; see `close`."""
        self.close(self.settings.shutdown_timeout)

    def _new_engine(self) -> Engine:
        hub = self._hub
        feed = build_feed(self._store, self._outbox) if hub is None else Consumer(hub, self._outbox)
        engine = Engine(
            self.settings, self._collectors, self._outbox, feed, salt_source=None if hub is None else hub.salt
        )
        enricher = engine.enricher
        self.client_ip, self.exclusions, self.visitor_cookie = enricher.client_ip, enricher.exclusions, enricher.cookie
        return engine

    def capture(self, sink: Callable[[Event], None] | None) -> None:
        """Pass every event to *sink* at once, in the thread that made it, and to no collector; None ends that.

        Analytics that is switched off (``enabled=False``) stays so.
        """
        if self.settings.enabled is not False:
            self._immediate = None if sink is None else immediate(self.settings, self.counters, sink)
            self.active = sink is not None or self.settings.active
