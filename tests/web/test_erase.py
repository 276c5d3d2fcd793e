"""Erasing a user from the page about them: asked twice, told what went, and done by nobody who only reads."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from dashboard_sites import STACKS, visits
from markupsafe import escape
from visiting import Visitor
from web_sites import READER, SERVER, Site

from analytics_middleware import Analytics, Event
from analytics_middleware.collectors import BatchCollector
from analytics_middleware.web.asgi import ASGIRunner
from analytics_middleware.web.dashboard import Dashboard

Make = Callable[..., Site]


def open_to_all(request: Any) -> bool:
    return True


def on(make: Make, name: str = "ASGI", **settings: Any) -> Visitor:
    site = make(name, **{"authorize": open_to_all, "authorize_changes": open_to_all, **settings})
    assert site.analytics.store is not None
    site.analytics.store.apply(visits())
    return Visitor(site)


def erase(visitor: Visitor, user_id: str = "ann", **filled: str) -> Any:
    return visitor.submit(f"/analytics/erase?user_id={user_id}", {"user_id": user_id}, **{"sure": "yes", **filled})


@pytest.mark.parametrize("name", STACKS)
def test_a_user_is_gone_after_the_second_page(make: Make, name: str):
    visitor = on(make, name)
    assert '"/analytics/erase?user_id=ann"' in visitor.page("/analytics/users?user_id=ann&period=7d")
    asked = visitor.page("/analytics/erase?user_id=ann")
    assert "Erase ann?" in asked
    assert visitor.data("/analytics/users?user_id=ann&period=7d")["timeline"] != []
    answer = erase(visitor)
    assert (answer.status, b"Erased: ann" in answer.body) == (200, True)
    assert visitor.site.analytics.flush(5.0)
    assert visitor.data("/analytics/users?user_id=ann&period=7d")["timeline"] == []
    assert visitor.data("/analytics/users?user_id=bob&period=7d")["timeline"] != []


@pytest.mark.parametrize("sure", ["", "no", "true"])
def test_whoever_is_not_sure_erases_nobody(make: Make, sure: str):
    visitor = on(make)
    assert erase(visitor, sure=sure).status == 400
    visitor.site.analytics.flush(5.0)
    assert visitor.data("/analytics/users?user_id=ann&period=7d")["timeline"] != []


@pytest.mark.parametrize("user_id", ["", " ", "null", "anonymous"])
def test_nobody_is_no_user(make: Make, user_id: str):
    visitor = on(make)
    answer = visitor.send("/analytics/erase", [("user_id", user_id), ("sure", "yes")])
    assert answer.status in (200, 400)
    assert (answer.status == 400) is (not user_id.strip())
    assert visitor.data("/analytics/users?user_id=ann&period=7d")["timeline"] != []


def test_a_token_that_reads_erases_nobody(make: Make):
    visitor = on(make, authorize=None)
    fields = [("user_id", "ann"), ("sure", "yes")]
    for headers, status in ((READER, 403), ({}, 401), ({"authorization": "Bearer wrong"}, 401)):
        visitor.headers = dict(headers)
        assert visitor.get("/analytics/erase?user_id=ann").status == status
        assert visitor.send("/analytics/erase", fields).status == status
    visitor.headers = SERVER
    assert visitor.data("/analytics/users?user_id=ann&period=7d")["timeline"] != []
    assert visitor.send("/analytics/erase", fields).status == 200


def test_a_link_in_another_sites_page_shows_the_question_and_answers_nothing(make: Make):
    visitor = on(make)
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert visitor.site.ask("GET", "/analytics/erase?user_id=ann", headers=followed).status == 200
    fetched = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert visitor.site.ask("GET", "/analytics/erase?user_id=ann", headers=fetched).status == 403
    assert visitor.get("/analytics/erase").status == 400
    assert visitor.site.ask("DELETE", "/analytics/erase?user_id=ann").status == 405


@pytest.mark.parametrize("user_id", ['"><img src=x onerror=alert(1)>', "</script><script>alert(2)</script>"])
def test_a_hostile_id_is_text_and_is_erased(make: Make, user_id: str):
    visitor = on(make)
    store = visitor.site.analytics.store
    assert store is not None
    store.apply([Event(event_name="buy", user_id=user_id)])
    for answer in (visitor.get(f"/analytics/erase?user_id={user_id}"), erase(visitor, user_id)):
        page = answer.body.decode()
        assert str(escape(user_id)) in page
        assert "<img" not in page
        assert "<script>" not in page


class Vendor(BatchCollector):
    name = "vendor"

    def send(self, events: Any) -> None:
        raise ConnectionError("down")


class Warehouse(BatchCollector):
    name = "warehouse"
    third_party = False

    def send(self, events: Any) -> None:
        return None


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Visitor]:
    pytest.importorskip("duckdb")
    with ExitStack() as stack:
        analytics = Analytics(
            [Vendor(), Warehouse()],
            data_dir=tmp_path,
            enabled=True,
            authorize=open_to_all,
            authorize_changes=open_to_all,
        )
        stack.callback(analytics.close)
        yield Visitor(Site("ASGI", ASGIRunner(Dashboard(analytics)), "asgi", analytics))


def test_it_says_what_went_and_who_else_must_be_asked(durable: Visitor, tmp_path: Path):
    analytics = durable.site.analytics
    analytics.track("order.placed", {"card": "CANARY-4711"}, user_id="ann", anon_id="cookie-1")
    analytics.flush(0.2)
    asked = durable.page("/analytics/erase?user_id=ann")
    said = erase(durable).body.decode()
    for page in (asked, said):
        vendors, own = page.split("Your own systems")
        assert "vendor <span" in vendors.split("must be asked on their own")[1]
        assert "warehouse <span" in own
    assert "<li>Records in the log: 1</li>" in said
    assert "went as well: 1</li>" in said
    log = [file.name for file in tmp_path.glob("analytics.sqlite3*") if b"CANARY-4711" in file.read_bytes()]
    assert log == []
    analytics.flush(0.2)
    assert durable.data("/analytics/users?user_id=ann")["user"] is None
