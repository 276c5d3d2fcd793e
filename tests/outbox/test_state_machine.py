"""Outbox and delivery against everything at once: crashes at any write, full disks, clocks, leases, any answer.

Two processes share a log and deliver for two collectors. Whatever happens, first attempts keep the log's order, every
event is in exactly one place of the accounting, and what was accepted reaches each collector or is counted.
"""

import os
import shutil
import sqlite3
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from analytics_middleware.collectors.base import BatchCollector
from analytics_middleware.counters import Counters
from analytics_middleware.delivery.backoff import Backoff
from analytics_middleware.delivery.consumer import Consumer
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.spill import FAILURES, Spill
from analytics_middleware.outbox.sqlite import SqliteOutbox

COLLECTORS = ("first", "second")
MAX_PENDING = 25
ENOUGH = 400
_connect = sqlite3.connect


class Crash(BaseException):
    """The process is dead."""


class Fuse:
    """Ends a process at its n-th statement from now, before or after the statement took effect."""

    def __init__(self):
        self.left = None
        self.after = False
        self.blown = False
        self.disk_full = False

    @contextmanager
    def statement(self, sql):
        if self.blown:
            raise Crash
        if self.disk_full and sql.startswith(("INSERT", "UPDATE", "DELETE", "COMMIT")):
            raise sqlite3.OperationalError("database or disk is full")
        if self.left is not None:
            self.left -= 1
            self.blown = self.left < 0
            if self.blown and not self.after:
                raise Crash
        yield
        if self.blown:
            raise Crash


class Fragile(sqlite3.Connection):
    fuse = None
    writing = False

    def execute(self, sql, *parameters):
        if sql.startswith("BEGIN"):
            self.writing = sql == "BEGIN IMMEDIATE"
        # The end of a transaction that only read fails for no disk's sake.
        with self.fuse.statement(sql if self.writing else ""):
            return super().execute(sql, *parameters)

    def executemany(self, sql, *parameters):
        with self.fuse.statement(sql):
            return super().executemany(sql, *parameters)


class World:
    """What the processes share: the directory, both clocks, and the destinations."""

    def __init__(self):
        memory = "/dev/shm"
        self.directory = Path(tempfile.mkdtemp(dir=memory if os.access(memory, os.W_OK) else None))
        self.wall = 1_000_000.0
        self.steady = 50.0
        self.received = {name: [] for name in COLLECTORS}
        """Ids in the order of arrival, once for each time."""
        self.tried = {name: [] for name in COLLECTORS}
        """Ids in the order of their first attempts."""
        self.answer = None
        self.interrupt = None


class Scripted(BatchCollector):
    """Answers as it is told; what it takes it writes down in the world, for it outlives the processes."""

    third_party = False
    max_batch = 4
    linger = 0.0

    def __init__(self, name, world):
        super().__init__()
        self.name = name
        self._world = world

    def send(self, events):
        world = self._world
        ids = [event.event_id for event in events]
        tried = world.tried[self.name]
        tried += [each for each in ids if each not in tried]
        if world.interrupt is not None:
            interrupt, world.interrupt = world.interrupt, None
            interrupt()
        taken, error = answered(world.answer, ids)
        world.received[self.name] += taken
        if error is not None:
            raise error


def answered(answer, ids):
    """Return which of *ids* the destination keeps, and what it says."""
    middle = len(ids) // 2
    match answer:
        case "down":
            return [], DeliveryError("down")
        case "raises":
            return [], ValueError("broken")
        case "wait":
            return [], DeliveryError("busy", retry_after=30.0)
        case "refuses":
            return [], DeliveryError("refused", permanent=True)
        case "too large":
            return (ids, None) if len(ids) == 1 else ([], DeliveryError("too large", too_large=True))
        case "poison":
            return ([], DeliveryError("poison", permanent=True)) if ids[0][-1] in "0123" else (ids, None)
        case "rejects some":
            return ids[middle:], DeliveryError("some", rejected=dict.fromkeys(ids[:middle], "bad"))
        case "retries some":
            return ids[:middle], DeliveryError("some", retry=ids[middle:])
        case "mixed":
            return ids[2:], DeliveryError("some", rejected=dict.fromkeys(ids[:1], "bad"), retry=ids[1:2])
        case "times out":
            return ids, DeliveryError("time-out", ambiguous=True)
    return ids, None


ANSWERS = (
    "ok",
    "ok",
    "down",
    "raises",
    "wait",
    "refuses",
    "too large",
    "poison",
    "rejects some",
    "retries some",
    "mixed",
    "times out",
)


