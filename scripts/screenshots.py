"""Makes the pictures of the dashboard in docs/images: ``python scripts/screenshots.py [directory]``.

Needs the dev dependencies and Chromium. Each is made on the demo's data, at desktop or phone width, light or dark.
"""

import sys
from datetime import UTC, datetime
from pathlib import Path
from shutil import which
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "browser"))

from dashboards import served  # noqa: E402
from playwright.sync_api import sync_playwright  # noqa: E402

from analytics_middleware.demo.history import keep_examples  # noqa: E402
from analytics_middleware.web.saved import saved_of  # noqa: E402
from analytics_middleware.web.share import shares_of  # noqa: E402

DESKTOP, PHONE = (1180, 820), (390, 844)
QUALITY = 50
"""So that each takes less than 60 KB."""
SHOTS: dict[str, tuple[str, tuple[int, int], str]] = {
    "overview": ("/", DESKTOP, "light"),
    "overview-dark": ("/?period=90d&metric=revenue.GBP", DESKTOP, "dark"),
    "overview-phone": ("/", PHONE, "light"),
    "overview-phone-dark": ("/?period=7d", PHONE, "dark"),
    "events": ("/events?event=purchase&property=plan", DESKTOP, "light"),
    "funnels": ("/funnels?step=pageview&step=search.submitted&step=purchase&breakdown=device", DESKTOP, "light"),
    "funnels-phone": ("/funnels?step=pageview&step=search.submitted&step=purchase", PHONE, "dark"),
    "retention": ("/retention?period=90d", DESKTOP, "light"),
    "retention-phone": ("/retention?period=90d", PHONE, "light"),
    "users": ("/users", DESKTOP, "light"),
    "paths": ("/paths?event=search.submitted", DESKTOP, "dark"),
    "pipeline": ("/pipeline", DESKTOP, "light"),
    "live": ("/live", DESKTOP, "light"),
    "saved": ("/saved", DESKTOP, "light"),
    "saved-phone": ("/saved", PHONE, "dark"),
}


def shoot(browser: Any, url: str, size: tuple[int, int], scheme: str, path: Path) -> None:
    """Take one picture of the first screen."""
    page = browser.new_page(viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    page.goto(url)
    page.screenshot(path=path, type="jpeg", quality=QUALITY)
    page.close()


def main() -> None:
    """Make all of them, or those whose names are given after the directory."""
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "images"
    wanted = sys.argv[2:] or list(SHOTS)
    target.mkdir(parents=True, exist_ok=True)
    chromium = which("chromium") or which("google-chrome")
    with served("Starlette", "demo") as site, sync_playwright() as playwright:
        keep_examples(saved_of(site.analytics), datetime.now(UTC).date())
        shares_of(site.analytics).make("", "period=30d", name="The board")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for name in wanted:
            path, size, scheme = SHOTS[name]
            shoot(browser, site.url + path, size, scheme, target / f"{name}.jpg")
        browser.close()


if __name__ == "__main__":
    main()
