"""What holds for every test."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_middleware.context import current

# For modules that several folders of tests use.
sys.path.append(str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _outside_a_request() -> Iterator[None]:
    """Begin outside a request: a WSGI body that an earlier test never closed leaves its request behind."""
    current.set(None)
    yield
    current.set(None)
