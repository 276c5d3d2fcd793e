"""For applications' tests: a pytest fixture, the same as a context manager, and a collector that keeps its events.

pytest finds the fixture `analytics_events` as soon as the package is installed.
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
    """Collect every event of every `Analytics` in this process into a list, at once; collectors get nothing.

    An `Analytics` that is off because tests are running is on meanwhile.
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
    """A collector that keeps what it gets in `events`. *fail* is called first with each batch, and may raise."""

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
except ImportError:  # the rest works without it
    pass
else:

    @pytest.hookimpl(tryfirst=True)
    def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
        """Set PYTEST_VERSION before the first `Analytics` is made, for pytest before 8.2, which does not set it."""
        if "PYTEST_VERSION" not in os.environ:
            environment = pytest.MonkeyPatch()
            environment.setenv("PYTEST_VERSION", pytest.__version__)
            early_config.add_cleanup(environment.undo)

    @pytest.fixture
    def analytics_events() -> Generator[list[Event]]:
        """The events that the code under test records, in order, as a list that grows."""
        with capture_events() as events:
            yield events
