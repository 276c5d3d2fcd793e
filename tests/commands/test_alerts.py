"""``alerts``: checked by cron and by workers side by side, each message sent once."""

import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "collectors"))

from destinations.server import Reply, Server, hang

from .conftest import Shop

ALERTS = """    alerts=[
        {{
            "name": "refused",
            "question": "pipeline",
            "number": "dead",
            "above": 2,
            "to": [{{"url": "{url}/hidden-path", "allow_http": True, "allow_private": True}}],
        }},
    ],
"""


@pytest.fixture
def hook() -> Iterator[Server]:
    """A webhook that answers 200 until told otherwise."""
    with Server() as running:
        yield running


@pytest.fixture
def alerting(shop: Shop, hook: Server) -> Shop:
    """A shop that tells a webhook when more than two events are refused for good; three are."""
    source = (shop.path / "shop.py").read_text()
    (shop.path / "shop.py").write_text(
        source.replace("    store=None,\n", "    store=None,\n" + ALERTS.format(url=hook.url))
    )
    shop.mode("vendor", "refuse")
    shop.record("for _ in range(3): analytics.track('order')", flush=10)
    return shop


def test_what_is_due_is_sent_and_shown(alerting: Shop, hook: Server) -> None:
    assert "not checked yet" in alerting.run("alerts", "list").stdout
    dry = alerting.run("alerts", "check", "--dry-run")
    assert dry.stdout == "refused: would be firing, 3 (above 2)\n"
    assert hook.requests == []
    shown = alerting.run("alerts", "check").stdout
    assert shown.startswith(f"refused: firing, 3 (above 2), told {hook.url}")
    assert "hidden-path" not in shown
    assert alerting.run("alerts", "check").stdout == "refused: firing, 3 (above 2)\n"
    [request] = hook.requests
    assert (request.json["type"], request.json["subject"]) == ("analytics.alert", "Firing: refused")
    [_, line] = alerting.run("alerts", "list").stdout.splitlines()
    assert line.split()[:2] == ["refused", "firing"]
    assert line.split()[-2:] == ["1", "0"]


def test_what_could_not_be_sent_ends_with_1_and_stays_due(alerting: Shop, hook: Server) -> None:
    hook.handler = lambda _request: Reply(503)
    ended = alerting.run("alerts", "check", check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"refused: not sent: {hook.url} answered 503")
    assert ended.stderr.count("\n") == 1
    assert "the last message of refused was not sent: " in alerting.run("alerts", "list").stdout
    hook.handler = lambda _request: Reply()
    assert ", told " in alerting.run("alerts", "check").stdout
    assert len(hook.requests) == 2


def test_a_test_message_says_that_it_is_one(alerting: Shop, hook: Server) -> None:
    assert alerting.run("alerts", "test", "refused").stdout.startswith(f"sent to {hook.url}")
    assert [request.json["data"]["state"] for request in hook.requests] == ["test"]
    assert "not checked yet" in alerting.run("alerts", "list").stdout
    ended = alerting.run("alerts", "test", "nope", check=False)
    assert (ended.returncode, ended.stderr) == (
        1,
        "analytics-middleware: there is no alert 'nope'; there are: refused\n",
    )


def test_workers_and_cron_side_by_side_send_it_once(alerting: Shop, hook: Server) -> None:
    came = threading.Event()
    hook.handler = lambda _request: came.set() or Reply()
    with alerting.start("worker") as one, alerting.start("worker") as other:
        assert came.wait(20)
        for _ in range(2):
            assert alerting.program("alerts", "check").returncode == 0
        for process in (one, other):
            process.terminate()
            assert process.wait(10) == 0
    assert len(hook.requests) == 1


def test_a_webhook_that_does_not_answer_holds_up_no_end(alerting: Shop, hook: Server) -> None:
    came = threading.Event()
    hook.handler = lambda _request: came.set() or hang
    with alerting.start("worker") as worker:
        assert came.wait(20)
        worker.terminate()
        assert worker.wait(10) == 0
    # Nobody knows whether it arrived: it is not sent again while its claim lasts.
    assert ", told " not in alerting.run("alerts", "check").stdout
    assert len(hook.requests) == 1


def test_the_doctor_knows_whether_anybody_checks_them_and_whether_they_arrive(alerting: Shop, hook: Server) -> None:
    assert "WARNING  alerts: 1 of 1 were not checked within the last hour" in alerting.run("doctor").stdout
    hook.handler = lambda _request: Reply(503)
    alerting.run("alerts", "check", check=False)
    assert "WARNING  alerts: the last message of 'refused' could not be sent" in alerting.run("doctor").stdout
    hook.handler = lambda _request: Reply()
    alerting.run("alerts", "check")
    assert "ok       alerts: 1 are checked" in alerting.run("doctor").stdout


def test_without_alerts_that_is_said(shop: Shop) -> None:
    assert shop.run("alerts", "check").stdout == "No alerts are configured.\n"
