"""Threads for destinations that take one event per request."""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers:
    """Calls functions for many items, at most *count* at once, in threads that start when first needed.

    They are daemon threads, unlike those of ``concurrent.futures``: a destination that hangs must not delay the end of
    the process.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._tasks: queue.SimpleQueue[_Task[Any, Any] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def map(
        self, function: Callable[[T], R], items: Sequence[T], stop: Callable[[R], bool] = lambda _result: False
    ) -> list[R | None]:
        """Return each item's result, in order; the function must not raise.

        When *stop* returns true for a result, no more items are started; their results are None.
        """
        if self._pid != os.getpid():
            # After a fork the threads exist only in the parent.
            self._reset()
        task = _Task(function, items, stop)
        wanted = min(self._count, len(items)) - 1
        while len(self._threads) < wanted:
            thread = threading.Thread(
                target=self._run, args=(self._tasks,), name=f"{self._name}-{len(self._threads)}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        for _ in range(wanted):
            self._tasks.put(task)
        # The calling thread takes part in the work.
        task.work()
        task.done.wait()
        return task.results

    def close(self, timeout: float = 0.0) -> None:
        """Let the threads finish their current work; wait at most *timeout* seconds for each."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._tasks.put(None)
        for thread in threads:
            thread.join(timeout)
        self._tasks = queue.SimpleQueue()

    def _run(self, tasks: "queue.SimpleQueue[_Task[Any, Any] | None]") -> None:
        while (task := tasks.get()) is not None:
            task.work()


class _Task(Generic[T, R]):
    """Items that several threads take one by one."""

    def __init__(self, function: Callable[[T], R], items: Sequence[T], stop: Callable[[R], bool]) -> None:
        self.results: list[R | None] = [None] * len(items)
        self.done = threading.Event()
        self._function = function
        self._items = items
        self._stop = stop
        self._lock = threading.Lock()
        self._next = 0
        self._working = 0
        self._stopped = False

    def work(self) -> None:
        while True:
            with self._lock:
                if self._stopped or self._next >= len(self._items):
                    if not self._working:
                        self.done.set()
                    return
                index = self._next
                self._next += 1
                self._working += 1
            stop = True
            try:
                result = self.results[index] = self._function(self._items[index])
                stop = self._stop(result)
            finally:
                with self._lock:
                    self._working -= 1
                    self._stopped = self._stopped or stop
