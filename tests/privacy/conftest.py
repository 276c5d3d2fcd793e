"""Makes the site of these tests importable, wherever the tests run from."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from privacy_site import STACKS, Page, Site


@pytest.fixture(params=STACKS)
def stack(request: pytest.FixtureRequest) -> str:
    """Each stack in turn."""
    return request.param


@pytest.fixture
def build() -> Iterator[Callable[..., Site]]:
    """Make sites that are closed after the test."""
    sites: list[Site] = []

    def make(stack: str, pages: dict[str, Callable[[], Page]] | None = None, **settings: Any) -> Site:
        sites.append(Site(stack, {"/": Page, **(pages or {})}, **settings))
        return sites[-1]

    yield make
    for site in reversed(sites):
        site.close()
