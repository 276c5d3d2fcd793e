"""What records and delivers in one process: pipeline, writer thread, delivery threads. A forked child makes its own."""

import math
import time
from collections.abc import Callable, Sequence

from analytics_middleware.collectors.base import Collector, option
from analytics_middleware.counters import Counters, logger
from analytics_middleware.delivery.consumer import Consumer
from analytics_middleware.delivery.runner import Feed, Runner
from analytics_middleware.delivery.withhold import withholding
from analytics_middleware.enrich.needs import check_needs
from analytics_middleware.enrich.salts import PrivateSalts, SaltRecords, SaltSource
from analytics_middleware.enrich.sessions import PrivateSessions, SessionRecords
from analytics_middleware.enrich.visit import Enricher
from analytics_middleware.event import Event
from analytics_middleware.housekeeping import Housekeeping
from analytics_middleware.lifecycle import loading
from analytics_middleware.outbox.base import Draft, Outbox
from analytics_middleware.outbox.database import Database
from analytics_middleware.outbox.spill import FAILURES, Spill
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.outbox.visitors import SharedSalts, SharedSessions
from analytics_middleware.pipeline import Pipeline, Submission
from analytics_middleware.recording import Recorder
from analytics_middleware.relay.facts import is_event
from analytics_middleware.relay.wire import greeting
from analytics_middleware.settings import Settings
from analytics_middleware.writer import Writer


