"""The API on every stack, for tests that hold on all of them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dashboard_sites import dashboard_on
from web_sites import STACKS, Site, site_on


@pytest.fixture
def build() -> Iterator[Callable[..., Site]]:
    """Makes sites, by default on plain ASGI: ``build("Flask", authorize=...)``; all are closed after the test."""
    with ExitStack() as stack:
        yield lambda name="ASGI", **settings: stack.enter_context(site_on(name, **settings))


@pytest.fixture
def make() -> Iterator[Callable[..., Site]]:
    """Makes dashboards, by default on plain ASGI; all are closed after the test."""
    with ExitStack() as stack:
        yield lambda name="ASGI", **settings: stack.enter_context(dashboard_on(name, **settings))


@pytest.fixture(params=list(STACKS))
def site(request: pytest.FixtureRequest, build: Callable[..., Site]) -> Site:
    """A site on each stack in turn, with a read token and a secret key."""
    return build(request.param)


@pytest.fixture(params=["ASGI", "WSGI"])
def plain(request: pytest.FixtureRequest, build: Callable[..., Site]) -> Any:
    """A site on plain ASGI, and on plain WSGI: for what the core decides."""
    return build(request.param)
