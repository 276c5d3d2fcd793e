"""A real browser on real servers: headless Chromium, and the dashboard over each framework on each kind of data."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from dashboards import Served, served

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser, for one module: its event loop runs in this thread, and would be in the way of others."""
    sync_api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def sites() -> Iterator[Any]:
    """The dashboards that tests have asked for, made once each: ``sites("Flask", "demo")``."""
    made: dict[tuple[str, str], Any] = {}

    def site(framework: str, data: str) -> Served:
        if (framework, data) not in made:
            # Django has one site per process.
            for other in [key for key in made if key[0] == framework == "Django"]:
                made.pop(other)[0].__exit__(None, None, None)
            context = served(framework, data)
            made[framework, data] = (context, context.__enter__())
        return made[framework, data][1]

    yield site
    for context, _ in made.values():
        context.__exit__(None, None, None)


class Watched:
    """A page whose every complaint is kept."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.complaints: list[str] = []
        self.bytes: list[int] = []
        page.on("console", lambda message: self._hear(message.type, message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("response", lambda response: self._weigh(response))
        page.add_init_script(
            "addEventListener('securitypolicyviolation',"
            " event => console.error('CSP ' + event.violatedDirective + ' ' + event.blockedURI))"
        )

    def _hear(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self.complaints.append(text)

    def _weigh(self, response: Any) -> None:
        if response.status not in (200, 303):
            self.complaints.append(f"{response.status} {response.url}")
        self.bytes.append(int(response.headers.get("content-length") or 0))

    def open(self, url: str) -> Any:
        self.bytes.clear()
        self.page.goto(url)
        return self.page


@pytest.fixture
def watched(chromium: Any) -> Iterator[Watched]:
    """A page in a browser without cookies; at the end nothing may have complained."""
    context = chromium.new_context(viewport={"width": 1280, "height": 900})
    watched = Watched(context.new_page())
    yield watched
    complaints = watched.complaints
    context.close()
    assert complaints == []