class Process:
    """A process of the host: its own view of the log, a writer and a consumer for each collector."""

    def __init__(self, world, fuse):
        self.fuse = fuse
        self.connections = []

        def connect(*arguments, **options):
            connection = _connect(*arguments, **options, factory=Fragile)
            connection.fuse = fuse
            self.connections.append(connection)
            return connection

        self.connect = connect
        self.outbox = SqliteOutbox(
            world.directory, max_pending=MAX_PENDING, clock=lambda: world.wall, monotonic=lambda: world.steady
        )
        self.counters = Counters()
        self.spill = Spill(
            self.outbox, dict.fromkeys(COLLECTORS, False), self.counters, limit=15, monotonic=lambda: world.steady
        )
        self.consumers = {
            name: Consumer(
                Scripted(name, world),
                self.outbox,
                clock=lambda: world.wall,
                backoff=Backoff(uniform=lambda low, high: high),
            )
            for name in COLLECTORS
        }

    def kill(self):
        """What a killed process had in memory is gone; SQLite rolls back what was not committed."""
        self.fuse.blown = True
        for connection in self.connections:
            connection.close()
        self.outbox.database._lock.close()


processes = st.integers(0, 1)


class Host(RuleBasedStateMachine):
    def __init__(self):
        super().__init__()
        self.world = World()
        self.processes = [Process(self.world, Fuse()) for _ in range(2)]
        self.observer = SqliteOutbox(self.world.directory)
        self.number = 0
        self.handed = set()
        """Events that a process which lives has taken."""
        self.seqs = {}
        """Of every event that ever was in the log."""
        self.limited = 0
        """Of how many events somebody has seen to it that no more are kept than should be."""
        self.may_repeat = False

    @initialize()
    def both_know_the_collectors(self):
        for number in range(2):
            self.run(number, lambda process: process.spill.write(()))

    def run(self, number, action):
        """Have a process do something; if it dies of it another takes its place."""
        process = self.processes[number]
        sqlite3.connect = process.connect
        try:
            action(process)
        except Crash:
            self.replace(number)
        except FAILURES:
            assert process.fuse.disk_full
        finally:
            sqlite3.connect = _connect
        self.look_into_the_log()

    def replace(self, number):
        process = self.processes[number]
        disk_full = process.fuse.disk_full
        process.kill()
        self.handed -= {draft.record_id for draft in process.spill._waiting} - self.seqs.keys()
        self.processes[number] = Process(self.world, Fuse())
        self.processes[number].fuse.disk_full = disk_full
        self.may_repeat = True

    def look_into_the_log(self):
        with self.observer.database.read() as connection:
            rows = connection.execute("SELECT record_id, seq FROM log").fetchall()
        for record_id, seq in rows:
            assert self.seqs.setdefault(record_id, seq) == seq, "an event is in the log twice"

    # What happens.

    @rule(number=processes, count=st.integers(1, 6))
    def put(self, number, count):
        drafts = []
        for _ in range(count):
            self.number += 1
            event_id = f"event-{self.number:04}"
            self.world.wall += 0.001
            payload = Event(event_id=event_id).encode()
            drafts.append(Draft("event", event_id, self.world.wall, payload, b"secret", 0))
        # In memory from here on: a crash before it is written takes it along, and nothing else may.
        self.handed |= {draft.record_id for draft in drafts}
        self.run(number, lambda process: process.spill.write(drafts, now=True))

    @rule(number=processes, name=st.sampled_from(COLLECTORS), answer=st.sampled_from(ANSWERS))
    def step(self, number, name, answer):
        self.world.answer = answer
        self.run(number, lambda process: process.consumers[name].step(hurry=True))

    @rule(number=processes)
    def tick(self, number):
        def look_after_the_log(process):
            process.outbox.tick(COLLECTORS)
            self.limited = len(self.seqs)

        self.run(number, look_after_the_log)

    @rule(number=processes)
    def write_what_waits(self, number):
        self.run(number, lambda process: process.spill.write((), now=True))

    @rule(number=processes, left=st.integers(0, 25), after=st.booleans())
    def crash_soon(self, number, left, after):
        fuse = self.processes[number].fuse
        fuse.left, fuse.after = left, after

    @rule(number=processes)
    def kill(self, number):
        self.replace(number)

    @rule(number=processes)
    def end_gracefully(self, number):
        def end(process):
            process.spill.write((), now=True)
            for consumer in process.consumers.values():
                consumer.close()

        repeat = self.may_repeat
        self.run(number, end)
        if self.processes[number].spill.waiting == 0:
            unwritten = any(consumer._unwritten for consumer in self.processes[number].consumers.values())
            self.replace(number)
            self.may_repeat = repeat or unwritten

    @rule(full=st.booleans())
    def disk(self, full):
        for process in self.processes:
            process.fuse.disk_full = full

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 60.0, 1000.0]))
    def time_passes(self, seconds):
        self.world.wall += seconds
        self.world.steady += seconds

    @rule(seconds=st.sampled_from([-86400.0, -60.0, 60.0, 86400.0]))
    def the_clock_is_set(self, seconds):
        self.world.wall += seconds

    @precondition(lambda self: not any(process.fuse.disk_full for process in self.processes))
    @rule(number=processes, name=st.sampled_from(COLLECTORS), answer=st.sampled_from(ANSWERS))
    def the_lease_is_lost_while_a_batch_is_sent(self, number, name, answer):
        other = self.processes[1 - number]
        fuse, other.fuse.left = other.fuse, None

        def take_over():
            self.world.steady += 30.0
            mine, sqlite3.connect = sqlite3.connect, other.connect
            try:
                assert other.outbox.claim(name) is not None
            finally:
                sqlite3.connect = mine
            fuse.left = None

        self.may_repeat = True
        self.world.answer = answer
        self.world.interrupt = take_over
        self.run(number, lambda process: process.consumers[name].step(hurry=True))
        self.world.interrupt = None

    # What must hold.

    @invariant()
    def every_event_is_in_exactly_one_place(self):
        for stats in self.observer.stats().consumers.values():
            assert stats.accepted == len(self.seqs)
            assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.dead + stats.pending
            assert all(count >= 0 for count in stats.dropped.values())
            # As many retries as entries of the log, and what has come since somebody looked at how many there are.
            assert stats.pending <= 2 * MAX_PENDING + len(self.seqs) - self.limited

    @invariant()
    def first_attempts_keep_the_order_of_the_log(self):
        for tried in self.world.tried.values():
            order = [self.seqs[event_id] for event_id in tried]
            assert order == sorted(order)

    @invariant()
    def what_was_taken_is_in_the_log_or_waits_or_is_counted(self):
        waiting = {draft.record_id for process in self.processes for draft in process.spill._waiting}
        missing = self.handed - self.seqs.keys() - waiting
        dropped = self.observer.stats().counts.get("dropped.overflow_memory", 0)
        dropped += sum(process.counters.peek().get("dropped.overflow_memory", 0) for process in self.processes)
        assert len(missing) <= dropped or self.may_repeat

    def teardown(self):
        try:
            self.all_is_delivered_when_the_trouble_is_over()
        finally:
            sqlite3.connect = _connect
            for process in self.processes:
                process.kill()
            self.observer.close()
            shutil.rmtree(self.world.directory)

    def all_is_delivered_when_the_trouble_is_over(self):
        self.world.answer = "ok"
        for process in self.processes:
            process.fuse.disk_full, process.fuse.left = False, None
        for number in range(2):
            self.run(number, lambda process: process.spill.write((), now=True))
        for _ in range(ENOUGH):
            if all(stats.pending == 0 for stats in self.observer.stats().consumers.values()):
                break
            # Further than a destination or a retry waits, and than a clock was set back.
            self.world.wall += 10_000.0
            self.world.steady += 7.0
            for number in range(2):
                for name in COLLECTORS:
                    self.run(number, lambda process, name=name: process.consumers[name].step(hurry=True))
        self.every_event_is_in_exactly_one_place()
        self.first_attempts_keep_the_order_of_the_log()
        with self.observer.database.read() as connection:
            dead = {name: set() for name in COLLECTORS}
            for consumer, record_id in connection.execute("SELECT consumer, record_id FROM dead"):
                dead[consumer].add(record_id)
        for name, stats in self.observer.stats().consumers.items():
            assert stats.pending == 0
            received = self.world.received[name]
            nowhere = self.seqs.keys() - set(received) - dead[name]
            assert len(nowhere) <= sum(stats.dropped.values())
            assert stats.dead == len(dead[name])
            if not self.may_repeat and self.never_taken_over(name):
                assert len(set(received)) == len(received)

    def never_taken_over(self, name):
        with self.observer.database.read() as connection:
            return connection.execute("SELECT epoch FROM consumer WHERE name = ?", (name,)).fetchone() == (1,)


@pytest.mark.timeout(300)
class TestHost(Host.TestCase):
    settings = settings(
        max_examples=int(os.environ.get("ANALYTICS_MACHINE_EXAMPLES", "60")),
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
