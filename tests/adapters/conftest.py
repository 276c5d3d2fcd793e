"""Makes the contract's helper modules importable, wherever the tests run from."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from contract import pages
from contract.stacks import Stack, load, missing


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "applies(predicate): leave out the stacks that the case says nothing about")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Take out the combinations that don't exist, such as an async view in bare WSGI, rather than skip them."""
    gone: list[pytest.Item] = []
    for item in items:
        marker = item.get_closest_marker("applies")
        if marker is not None:
            parameters = dict(item.callspec.params)
            name = parameters.pop("stack")
            if not missing(name) and not marker.args[0](load(name), **parameters):
                gone.append(item)
    if gone:
        config.hook.pytest_deselected(items=gone)
        items[:] = [item for item in items if item not in set(gone)]


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
