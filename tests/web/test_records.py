"""What other hosts of the site send to the one that holds the store: who may, what is kept, and what is refused."""

import base64
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from web_sites import READER, SERVER, Site

from analytics_middleware import Event, EventType
from analytics_middleware.event import Visit
from analytics_middleware.store import HubStore, MemoryStore

AT = datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)


def of_event(event: Event) -> dict[str, Any]:
    return {"kind": "event", "record": event.to_dict()}


def send(site: Site, *records: dict[str, Any], headers: Any = SERVER) -> Any:
    return site.post("records", {"records": list(records)}, {"content-type": "application/json", **headers})


def total(site: Site) -> int:
    return sum(each.count for each in site.analytics.insights.volume(start="2026-03-01", end="2026-04-01"))


def test_an_event_arrives_as_it_was_recorded(site: Site):
    visit = Visit(session_id="s1", country="GB", city="Leeds", browser="Firefox", channel="Email", trace_id="t1")
    event = Event(
        type=EventType.ACTION,
        action_name="pay",
        timestamp=AT,
        anon_id="cl_0123456789abcdefghij",
        user_id="ann",
        client_ip="203.0.113.0",
        matched_pattern="/pay/{id}",
        url="https://shop.example/pay/1",
        path="/pay/1",
        method="POST",
        status_code=201,
        duration=0.25,
        properties={"plan": "pro"},
        visit=visit,
    )
    assert send(site, of_event(event)).json == {"accepted": 1}
    assert site.analytics.flush(20)
    insights = site.analytics.insights
    [row] = insights.timeline(user_id="ann", start="2026-03-01", end="2026-04-01").events
    assert (row.event_id, row.time, row.matched_pattern, row.status_code) == (event.event_id, AT, "/pay/{id}", 201)
    for field, value in (("country", "GB"), ("session_id", "s1"), ("channel", "Email"), ("duration", "0.25")):
        [found] = insights.top_values(field, start="2026-03-01", end="2026-04-01")
        assert found.key == value


def test_what_is_sent_again_counts_once(plain: Site):
    event = Event(event_name="order", timestamp=AT, user_id="ann")
    for _ in range(3):
        assert send(plain, of_event(event), of_event(event)).json == {"accepted": 2}
    assert plain.analytics.flush(20)
    assert total(plain) == 1


def test_collectors_here_get_nothing_of_it_and_it_is_counted(plain: Site):
    bot = Event(type=EventType.PAGEVIEW, timestamp=AT, anon_id="cl_b", visit=Visit(is_bot=True))
    send(plain, of_event(Event(event_name="order", timestamp=AT)), of_event(bot))
    assert plain.taken() == []
    [collector] = plain.analytics.stats()["collectors"].values()
    assert collector["dropped"] == {"forwarded": 2}
    assert collector["accepted"] == 2
    march = {"start": "2026-03-01", "end": "2026-04-01"}
    assert plain.analytics.insights.overview(**march).bots == 1


def test_identities_and_erasures_take_effect(build):
    site = build(data_dir=None)
    identify = {"user_id": "ann", "anon_id": "a1", "traits": {"plan": "pro"}, "timestamp": AT.isoformat()}
    event = Event(event_name="order", timestamp=AT, anon_id="a1")
    send(site, of_event(event), {"kind": "identify", "record": identify})
    assert site.analytics.flush(20)
    march = {"start": "2026-03-01", "end": "2026-04-01"}
    assert len(site.analytics.insights.timeline(user_id="ann", **march).events) == 1
    assert site.analytics.insights.traits("ann") == {"plan": "pro"}
    erase = {"user_id": "ann", "timestamp": (AT + timedelta(days=1)).isoformat()}
    assert send(site, {"kind": "erase", "record": erase}).json == {"accepted": 1}
    # What another host still had of before.
    send(site, of_event(Event(event_name="order", timestamp=AT, user_id="ann")))
    assert site.analytics.flush(20)
    assert site.analytics.insights.traits("ann") == {}
    assert total(site) == 0


