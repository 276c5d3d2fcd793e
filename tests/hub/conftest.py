"""A hub and two hosts that send it what they record."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "collectors"))

from hub_servers import KEY, Instance


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[Callable[..., Instance]]:
    """Makes instances: ``instance("hub")``, ``instance("host", store=hub.url)``; all are ended after the test."""
    made: list[Instance] = []

    def make(name: str, **settings: Any) -> Instance:
        if "store" in settings:
            settings.setdefault("store_key", KEY)
        made.append(Instance(tmp_path / name, **settings))
        return made[-1]

    yield make
    for each in made:
        each.kill()
