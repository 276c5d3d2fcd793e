"""What happens at a fork and at exit of the process, and which instances are alive."""

import atexit
import os
import threading
import weakref
from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol


class _Living(Protocol):
    def after_fork(self) -> None: ...

    def at_exit(self) -> None: ...


class ForkGuarded(Protocol):
    """Something that must be idle while the process forks."""

    def before_fork(self) -> None:
        """Become idle, and stay so until the fork is over."""
        ...

    def after_fork_in_parent(self) -> None:
        """Resume."""
        ...

    def after_fork(self) -> None:
        """In the child: forget what belongs to the parent."""
        ...


_living: "weakref.WeakSet[_Living]" = weakref.WeakSet()
_guarded: "weakref.WeakSet[ForkGuarded]" = weakref.WeakSet()
_exit_registered_in = 0
_loading = threading.Lock()
_forking_thread = 0
_LOADING_TIMEOUT = 5.0


@contextmanager
def loading() -> Generator[None]:
    """Make forks of this process wait while a background thread imports modules in the block.

    A module that is half imported at a fork would stay locked in the child, by a thread that does not exist there.
    """
    with _loading:
        yield


def register(each: _Living) -> None:
    """Notify *each* of forks and of the end of the process, as long as it is alive."""
    _living.add(each)


def guard_forks(each: ForkGuarded) -> None:
    """Keep *each* idle during forks, as long as it is alive."""
    _guarded.add(each)


def living() -> list[_Living]:
    """Return everything registered that is still alive."""
    return list(_living)


def register_exit() -> None:
    """Have `at_exit` of everything registered called when this process ends.

    Call this when a thread is first started, so that a process that never used analytics (a server's master) has
    nothing to do at its end.
    """
    global _exit_registered_in
    if _exit_registered_in != os.getpid():
        _exit_registered_in = os.getpid()
        # A hook that the parent registered before a fork is inherited; it must not run twice.
        atexit.unregister(_at_exit)
        atexit.register(_at_exit)


def _before_fork() -> None:
    global _forking_thread
    if _loading.acquire(timeout=_LOADING_TIMEOUT):
        _forking_thread = threading.get_ident()
    for each in list(_guarded):
        each.before_fork()


def _after_fork_in_parent() -> None:
    global _forking_thread
    for each in list(_guarded):
        each.after_fork_in_parent()
    if _forking_thread == threading.get_ident():
        _forking_thread = 0
        _loading.release()


def _after_fork() -> None:
    global _loading, _forking_thread
    _loading, _forking_thread = threading.Lock(), 0
    for guarded in list(_guarded):
        guarded.after_fork()
    for each in living():
        each.after_fork()


def _at_exit() -> None:
    for each in living():
        each.at_exit()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork)