@pytest.mark.parametrize("headers", [{}, READER, {"authorization": "Bearer wrong-key-of-some-length"}])
@pytest.mark.parametrize("path", ["records", "salts"])
def test_only_the_secret_key_opens_it(site: Site, path, headers):
    body = {"records": [], "day": "2026-03-04"}
    answer = site.post(path, {"records": body["records"]} if path == "records" else {"day": body["day"]}, headers)
    assert (answer.status, answer.error["code"]) == (401, "token")


def large() -> Event:
    """The largest event that a host records: every property as long as it may be, in characters of four bytes."""
    return Event(
        event_name="order", timestamp=AT, user_id="ann", properties={f"p{i}": "\U0001f9ed" * 4096 for i in range(64)}
    )


def test_the_largest_event_of_a_hosts_log_is_taken(site: Site):
    event = large()
    body = b'{"records":[{"kind":"event","record":' + event.encode() + b"}]}"
    assert len(body) > 1_000_000
    assert site.post("records", body, SERVER).json == {"accepted": 1}
    assert site.analytics.flush(20)
    assert total(site) == 1


def test_a_body_of_records_has_a_limit_of_its_own(plain: Site):
    for body in (b" " * 2_000_001, [b" " * 100_000] * 21):
        answer = plain.ask("POST", "records", body, SERVER)
        assert (answer.status, answer.error["code"]) == (413, "too_large")
        assert "2000000" in answer.error["message"]


@pytest.mark.parametrize("headers", [{}, READER, {"authorization": "Bearer wrong-key-of-some-length"}])
def test_who_does_not_have_the_secret_key_sends_no_more_than_a_browser(plain: Site, headers):
    for body in (b" " * 65_537, [b" " * 10_000] * 7):
        assert plain.ask("POST", "records", body, headers).status == 413
    for path in ("salts", "events", "identify"):
        assert plain.ask("POST", path, b" " * 65_537, SERVER).status == 413


def test_without_a_secret_key_it_is_closed(build):
    site = build(secret_key=None)
    assert send(site, headers={"authorization": "Bearer None"}).status == 401
    assert site.ask("POST", "records", b" " * 65_537, {"authorization": "Bearer None"}).status == 413


@pytest.mark.parametrize(
    ("record", "field"),
    [
        ({"kind": "event", "record": {"timestamp": "yesterday"}}, "records[1].record"),
        ({"kind": "event", "record": {"properties": {"a": {"b": 1}}}}, "records[1].record"),
        ({"kind": "event", "record": {"revenue": {"amount": "much", "currency": "GBP"}}}, "records[1].record"),
        ({"kind": "event", "record": []}, "records[1].record"),
        ({"kind": "event", "record": 1e400}, "body"),
        ({"kind": "identify", "record": {"user_id": " "}}, "records[1].record"),
        ({"kind": "identify", "record": {"user_id": "a", "timestamp": "2026-03-04T05:06:07"}}, "records[1].record"),
        ({"kind": "erase", "record": {}}, "records[1].record"),
        ({"kind": "erase", "record": {"user_id": "\ud800"}}, "body"),
        ({"kind": "other", "record": {}}, "records[1].kind"),
        ({"kind": "event"}, "records[1].record"),
        ({"kind": "event", "record": {}, "more": 1}, "records[1].more"),
    ],
)
def test_of_a_request_with_something_wrong_nothing_is_kept(plain: Site, record, field):
    good = of_event(Event(event_name="order", timestamp=AT))
    answer = send(plain, good, record)
    assert (answer.status, answer.error["field"]) == (400, field)
    assert plain.analytics.flush(20)
    assert total(plain) == 0


def test_hosts_are_given_one_salt_for_each_day_and_no_others(build, tmp_path):
    site = build(data_dir=tmp_path)
    today = datetime.now(UTC).date()
    given = {
        day: site.post("salts", {"day": day.isoformat()}, SERVER).json
        for day in (today, today + timedelta(days=1), today)
    }
    assert all(each["day"] == day.isoformat() for day, each in given.items())
    salts = {base64.b64decode(each["salt"]) for each in given.values()}
    assert len(salts) == 2
    assert {len(salt) for salt in salts} == {32}
    for day in ("1970-01-01", "2999-01-01"):
        answer = site.post("salts", {"day": day}, SERVER)
        assert (answer.status, answer.error["field"]) == (400, "day")
    assert site.post("salts", {"day": "soon"}, SERVER).status == 400


