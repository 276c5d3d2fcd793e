"""What the life of the process means for analytics: fork, exit, and the instances that are alive."""

import atexit
import os
import weakref
from typing import Protocol


class _Living(Protocol):
    def after_fork(self) -> None: ...

    def at_exit(self) -> None: ...


_living: "weakref.WeakSet[_Living]" = weakref.WeakSet()
_exit_registered_in = 0


def register(each: _Living) -> None:
    """Tell *each* about forks and the end of the process, as long as it lives."""
    _living.add(each)


def living() -> list[_Living]:
    """Return everything registered that is still alive."""
    return list(_living)


def register_exit() -> None:
    """Have `at_exit` called in this process. Called when a thread is first started here, so that a process that
    never used analytics (a server's master) has nothing to do at its end.
    """
    global _exit_registered_in
    if _exit_registered_in != os.getpid():
        _exit_registered_in = os.getpid()
        # Hooks registered by a parent before a fork are inherited: once is enough.
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)


def _after_fork() -> None:
    for each in living():
        each.after_fork()


def _at_exit() -> None:
    for each in living():
        each.at_exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
