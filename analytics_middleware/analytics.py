"""Analytics: builds the pipeline from the settings and owns its life cycle."""

import os
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from analytics_middleware import lifecycle
from analytics_middleware.collectors.base import Collector
from analytics_middleware.collectors.configured import build_collectors
from analytics_middleware.context import RequestContext, Tracked, current, identification, tracked
from analytics_middleware.counters import NOTES, REASONS, Counters, logger
from analytics_middleware.delivery.consumer import Consumer
from analytics_middleware.delivery.runner import Runner
from analytics_middleware.event import Event
from analytics_middleware.outbox.base import Entry, Outbox
from analytics_middleware.outbox.database import refuse_network_file_system
from analytics_middleware.outbox.memory import MemoryOutbox
from analytics_middleware.outbox.spill import FAILURES, Spill
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.pipeline import Handed, Pipeline
from analytics_middleware.properties import clean_name
from analytics_middleware.settings import Settings
from analytics_middleware.writer import Writer


class Analytics:
    """Records events and delivers them. One object for the whole application, made at start.

    ``Analytics([StdoutCollector()], data_dir="/var/lib/shop/analytics")``; *settings* are the keywords of `Settings`.
    No thread is started and no file opened until the first request or event of the process.

    Raises `ConfigurationError` for a setting that is wrong.
    """

    default_sinks: ClassVar[list[Callable[[Event], None]]] = []
    """What new instances `capture` to, the last one; set by the testing module."""

    def __init__(self, collectors: Iterable[Any] = (), **settings: Any) -> None:
        self.settings = Settings.from_mapping({"collectors": tuple(collectors), **settings})
        self._collectors: Sequence[Collector] = build_collectors(self.settings.collectors)
        self._outbox = self._build_outbox()
        self._build_process()
        self._runners: list[Runner] = []
        self._pid = 0
        self._last_seq = 0
        self._closed = False
        self._capture: Callable[[Event], None] | None = None
        self.active = self.settings.active
        """Whether requests are recorded at all."""
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
        self.submit(tracked(event, properties, fields, current.get()))

    def identify(self, user_id: object, traits: Mapping[str, Any] | None = None, anon_id: str | None = None) -> None:
        """Merge *traits* into what is known of *user_id* (None removes a key), and tie *anon_id* to it.

        Raises `ValueError` for an empty *user_id*.
        """
        self.submit(identification(user_id, traits, anon_id))

    @contextmanager
    def context(self, event_name: str | None = None, **fields: Any) -> Generator[RequestContext]:
        """Give jobs and scripts what a request gives views: a context that `track` fills events from.

        *fields* are `Event` fields such as ``user_id``, ``locale`` and ``client_ip``. With *event_name* the block
        itself becomes a custom event with its duration, which the helpers shape as they do a request's.
        """
        context = RequestContext(self)
        context.given = Event(event_name=event_name, **fields)
        context.automatic = event_name is not None
        began = time.perf_counter()
        token = current.set(context)
        try:
            yield context
        finally:
            current.reset(token)
            context.finished = True
            if context.automatic:
                self.submit(Tracked(_block_event(context, time.perf_counter() - began), None))

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until every collector has passed the last event accepted here; return whether it was in time."""
        if not self.active or self._capture is not None:
            return True
        self.ensure_started()
        deadline = time.monotonic() + timeout
        if not self._writer.drain(timeout):
            return False
        for runner in self._runners:
            runner.hurry(timeout)
        last = self._last_seq
        while self._spill.waiting or not all(self._outbox.passed(name, last) for name in self._names):
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.005)
        return True

    def close(self, timeout: float = 2.0) -> None:
        """End this process's part: write what is handed off, deliver what can be within *timeout* seconds."""
        if self._closed or self._pid != os.getpid():
            return
        self._closed = True
        deadline = time.monotonic() + timeout
        self._writer.stop(timeout)
        if not self._outbox.durable:
            self._deliver_rest(deadline)
        for runner in self._runners:
            runner.stop()
        stopped = [runner.join(max(0.0, deadline - time.monotonic())) for runner in self._runners]
        self._count_lost()
        if all(stopped):
            self._outbox.close()
        else:
            # A thread that waits for a dead destination ends with the process; the next holder need not wait for it.
            self._release_leases()

    def stats(self) -> dict[str, Any]:
        """Return all counters: what was accepted and dropped, and where each collector stands.

        For each collector ``accepted == delivered + sum(dropped) + dead + pending``.
        """
        outbox = self._outbox.stats()
        counts = dict(outbox.counts)
        for name, count in self.counters.peek().items():
            counts[name] = counts.get(name, 0) + count
        return {
            **{name: counts.get(name, 0) for name in NOTES},
            "dropped": {reason: count for reason in REASONS if (count := counts.get(f"dropped.{reason}", 0))},
            "durable": self._outbox.durable,
            "collectors": {name: stats._asdict() for name, stats in outbox.consumers.items()},
        }

    # What adapters call.

    @property
    def capturing(self) -> bool:
        """Whether a test collects the events."""
        return self._capture is not None

    def submit(self, item: Handed) -> None:
        """Hand *item* over to the writer thread. Never blocks and never raises."""
        try:
            if self._capture is not None:
                self._capture_now(item)
            elif self.active:
                if self._pid != os.getpid():
                    self.ensure_started()
                self._writer.put(item)
        except Exception:  # noqa: BLE001 - the boundary between analytics and the request
            self.note_internal_error()

    def ensure_started(self) -> None:
        """Start this process's threads unless they run: at lifespan start-up, and at the first request of any kind."""
        pid = os.getpid()
        if self._pid == pid or not self.active or self._closed:
            return
        if self._pid:
            # Forked where Python's hooks don't run (uWSGI).
            self.after_fork()
        self._pid = pid
        lifecycle.register_exit()
        try:
            self._writer.start()
            if self.settings.background:
                self._start_delivery()
        except RuntimeError:
            # The interpreter is shutting down, or forbids threads: what is handed off is counted at the end.
            self.counters.log("threads", logger.warning, "analytics: threads can't be started", exc_info=True)

    def note_internal_error(self) -> None:
        """Count and log an exception inside analytics, from within the handler that caught it."""
        self.counters.drop("internal_error")
        self.counters.log("internal", logger.warning, "analytics: recording a request failed", exc_info=True)

    def after_fork(self) -> None:
        """In a forked child: the parent keeps what was its own; threads start again when they are needed."""
        self._outbox.after_fork()
        self._build_process()
        self._runners = []
        self._pid = 0
        self._closed = False

    def at_exit(self) -> None:
        """At the end of the interpreter; see `close`."""
        self.close(self.settings.shutdown_timeout)

    def capture(self, sink: Callable[[Event], None] | None) -> None:
        """Give every event to *sink* at once, in the thread that made it, and to no collector; None ends that."""
        self._capture = sink
        self.active = self.settings.active if sink is None else self.settings.enabled is not False

    # Inside.

    def _build_outbox(self) -> Outbox:
        settings = self.settings
        if settings.data_dir is None:
            return MemoryOutbox(settings.max_pending)
        refuse_network_file_system(settings.data_dir)
        return SqliteOutbox(settings.data_dir, max_pending=settings.max_pending, max_bytes=settings.max_bytes)

    def _build_process(self) -> None:
        """Make what belongs to one process; a forked child makes its own."""
        self.counters = Counters()
        self._pipeline = Pipeline(self.settings, self.counters)
        self._spill = Spill(self._outbox, self._names, self.counters, self.settings.queue_size)
        tick = self._tick if self._outbox.durable else None
        self._writer = Writer(self._write, self.settings.queue_size, self.counters, tick)

    @property
    def _names(self) -> list[str]:
        return [collector.name for collector in self._collectors]

    def _tick(self) -> None:
        self._write(())
        try:
            self._outbox.tick(self._names)
        except FAILURES:
            # Said already when the events themselves could not be written.
            return

    def _write(self, items: Sequence[Handed]) -> None:
        last = self._spill.write(self._pipeline.drafts(items))
        if last is not None:
            self._last_seq = last
            for runner in self._runners:
                runner.wake()

    def _start_delivery(self) -> None:
        for collector in self._collectors:
            consumer = Consumer(collector, self._outbox, withhold=self._withhold(collector))
            runner = Runner(consumer, poll=self._outbox.durable)
            runner.start()
            self._runners.append(runner)

    def _withhold(self, collector: Collector) -> Callable[[Entry], str | None]:
        """Return the rule that says which entries *collector* does not get, and under which reason they count."""
        third_party = getattr(collector, "third_party", True)
        debug_drop = self.settings.debug and third_party and not getattr(collector, "debug_sends", False)

        def reason(entry: Entry) -> str | None:
            if debug_drop:
                logger.info("analytics (debug): %s would get %s", collector.name, entry.payload.decode())
                return "debug"
            return None

        return reason

    def _deliver_rest(self, deadline: float) -> None:
        for runner in self._runners:
            runner.hurry(60.0)
        while time.monotonic() < deadline and any(
            stats.pending and stats.breaker == "closed" for stats in self._outbox.stats().consumers.values()
        ):
            time.sleep(0.005)

    def _release_leases(self) -> None:
        for name in self._names:
            try:
                self._outbox.release(name)
            except FAILURES:
                return

    def _count_lost(self) -> None:
        lost = sum(isinstance(item, (RequestContext, Tracked)) for item in self._writer.leftover())
        lost += self._spill.waiting
        if not self._outbox.durable:
            lost += max((stats.pending for stats in self._outbox.stats().consumers.values()), default=0)
        if lost:
            self.counters.drop("exit", lost)
            logger.warning("analytics: %d events were lost at exit; data_dir keeps them for the next start", lost)

    def _capture_now(self, item: Handed) -> None:
        capture = self._capture
        for draft in self._pipeline.drafts([item]):
            if capture is not None and draft.kind == "event":
                capture(Event.decode(draft.payload))


def _block_event(context: RequestContext, duration: float) -> Event:
    """Return the event of a finished `Analytics.context` block."""
    event = context.given.replace() if context.given is not None else Event()
    event.event_name = context.event_name or event.event_name
    event.action_name = context.action_name or event.action_name
    event.revenue = context.revenue or event.revenue
    event.properties = {**event.properties, **(context.properties or {})}
    event.duration = duration
    if context.set_user_id is not None:
        event.user_id = clean_name(context.set_user_id) or None
    return event