def test_visitors_here_are_hashed_with_the_salt_that_hosts_are_given(build, tmp_path):
    from analytics_middleware.enrich.visitor import cookieless_id

    site = build(data_dir=tmp_path)
    site.ask("GET", "/page", headers={"user-agent": "Firefox"})
    [event] = site.taken()
    answer = site.post("salts", {"day": event.timestamp.date().isoformat()}, SERVER).json
    salt = base64.b64decode(answer["salt"])
    assert event.anon_id == cookieless_id(salt, site.peer, "Firefox", "shop.example")


def test_an_instance_whose_store_is_elsewhere_takes_nothing(build):
    site = build(store=HubStore("http://127.0.0.1:9/api/analytics", "the-key-of-the-other-hub"))
    for answer in (send(site), site.post("salts", {"day": "2026-03-04"}, SERVER)):
        assert (answer.status, answer.error["code"]) == (503, "unavailable")
        assert answer.header("retry-after")


@pytest.mark.parametrize("setting", [{"store": None}, {"enabled": False}])
def test_an_instance_that_keeps_nothing_takes_nothing(build, setting):
    assert send(build(**setting)).error["code"] == "unavailable"


def test_while_the_store_lags_hosts_wait_and_nothing_taken_is_let_go_again(build, tmp_path):
    site = build(data_dir=tmp_path, background=False, max_pending=20)
    events = [of_event(Event(event_name="order", timestamp=AT)) for _ in range(11)]
    assert send(site, *events).status == 200
    answer = send(site, *events)
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (503, "busy", "5")
    # Erasing can't wait for room.
    assert send(site, {"kind": "erase", "record": {"user_id": "ann"}}).status == 200
    assert total(site) == 11


def test_a_store_that_seals_in_time_makes_no_host_wait_however_little_the_log_keeps(build, tmp_path):
    site = build(data_dir=tmp_path, max_pending=20)
    for number in range(1, 6):
        events = [of_event(Event(event_name="order", timestamp=AT)) for _ in range(6)]
        assert send(site, *events).status == 200
        deadline = time.monotonic() + 20
        while site.analytics.stats()["store"]["pending"]:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert total(site) == 6 * number
    assert site.analytics.stats()["store"]["dropped"] == {}


class Down(MemoryStore):
    """A store that takes nothing."""

    def apply(self, records: Any) -> None:
        raise OSError("down")


def test_while_the_store_lags_and_bytes_run_out_hosts_wait_and_nothing_taken_is_let_go_again(build, tmp_path):
    site = build(data_dir=tmp_path, store=Down(), max_bytes=2_000_000)
    accepted = 0
    while True:
        events = [Event(event_name="order", timestamp=AT, properties={"note": "x" * 4000}) for _ in range(14)]
        answer = send(site, *map(of_event, events))
        if answer.status != 200:
            break
        accepted += answer.json["accepted"]
    assert (answer.status, answer.error["code"], answer.header("retry-after")) == (503, "busy", "5")
    # When the limit is applied the next time, at the latest with the next event of its own.
    site.analytics.outbox.tick([])
    store = site.analytics.stats()["store"]
    assert (store["pending"], store["dropped"]) == (accepted, {})
    assert accepted * 4000 > 2_000_000 // 8, "half is there to be used"


def test_bytes_that_others_than_the_store_hold_keep_no_host_waiting(build, tmp_path):
    site = build(data_dir=tmp_path, store=MemoryStore(), max_bytes=40_000)
    for _ in range(3):
        assert send(site, of_event(Event(event_name="order", timestamp=AT))).status == 200
        assert site.analytics.flush(20)
    assert site.analytics.outbox.stats().bytes_in_use > 20_000


def test_a_log_that_can_not_be_written_has_the_host_wait(build, tmp_path):
    site = build(data_dir=tmp_path / "data")
    (tmp_path / "data").write_text("a file where the directory should be")
    answer = send(site, of_event(Event(event_name="order", timestamp=AT)))
    assert (answer.status, answer.error["code"]) == (503, "unavailable")
    assert str(tmp_path) not in json.dumps(answer.json)
