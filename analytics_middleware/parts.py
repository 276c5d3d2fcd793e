"""The objects that the API and the pages of one `Analytics` share, each made when it is first needed."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Parts:
    """One object of each class."""

    def __init__(self) -> None:
        self._parts: dict[type[Any], Any] = {}
        self.after_fork()

    def after_fork(self) -> None:
        """In a forked child: a thread of the parent may have been making a part."""
        # Reentrant: making one part may ask for another.
        self._lock = threading.RLock()

    def get(self, kind: type[T], make: Callable[[], T]) -> T:
        """Return the object of class *kind*. The first call makes it with *make*; other threads wait for that."""
        with self._lock:
            if kind not in self._parts:
                self._parts[kind] = make()
            part: T = self._parts[kind]
            return part