class Engine:
    """The threads of one process and what they work with."""

    def __init__(
        self,
        settings: Settings,
        collectors: Sequence[Collector],
        outbox: Outbox,
        feed: Feed | None = None,
        salt_source: SaltSource | None = None,
    ) -> None:
        self.counters = Counters()
        self._settings = settings
        self._collectors = collectors
        self._outbox = outbox
        self._feed = feed
        self._runners: list[Runner] = []
        self.names = [collector.name for collector in collectors]
        needs = {each.name: check_needs(each.name, option(each, "needs")) for each in collectors}
        self._database: Database | None = None
        salts: SaltRecords = PrivateSalts()
        sessions: SessionRecords = PrivateSessions()
        if isinstance(outbox, SqliteOutbox):
            salts, sessions = SharedSalts(outbox.database), SharedSessions(outbox.database)
            self._database = outbox.database
        self.salts = salts
        own = [each.name for each in collectors if not option(each, "third_party")]
        self.enricher = Enricher(
            settings,
            salts,
            sessions,
            self.counters,
            needs=set[str]().union(*needs.values()),
            own_needs=set[str]().union(*(needs[name] for name in own)),
            salt_source=salt_source,
        )
        self._housekeeping = Housekeeping(self.enricher, self._database)
        reads_private = {name: bool(need) for name, need in needs.items()}
        if feed is not None:
            self.names.append(feed.name)
            reads_private[feed.name] = False
        self._recorder = Recorder(
            Pipeline(settings, self.counters, self.enricher),
            Spill(outbox, reads_private, self.counters, settings.queue_size),
            outbox,
            greeting(settings, collectors),
            self.counters,
            self._wake_runners,
        )
        self._writer = Writer(self._recorder.write, settings.queue_size, self.counters, self._tick)
        self.put: Callable[[Submission], None] = self._writer.put
        if not settings.background:
            self.put = self._recorder.through_worker(self._writer.put)

    def warm_up(self) -> None:
        """Import and load what takes long."""
        self.enricher.warm_up()

    def start(self) -> None:
        """Start the threads. If none can be started any more, at exit, log that; events are then counted as lost."""
        if self._database is not None:
            self._database.give_up_at(math.inf)
        try:
            self._writer.start()
            if self._settings.background:
                self.start_delivery()
        except RuntimeError:
            self.counters.log("threads", logger.warning, "analytics: threads can't be started", exc_info=True)

    def start_delivery(self) -> None:
        """Start a thread for each collector and one for the store."""
        consumers: list[Feed] = [] if self._feed is None else [self._feed]
        for collector in self._collectors:
            rule = withholding(collector, debug=self._settings.debug)
            consumers.append(Consumer(collector, self._outbox, withhold=rule))
        for consumer in consumers:
            runner = Runner(consumer, poll=self._outbox.durable)
            runner.start()
            self._runners.append(runner)

    def wake_delivery(self) -> None:
        """Wake the delivery threads, and make `flush` wait for entries that other processes wrote."""
        self._recorder.look()
        self._wake_runners()

    def _wake_runners(self) -> None:
        for runner in self._runners:
            runner.wake()

    def work(self) -> None:
        """Deliver here, whatever the setting `background` says, and make `flush` wait for the whole log."""
        self._recorder.stop_waiting()
        self.put = self._writer.put
        if not self._runners:
            self.start_delivery()
        # Consumers first: what ended processes left comes after the place at which a new one begins.
        self._recorder.register()
        self._outbox.tick(self.names)
        self.wake_delivery()

    def record_for_others(self) -> None:
        """From now on record what other processes of the host hand over; to be called after `work`."""
        self._recorder.record_for_others()

    def flush(self, timeout: float, *, patient: bool = True) -> bool:
        """Wait until every collector has passed the last event accepted here; return whether it was in time.

        If not *patient*, it waits neither for what is down nor for other processes.
        """
        deadline = time.monotonic() + timeout
        if not self._writer.drain(timeout):
            return False
        for runner in self._runners:
            runner.hurry(timeout)
        try:
            while not self._arrived(patient):
                if time.monotonic() >= deadline or (not patient and self._hopeless()):
                    return False
                time.sleep(0.005)
        except FAILURES as error:
            self.counters.log("flush", logger.warning, "analytics: the log can't be read: %s", error)
            return False
        return True

    def _arrived(self, patient: bool) -> bool:
        if self._recorder.waiting:
            return False
        return all(self._outbox.passed(name, self._recorder.last_seq) for name in self.awaited(patient=patient))

    def awaited(self, *, patient: bool = True) -> list[str]:
        """Return the names of the consumers that `flush` waits for.

        The embedded store is left out while another process seals: that takes a minute, and nobody need wait for it.
        """
        if not patient and not self._runners:
            return []
        outbox, feed = self._outbox, self._feed
        answering = feed.name if feed is not None and feed.answers_from_log else None
        if not isinstance(outbox, SqliteOutbox):
            return self.names
        return [name for name in self.names if (patient and name != answering) or not outbox.elsewhere(name)]

    def _hopeless(self) -> bool:
        return self._recorder.failing or any(
            isinstance(runner.consumer, Consumer) and runner.consumer.down for runner in self._runners
        )

    def take_over(self, drafts: Sequence[Draft]) -> None:
        """Write *drafts* to the log before returning. Raises what `FAILURES` lists."""
        self._recorder.take_over(drafts)

    def maintain(self) -> bool:
        """Prune what all consumers have passed, delete what is private, clean up; return if nothing is left."""
        self._outbox.tick(self.names)
        while isinstance(self._outbox, SqliteOutbox) and self._outbox.more_to_prune:
            self._outbox.tick(self.names)
        return self._housekeeping.run()

    def stop(self, timeout: float) -> bool:
        """Write what is left, deliver what lives in memory only, end the threads; return whether all ended in time."""
        deadline = time.monotonic() + timeout
        if self._database is not None:
            # The process that holds the database's lock may be stopped: give up early enough for the threads to end.
            self._database.give_up_at(deadline - timeout / 2)
        self._recorder.stop_recording_for_others(timeout)
        stopped_writing = self._stop_writing(deadline)
        if not self._outbox.durable:
            self._deliver_rest(deadline)
        for runner in self._runners:
            runner.stop()
        stopped = [runner.join(max(0.0, deadline - time.monotonic())) for runner in self._runners]
        self._account_for_rest()
        if not all(stopped):
            # Threads that wait for a dead destination end with the process; others need not wait for their leases.
            self._release_leases()
        return stopped_writing and all(stopped)

    def _stop_writing(self, deadline: float) -> bool:
        left = max(0.0, deadline - time.monotonic())
        stopped = self._writer.stop(left / 2)
        if not stopped:
            self._recorder.stop_waiting()
            stopped = self._writer.stop(left / 2)
        if stopped:
            self._recorder.finish(left / 4)
        return stopped

    def ended(self, timeout: float) -> bool:
        """Wait after `stop` for at most *timeout* seconds; return whether no thread is left."""
        deadline = time.monotonic() + timeout
        runners = all(runner.join(max(0.0, deadline - time.monotonic())) for runner in self._runners)
        return runners and not self._writer.running

    def abandon(self) -> None:
        """In a forked child: leave everything to the parent."""
        self._writer.abandon()
        self._recorder.abandon()
        for runner in self._runners:
            runner.abandon()

    def _tick(self) -> None:
        with self._recorder.alone():
            with loading():
                self.enricher.warm_up()
            self._recorder.tick()
            self._housekeeping.tick()
        if self._outbox.durable:
            try:
                self._outbox.tick(self.names)
            except FAILURES:
                # Already logged when the events themselves could not be written.
                return

    def _deliver_rest(self, deadline: float) -> None:
        for runner in self._runners:
            runner.hurry(60.0)
        while time.monotonic() < deadline and any(
            stats.pending and stats.breaker == "closed" for stats in self._outbox.stats().consumers.values()
        ):
            time.sleep(0.005)

    def _release_leases(self) -> None:
        for name in self.names:
            try:
                self._outbox.release(name)
            except FAILURES:
                return

    def _account_for_rest(self) -> None:
        lost, why = sum(is_event(item) for item in self._writer.leftover()), "shutdown_timeout was too short"
        if not self._outbox.durable:
            lost += max((stats.pending for stats in self._outbox.stats().consumers.values()), default=0)
            why = "data_dir keeps them for the next start"
        self._recorder.account_for_rest(lost, why)


def immediate(settings: Settings, counters: Counters, sink: Callable[[Event], None]) -> Callable[[Submission], None]:
    """Return what replaces the queue in tests: it passes events to *sink* at once, with the client's address."""
    enricher = Enricher(settings, PrivateSalts(), PrivateSessions(), counters)
    pipeline = Pipeline(settings, counters, enricher, keep_address=True)

    def put(item: Submission) -> None:
        for draft in pipeline.drafts([item]):
            if draft.kind == "event":
                sink(Event.decode(draft.payload))

    return put
