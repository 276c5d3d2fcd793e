"""A few threads for destinations that take one event a request."""

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Workers(Generic[T, R]):
    """Calls a function for many items, at most *count* at once, over threads that it starts when first needed.

    The threads are daemons, which those of ``concurrent.futures`` are not: a destination that hangs must not hold up
    the end of the process.
    """

    def __init__(self, function: Callable[[T], R], count: int, name: str) -> None:
        self._function = function
        self._count = count
        self._name = name
        self._tasks: queue.SimpleQueue[_Task[T, R] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def map(
        self, items: Sequence[T], stop: Callable[[R], bool] = lambda _result: False
    ) -> list[R | BaseException | None]:
        """Return each item's result or the exception it raised, in order.

        Once *stop* says so of a result no further item is begun; the result of those is None.
        """
        task = _Task(items, stop)
        wanted = min(self._count, len(items)) - 1
        while len(self._threads) < wanted:
            thread = threading.Thread(
                target=self._run, args=(self._tasks,), name=f"{self._name}-{len(self._threads)}", daemon=True
            )
            thread.start()
            self._threads.append(thread)
        for _ in range(wanted):
            self._tasks.put(task)
        # The calling thread is one of those at work.
        task.work(self._function)
        task.done.wait()
        return task.results

    def close(self, timeout: float = 0.0) -> None:
        """Let the threads end after what they are doing, waiting at most *timeout* seconds for each."""
        threads, self._threads = self._threads, []
        for _ in threads:
            self._tasks.put(None)
        for thread in threads:
            thread.join(timeout)
        self._tasks = queue.SimpleQueue()

    def forget(self) -> None:
        """In a forked child: the threads are the parent's."""
        self._threads = []
        self._tasks = queue.SimpleQueue()

    def _run(self, tasks: "queue.SimpleQueue[_Task[T, R] | None]") -> None:
        while (task := tasks.get()) is not None:
            task.work(self._function)


class _Task(Generic[T, R]):
    """Items that several threads take from until there are none left."""

    def __init__(self, items: Sequence[T], stop: Callable[[R], bool]) -> None:
        self.results: list[R | BaseException | None] = [None] * len(items)
        self.done = threading.Event()
        self._items = items
        self._stop = stop
        self._lock = threading.Lock()
        self._next = 0
        self._working = 0
        self._stopped = False

    def work(self, function: Callable[[T], R]) -> None:
        while True:
            with self._lock:
                if self._stopped or self._next >= len(self._items):
                    if not self._working:
                        self.done.set()
                    return
                index = self._next
                self._next += 1
                self._working += 1
            stop = False
            try:
                result = function(self._items[index])
                self.results[index] = result
                stop = self._stop(result)
            except BaseException as error:  # noqa: BLE001 - handed to the caller, who knows what it means
                self.results[index] = error
                stop = True
            finally:
                with self._lock:
                    self._working -= 1
                    self._stopped = self._stopped or stop
