"""Reports and alerts as a mail program shows them: nothing of hostile data runs, is fetched or sticks out."""

from datetime import UTC, datetime
from typing import Any

import pytest
from dashboards import DATA, FRAMEWORKS

from analytics_middleware.reports.alert import read_alerts
from analytics_middleware.reports.alert_message import alert_message
from analytics_middleware.reports.alert_states import AlertState, DueMessage
from analytics_middleware.reports.figures import build_report
from analytics_middleware.reports.message import Message
from analytics_middleware.reports.period import between
from analytics_middleware.reports.rendering import report_message

INTRUDERS = "document.querySelectorAll('script, img, iframe, [onload], [onerror], [href^=javascript]').length"


def quiet(watched: Any, message: Message) -> str:
    """Show *message* at the width of a desk and of a phone; return what is read there."""
    fetched: list[str] = []
    watched.page.on("request", lambda request: fetched.append(request.url))
    watched.page.set_content(message.html)
    assert watched.page.evaluate(INTRUDERS) == 0
    for width in (1280, 390):
        watched.page.set_viewport_size({"width": width, "height": 900})
        assert watched.page.evaluate("document.documentElement.scrollWidth") <= width
    assert fetched == []
    return str(watched.page.locator("body").inner_text())


@pytest.mark.parametrize("data", DATA)
def test_a_report_shows_its_figures_and_does_nothing(sites: Any, watched: Any, data: str):
    analytics = sites(FRAMEWORKS[0], data).analytics
    scope = between(analytics.insights, "2025-01-01", datetime.now(UTC).date().isoformat())
    report = build_report(analytics, scope, "<img src=x onerror=alert(1)> Shop", "https://shop.example/analytics")
    shown = quiet(watched, report_message(report))
    assert "<img src=x onerror=alert(1)> Shop" in shown
    for section in report.sections:
        assert section.title in shown
        assert bool(section.rows) is (data != "empty")


def test_an_alert_shows_its_name_and_does_nothing(watched: Any):
    hostile = "<script>alert(1)</script><img src=x onerror=alert(2)>" + "x" * 40
    given = {"name": hostile, "question": "volume", "number": "count", "above": 3, "to": ["a@shop.example"]}
    [alert] = read_alerts("alerts", [{**given, "parameters": {"event": hostile}}])
    shown = quiet(watched, alert_message(alert, DueMessage("alr_1", AlertState(True, 0.0, 0.0, 5.0, None)), "UTC"))
    assert hostile in shown
