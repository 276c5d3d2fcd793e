"""From facts to entries of the log: made and written here, or by the host's worker, or left in a file at the end."""

import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from analytics_middleware.counters import Counters, logger
from analytics_middleware.outbox.base import Draft, Outbox
from analytics_middleware.outbox.leftovers import leave, left_in
from analytics_middleware.outbox.spill import FAILURES, Spill
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.pipeline import Pipeline, Submission
from analytics_middleware.relay.client import Relay
from analytics_middleware.relay.facts import is_event
from analytics_middleware.relay.server import RelayServer


class Recorder:
    """Writes what was handed off to *outbox*, and calls *written* after that.

    *greeting* is the line by which a worker and the processes that it records for know each other.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        spill: Spill,
        outbox: Outbox,
        greeting: bytes,
        counters: Counters,
        written: Callable[[], None],
    ) -> None:
        self._pipeline = pipeline
        self._spill = spill
        self._outbox = outbox
        self._directory = outbox.database.directory if isinstance(outbox, SqliteOutbox) else None
        self._greeting = greeting
        self._counters = counters
        self._written = written
        self._mutex = threading.RLock()
        """Held while pipeline and spill are used: by the writer thread, and in the worker by the relay's thread."""
        self._relay: Relay | None = None
        self._relay_server: RelayServer | None = None
        self._abandoned = False
        self._in_hand: list[Sequence[Submission]] = []
        """What entries are being made of. Who takes it out accounts for it."""
        self.last_seq = 0
        """The log's last sequence number, as far as this process knows."""

    @property
    def waiting(self) -> int:
        """Events that are not known to be in the log yet, as far as they have left the queue."""
        if self._relay is None or self._directory is None:
            return self._spill.waiting
        return self._spill.waiting + self._relay.waiting + len(left_in(self._directory))

    @property
    def failing(self) -> bool:
        """Whether the log could not be written the last time."""
        return self._spill.failing

    @contextmanager
    def alone(self) -> Generator[None]:
        """Keep other threads from recording meanwhile."""
        with self._mutex:
            yield

    def register(self) -> None:
        """Make the consumers known. Raises what `FAILURES` lists, as all that writes to the log does."""
        self._spill.register()

    def look(self) -> None:
        """Learn how far the log has got through other processes."""
        self.last_seq = self._outbox.append((), {})

    # In a web process, with a worker or without.

    def through_worker(self, put: Callable[[Submission | bytes], None]) -> Callable[[Submission], None]:
        """From now on let the host's worker record, while there is one; return what hands items to *put* for it."""
        if self._directory is None:
            return put
        self._relay = Relay(self._directory, self._greeting, self._counters)
        return self._relay.preparing(put)

    def write(self, items: Sequence[Any]) -> None:
        """Record *items*; what can't be written waits in memory."""
        if self._relay is None:
            self._record(items)
            return
        groups = self._relay.send(items)
        # A greenlet that was sending in the parent may go on in a forked child.
        if not self._abandoned:
            self.last_seq = max(self.last_seq, self._relay.last_seq)
            self._record_groups(groups)

    def tick(self) -> None:
        """Look for a worker, and try again to write what waits. Called about once a second."""
        if self._relay is not None:
            self._relay.connect_if_due()
        self.write(())

    def stop_waiting(self) -> None:
        """From now on record here, even what a worker has not answered for."""
        if self._relay is not None:
            self._relay.stop_waiting()

    def finish(self, patience: float) -> None:
        """Record what waits, in memory or for a worker's answer, which may take *patience* seconds."""
        if self._relay is not None:
            self._record_groups(self._relay.end(patience))
        if self._spill.waiting:
            self._spill.write((), now=True)

    def account_for_rest(self, lost: int, why: str) -> None:
        """Leave what is not in the log to the next process. Count and log *lost* events, and what can't be kept."""
        with suppress(IndexError):
            # A processor hangs.
            given_up = self._in_hand.pop()
            lost += sum(is_event(item) for item in given_up)
        if lost:
            self._counters.drop("exit", lost)
        drafts = self._spill.leftover()
        if self._directory is not None and (drafts or lost):
            waiting = sum(draft.kind == "event" for draft in drafts)
            counts = self._counters.take()
            try:
                if (group := self._spill.writing) is None:
                    path = leave(self._directory, drafts, counts)
                else:
                    # A slow disk may still take them.
                    path = leave(self._directory, drafts, {}, group)
                    if counts:
                        leave(self._directory, (), counts)
            except OSError:
                self._counters.give_back(counts)
                self._counters.drop("exit", waiting)
                lost, why = lost + waiting, "the data directory could not be written"
            else:
                if waiting:
                    logger.warning("analytics: %d events wait in %s for the next process that can write", waiting, path)
        if lost:
            logger.warning("analytics: %d events were lost at exit; %s", lost, why)

    def abandon(self) -> None:
        """In a forked child: leave everything to the parent."""
        self._abandoned = True
        if self._relay is not None:
            self._relay.abandon()
        if self._relay_server is not None:
            self._relay_server.abandon()

    def _record(self, items: Sequence[Submission]) -> None:
        with self._mutex:
            last = self._spill.write(self._drafts(items))
        if last is not None:
            self.last_seq = last
            self._written()

    def _drafts(self, items: Sequence[Submission]) -> Sequence[Draft]:
        self._in_hand = [items]
        drafts = self._pipeline.drafts(items)
        with suppress(IndexError):
            self._in_hand.pop()
            return drafts
        # The process ends, and has counted them as lost.
        return ()

    def _record_groups(self, groups: Sequence[tuple[str | None, Sequence[Submission]]]) -> None:
        for group, items in groups:
            if group is None:
                self._record(items)
                continue
            with self._mutex:
                drafts = self._drafts(items)
                try:
                    self._take_groups({group: drafts})
                except FAILURES:
                    self._leave_group(group, drafts)

    def _leave_group(self, group: str, drafts: Sequence[Draft]) -> None:
        """Keep what can't be written now in a file, under the group's id, since the worker may still write it."""
        if self._directory is not None:
            with suppress(OSError):
                leave(self._directory, drafts, {}, group)
                return
        self._spill.write(drafts)

    # For other processes.

    def take_over(self, drafts: Sequence[Draft]) -> None:
        """Write *drafts* to the log before returning. Raises what `FAILURES` lists."""
        self._spill.register()
        self.last_seq = max(self.last_seq, self._outbox.append(drafts, {}))
        self._written()

    def record_for_others(self) -> None:
        """From now on record what other processes of the host hand over."""
        if self._directory is not None:
            self._relay_server = RelayServer(self._directory, self._greeting, self._take_items, self._counters)
            self._relay_server.start()

    def stop_recording_for_others(self, timeout: float) -> None:
        """Record what has arrived, for at most *timeout* seconds, and take no more."""
        if self._relay_server is not None:
            self._relay_server.stop(timeout)

    def _take_items(self, groups: Mapping[str, Sequence[Submission]]) -> int:
        with self._mutex:
            drafts = {group: self._pipeline.drafts(items) for group, items in groups.items()}
        self._take_groups(drafts)
        return self.last_seq

    def _take_groups(self, groups: Mapping[str, Sequence[Draft]]) -> None:
        """Write those of *groups* that are not in the log yet, before returning. Raises what `FAILURES` lists."""
        self._spill.register()
        if isinstance(self._outbox, SqliteOutbox):
            self.last_seq = max(self.last_seq, self._outbox.append_groups(groups, {}))
        self._written()
