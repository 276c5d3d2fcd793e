"""Every store the conformance cases run over."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from analytics_middleware.store import Insights, MemoryStore, Store

STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda path: MemoryStore(),
}

NOW = datetime(2025, 3, 12, 12, tzinfo=UTC)  # a Wednesday


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


@pytest.fixture
def ask(store: Store) -> Insights:
    """The questions, asked at noon of 12 March 2025."""
    return Insights(store, clock=lambda: NOW)
