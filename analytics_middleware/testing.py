"""For tests of applications: a pytest fixture, the same as a context manager, and collectors to look into.

Installing the package makes the fixture `analytics_events` known to pytest.
"""

import os
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

from analytics_middleware import lifecycle
from analytics_middleware.analytics import Analytics
from analytics_middleware.collectors.base import BatchCollector
from analytics_middleware.event import Event

__all__ = ["FakeCollector", "analytics_events", "capture_events"]


@contextmanager
def capture_events() -> Generator[list[Event]]:
    """Collect every event of every `Analytics` in this process into a list, at once and in no other place.

    Analytics that is off because a test runner is at work is on meanwhile; no collector gets anything.
    """
    events: list[Event] = []
    Analytics.default_sinks.append(events.append)
    _capture_to(events.append)
    try:
        yield events
    finally:
        Analytics.default_sinks.pop()
        _capture_to(Analytics.default_sinks[-1] if Analytics.default_sinks else None)


def _capture_to(sink: Callable[[Event], None] | None) -> None:
    for each in lifecycle.living():
        if isinstance(each, Analytics):
            each.capture(sink)


class FakeCollector(BatchCollector):
    """A collector that keeps what it gets in `events`; *fail* is asked first and may raise."""

    third_party = False
    bots = True
    linger = 0.0

    def __init__(
        self, name: str = "fake", *, fail: Callable[[Sequence[Event]], object] = lambda _events: None, **options: object
    ) -> None:
        super().__init__()
        self.name = name
        self.events: list[Event] = []
        self.batches = 0
        self.closed = False
        self._fail = fail
        for option, value in options.items():
            setattr(self, option, value)

    def send(self, events: Sequence[Event]) -> None:
        """Keep *events*, unless *fail* raises."""
        self.batches += 1
        self._fail(events)
        self.events += events

    def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


try:
    import pytest
except ImportError:  # the fakes are of use without it
    pass
else:

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
        """Say that pytest is at work before the first `Analytics` is made; before version 8.2 pytest does not."""
        if "PYTEST_VERSION" not in os.environ:
            environment = pytest.MonkeyPatch()
            environment.setenv("PYTEST_VERSION", pytest.__version__)
            early_config.add_cleanup(environment.undo)

    @pytest.fixture
    def analytics_events() -> Generator[list[Event]]:
        """The events that the code under test records, in order, as a list that grows."""
        with capture_events() as events:
            yield events
