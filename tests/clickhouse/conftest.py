"""A ClickHouse server to talk to over HTTP."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from servers import ClickHouse


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ClickHouse]:
    """A server that is running, with nothing in it."""
    server = ClickHouse(tmp_path / "clickhouse")
    server.start()
    yield server
    server.kill()
