"""Makes the loopback destinations importable, wherever the tests run from."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from destinations.server import Server


@pytest.fixture
def server() -> Iterator[Server]:
    """A loopback server that answers 200 until told otherwise."""
    with Server() as running:
        yield running
