"""The queue to which requests append, and the one thread per process that empties it.

The thread writes the items of a few milliseconds as one group.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from analytics_middleware.counters import Counters, logger

_LINGER = 0.02
"""Seconds that the thread waits for further items, to write them in one transaction."""
_TICK = 1.0
_GROUP = 500
"""Maximum number of items in one write."""


class Writer:
    """Takes items without blocking and passes them to *write* in groups, from one thread.

    The thread also calls *tick*: at its start and then about once a second, whether there are items or not.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Any]], object],
        limit: int,
        counters: Counters,
        tick: Callable[[], object] | None = None,
    ) -> None:
        self._write = write
        self._tick = tick
        self._limit = limit
        self._counters = counters
        self._queue: deque[Any] = deque()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._written = threading.Condition()
        self._idle = False
        self._busy = False
        self._stopping = False
        self.abandoned = False
        """Whether this is a forked child's copy of its parent's writer."""
        self._thread: threading.Thread | None = None

    def put(self, item: Any) -> None:
        """Queue *item*. Never blocks: if the queue is full, the item is dropped and counted."""
        queue = self._queue
        if len(queue) >= self._limit:
            self._counters.drop("queue_full")
            return
        queue.append(item)
        # The thread sets the flag before its last look at the queue: either it sees the item, or we see the flag.
        if self._idle:
            self._idle = False
            self._wake.set()

    def start(self) -> None:
        """Start the thread. Raises `RuntimeError` where none can be started any more (at interpreter exit)."""
        thread = threading.Thread(target=self._run, name="analytics-writer", daemon=True)
        thread.start()
        self._thread = thread

    @property
    def running(self) -> bool:
        """Whether the thread was started and has not ended."""
        return self._thread is not None and self._thread.is_alive()

    def drain(self, timeout: float) -> bool:
        """Wait until everything queued so far is written; return whether it was within *timeout* seconds."""
        deadline = time.monotonic() + timeout
        with self._written:
            while self._queue or self._busy:
                self._hurry.set()
                self._wake.set()
                remaining = deadline - time.monotonic()
                if remaining <= 0 or not self.running:
                    return False
                self._written.wait(min(remaining, 0.05))
        return True

    def stop(self, timeout: float) -> bool:
        """Write what is left and end the thread; return whether it ended within *timeout* seconds."""
        self._stopping = True
        self._hurry.set()
        self._wake.set()
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def abandon(self) -> None:
        """In a forked child: make the parent's thread do nothing, if it goes on here (a greenlet does)."""
        self._queue.clear()
        self.abandoned = True

    def leftover(self) -> list[Any]:
        """Remove and return the items that nobody will write any more."""
        with self._written:
            items = list(self._queue)
            self._queue.clear()
        return items

    def _run(self) -> None:
        tick_at = 0.0
        while True:
            self._wake.clear()
            self._idle = True
            if self._tick is not None and not self.abandoned and not self._stopping and time.monotonic() >= tick_at:
                self._guarded(self._tick)
                tick_at = time.monotonic() + _TICK
            if not self._queue and not self._stopping:
                self._wake.wait(None if self._tick is None else max(0.0, tick_at - time.monotonic()))
            self._idle = False
            if self._queue and not self._stopping:
                # `drain` and `stop` cut this wait short.
                self._hurry.wait(_LINGER)
                self._hurry.clear()
            if self.abandoned:
                return
            self._write_all()
            if self._stopping and not self._queue:
                return

    def _write_all(self) -> None:
        queue = self._queue
        # Items that come meanwhile wait for the next round; else a busy server would write a few events at a time.
        left = len(queue)
        while left:
            self._busy = True
            with self._written:
                # `leftover` may have removed them.
                group = [queue.popleft() for _ in range(min(left, len(queue), _GROUP))]
            left = min(left - len(group), len(queue))
            if not self._guarded(partial(self._write, group)):
                self._counters.drop("internal_error", len(group))
            self._busy = False
            with self._written:
                self._written.notify_all()

    def _guarded(self, action: Callable[[], object]) -> bool:
        try:
            action()
        except Exception:  # noqa: BLE001 - the thread must survive any error
            self._counters.log("writer", logger.error, "analytics: events could not be written", exc_info=True)
            return False
        return True
