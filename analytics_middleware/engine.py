"""What records and delivers in one process: pipeline, writer thread, delivery threads. A forked child makes its own."""

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

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
from analytics_middleware.outbox.leftovers import leave
from analytics_middleware.outbox.spill import FAILURES, Spill
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.outbox.visitors import SharedSalts, SharedSessions
from analytics_middleware.pipeline import Pipeline, Submission
from analytics_middleware.relay.client import Group, Relay
from analytics_middleware.relay.facts import is_event
from analytics_middleware.relay.server import RelayServer
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
        self._last_seq = 0
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
        self._pipeline = Pipeline(settings, self.counters, self.enricher)
        reads_private = {name: bool(need) for name, need in needs.items()}
        if feed is not None:
            self.names.append(feed.name)
            reads_private[feed.name] = False
        self._spill = Spill(outbox, reads_private, self.counters, settings.queue_size)
        self._writer = Writer(self._write, settings.queue_size, self.counters, self._tick)
        self.put: Callable[[Submission], None] = self._writer.put
        self._recording = threading.RLock()
        """Held while pipeline and spill are used: by the writer thread, and in the worker by the relay's threads."""
        self._relay: Relay | None = None
        self._relay_server: RelayServer | None = None
        if self._database is not None and not settings.background:
            line = greeting(settings, collectors)
            self._relay = Relay(self._database.directory, line, self.counters)
            self.put = self._relay.preparing(self._writer.put)

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
        self._last_seq = self._outbox.append((), {})
        for runner in self._runners:
            runner.wake()

    def work(self) -> None:
        """Deliver here, whatever the setting `background` says, and make `flush` wait for the whole log."""
        if self._relay is not None:
            # This process records by itself.
            self._relay.stop_waiting()
            self.put = self._writer.put
        if not self._runners:
            self.start_delivery()
        # Consumers first: what ended processes left comes after the place at which a new one begins.
        self._spill.register()
        self._outbox.tick(self.names)
        self.wake_delivery()

    def record_for_others(self) -> None:
        """From now on record what other processes of the host hand over; to be called after `work`."""
        if self._database is not None:
            line = greeting(self._settings, self._collectors)
            self._relay_server = RelayServer(self._database.directory, line, self._take_items, self.counters)
            self._relay_server.start()

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
        if self._spill.waiting or (self._relay is not None and self._relay.waiting):
            return False
        return all(self._outbox.passed(name, self._last_seq) for name in self.awaited(patient=patient))

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
        return self._spill.failing or any(
            isinstance(runner.consumer, Consumer) and runner.consumer.down for runner in self._runners
        )

    def take_over(self, drafts: Sequence[Draft]) -> None:
        """Write *drafts* to the log before returning. Raises what `FAILURES` lists."""
        self._spill.register()
        self._last_seq = max(self._last_seq, self._outbox.append(drafts, {}))
        for runner in self._runners:
            runner.wake()

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
        if self._relay_server is not None:
            self._relay_server.stop(timeout)
        stopped_writing = self._stop_writing(deadline)
        if stopped_writing and self._spill.waiting:
            self._spill.write((), now=True)
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
        if self._relay is None:
            return self._writer.stop(left)
        stopped = self._writer.stop(left / 2)
        if not stopped:
            self._relay.stop_waiting()
            stopped = self._writer.stop(left / 2)
        if stopped:
            self._record_groups(self._relay.end(left / 4))
        return stopped

    def ended(self, timeout: float) -> bool:
        """Wait after `stop` for at most *timeout* seconds; return whether no thread is left."""
        deadline = time.monotonic() + timeout
        runners = all(runner.join(max(0.0, deadline - time.monotonic())) for runner in self._runners)
        return runners and not self._writer.running

    def abandon(self) -> None:
        """In a forked child: leave everything to the parent."""
        self._writer.abandon()
        if self._relay is not None:
            self._relay.abandon()
        if self._relay_server is not None:
            self._relay_server.abandon()
        for runner in self._runners:
            runner.abandon()

    def _write(self, items: Sequence[Any]) -> None:
        if self._relay is not None:
            groups = self._relay.send(items)
            if self._writer.abandoned:
                # This is a greenlet that was sending in the parent, and goes on here.
                return
            self._last_seq = max(self._last_seq, self._relay.last_seq)
            self._record_groups(groups)
        else:
            self._record(items)

    def _record(self, items: Sequence[Submission]) -> None:
        with self._recording:
            last = self._spill.write(self._pipeline.drafts(items))
        if last is not None:
            self._last_seq = last
            for runner in self._runners:
                runner.wake()

    def _record_groups(self, groups: Sequence[Group]) -> None:
        for group in groups:
            if group.id is None:
                self._record(group.items)
                continue
            with self._recording:
                drafts = self._pipeline.drafts(group.items)
                try:
                    self._take_groups({group.id: drafts})
                except FAILURES:
                    # If the worker writes the group meanwhile, it is in the log twice, with the same ids.
                    self._spill.write(drafts)

    def _take_groups(self, groups: Mapping[str, Sequence[Draft]]) -> None:
        """Write those of *groups* that are not in the log yet, before returning. Raises what `FAILURES` lists."""
        self._spill.register()
        if isinstance(self._outbox, SqliteOutbox):
            self._last_seq = max(self._last_seq, self._outbox.append_groups(groups))
        for runner in self._runners:
            runner.wake()

    def _take_items(self, groups: Mapping[str, Sequence[Submission]]) -> int:
        with self._recording:
            drafts = {group: self._pipeline.drafts(items) for group, items in groups.items()}
        self._take_groups(drafts)
        return self._last_seq

    def _tick(self) -> None:
        if self._relay is not None:
            self._relay.connect_if_due()
        with self._recording:
            with loading():
                self.enricher.warm_up()
            self._write(())
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
        """Leave what is not in the log to the next process. What can't be kept is counted, and the log says so."""
        lost, why = sum(is_event(item) for item in self._writer.leftover()), "shutdown_timeout was too short"
        if not self._outbox.durable:
            lost += max((stats.pending for stats in self._outbox.stats().consumers.values()), default=0)
            why = "data_dir keeps them for the next start"
        if lost:
            self.counters.drop("exit", lost)
        drafts = self._spill.leftover()
        if self._database is not None and (drafts or lost):
            waiting = sum(draft.kind == "event" for draft in drafts)
            counts = self.counters.take()
            try:
                path = leave(self._database.directory, drafts, counts)
            except OSError:
                self.counters.give_back(counts)
                self.counters.drop("exit", waiting)
                lost, why = lost + waiting, "the data directory could not be written"
            else:
                logger.warning("analytics: %d events wait in %s for the next process that can write", waiting, path)
        if lost:
            logger.warning("analytics: %d events were lost at exit; %s", lost, why)


def immediate(settings: Settings, counters: Counters, sink: Callable[[Event], None]) -> Callable[[Submission], None]:
    """Return what replaces the queue in tests: it passes events to *sink* at once, with the client's address."""
    enricher = Enricher(settings, PrivateSalts(), PrivateSessions(), counters)
    pipeline = Pipeline(settings, counters, enricher, keep_address=True)

    def put(item: Submission) -> None:
        for draft in pipeline.drafts([item]):
            if draft.kind == "event":
                sink(Event.decode(draft.payload))

    return put
