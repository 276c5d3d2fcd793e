"""What holds for every test."""

from collections.abc import Iterator

import pytest

from analytics_middleware.context import current


@pytest.fixture(autouse=True)
def _outside_a_request() -> Iterator[None]:
    """Begin outside a request: a WSGI body that an earlier test never closed leaves its request behind."""
    current.set(None)
    yield
    current.set(None)
