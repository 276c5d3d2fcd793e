"""Makes the contract's helper modules importable, wherever the tests run from."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from contract import pages
from contract.stacks import Stack, load, missing


def stack_named(name: str) -> Stack:
    if framework := missing(name):
        pytest.skip(f"{framework} is not installed")
    return load(name)


@pytest.fixture
def stack(request: pytest.FixtureRequest) -> Stack:
    """The stack that the test is parametrised with."""
    return stack_named(request.param)


@pytest.fixture
def probe() -> Iterator[pages.Probe]:
    """What reaches into the views of this process; nothing of it outlives the test."""
    probe = pages.probe
    probe.reset()
    yield probe
    probe.response_over.set()
    for thread in probe.threads:
        thread.join(pages.DEADLINE)
    probe.reset()
