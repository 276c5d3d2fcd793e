"""Events and identities over REST: what is taken in, what it becomes, and what is told about the rest."""

from datetime import UTC, datetime, timedelta

import pytest
from web_sites import READER, SERVER, Site

from analytics_middleware import EventType, Money

BROWSER = {"user-agent": "Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0", "accept-language": "de,en;q=0.5"}


def test_an_event_keeps_what_was_sent(plain: Site):
    sent = {
        "name": "checkout.completed",
        "anon_id": "browser-1",
        "properties": {"plan": "annual", "seats": 3, "trial": False, "tags": ["a", "b"], "none": None},
        "event_id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "url": "https://shop.example/b%C3%BCcher?utm_source=news",
        "referrer": "https://search.example/",
        "revenue": {"amount": 29.99, "currency": "gbp"},
    }
    (event,) = plain.send(sent)
    assert (event.type, event.event_name, event.anon_id) == (EventType.CUSTOM, "checkout.completed", "browser-1")
    assert event.event_id == sent["event_id"]
    assert event.properties == {"plan": "annual", "seats": 3, "trial": False, "tags": '["a","b"]', "none": None}
    assert (event.url, event.path) == ("https://shop.example/b%C3%BCcher?utm_source=news", "/bücher")
    assert event.referrer == "https://search.example/"
    assert event.revenue == Money("29.99", "GBP")
    assert abs((datetime.now(UTC) - event.timestamp).total_seconds()) < 60


@pytest.mark.parametrize(
    ("sent", "kind", "event_name", "action_name"),
    [
        ({"name": "pageview"}, EventType.PAGEVIEW, None, None),
        ({"name": "pageview", "type": "custom"}, EventType.CUSTOM, "pageview", None),
        ({"name": "Home", "type": "pageview"}, EventType.PAGEVIEW, "Home", None),
        ({"name": "cart.add", "type": "action"}, EventType.ACTION, None, "cart.add"),
        ({"name": " spaced "}, EventType.CUSTOM, "spaced", None),
    ],
)
def test_the_type_says_what_the_name_is(plain: Site, sent, kind, event_name, action_name):
    (event,) = plain.send(sent)
    assert (event.type, event.event_name, event.action_name) == (kind, event_name, action_name)


def test_a_browsers_event_has_its_requests_facts_but_not_the_apis_address(site: Site):
    (event,) = site.send({"name": "a"}, headers={**BROWSER, "referer": "https://shop.example/cart?x=1"})
    assert event.client_ip == "203.0.113.9"
    assert event.hostname == "shop.example"
    assert event.user_agent == BROWSER["user-agent"]
    assert event.visit.browser == "Chrome"
    assert event.locale == "de"
    assert (event.url, event.path) == ("https://shop.example/cart", "/cart")
    assert event.anon_id is not None
    assert event.anon_id.startswith("cl_")
    assert (event.method, event.matched_pattern, event.action_name, event.referrer) == (None, None, None, None)


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("SHOP.example:8000", "shop.example"),
        ("[::1]:8000", "[::1]"),
        ("[2001:DB8::1]", "[2001:db8::1]"),
        *((wrong, "127.0.0.1") for wrong in ("[", "[::1", "]", "[x]", "a b", "")),
    ],
)
def test_on_any_host_the_browsers_events_and_page_views_are_of_one_visitor(plain: Site, host: str, name: str):
    headers = {**BROWSER, "host": host}
    plain.ask("GET", "/page", headers={**headers, "accept": "text/html"})
    (seen,) = plain.taken()
    (sent,) = plain.send({"name": "a"}, headers=headers)
    assert sent.hostname == seen.hostname == name
    assert sent.anon_id == seen.anon_id


def test_an_ipv6_address_that_is_allowed_as_an_origin_is_named_as_in_its_page_views(build):
    site = build("ASGI", allowed_origins=["http://[::1]:3000"])
    (event,) = site.send({"name": "a"}, headers={**BROWSER, "origin": "http://[::1]:3000"})
    assert event.hostname == "[::1]"


def test_a_page_view_of_the_browser_belongs_to_the_same_visitor_as_those_of_the_server(site: Site):
    site.ask("GET", "/page", headers={**BROWSER, "accept": "text/html"})
    (seen,) = site.taken()
    (sent,) = site.send({"name": "pageview", "url": "https://shop.example/next"}, headers=BROWSER)
    assert sent.anon_id == seen.anon_id
    assert sent.visit.session_id == seen.visit.session_id


def test_the_events_of_a_batch_share_nothing(plain: Site):
    first, second = plain.send(
        {"name": "pageview", "url": "https://shop.example/?utm_source=news&utm_medium=email"},
        {"name": "pageview", "url": "https://shop.example/b"},
    )
    assert (first.visit.source, second.visit.source) == ("news", None)
    assert first.visit.session_id == second.visit.session_id


def test_a_servers_own_address_and_agent_say_nothing_of_its_users(site: Site):
    (event,) = site.send({"name": "invoice.paid", "user_id": "ann"}, headers={**SERVER, **BROWSER})
    assert (event.user_id, event.client_ip, event.user_agent, event.anon_id) == ("ann", None, None, None)


def test_api_events_are_never_bots(plain: Site):
    crawler = {"user-agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
    (event,) = plain.send({"name": "pageview", "url": "https://shop.example/"}, headers=crawler)
    assert event.visit.is_bot is False
    (event,) = plain.send({"name": "pageview", "url": "https://shop.example/"})
    assert event.visit.is_bot is False


def test_an_age_counts_back_from_now_and_a_timestamp_needs_its_zone(plain: Site):
    (event,) = plain.send({"name": "a", "age_ms": 90_000})
    assert timedelta(seconds=89) < datetime.now(UTC) - event.timestamp < timedelta(seconds=120)
    at = (datetime.now(UTC) - timedelta(hours=3)).replace(microsecond=0)
    (event,) = plain.send({"name": "a", "timestamp": at.astimezone().isoformat()})
    assert event.timestamp == at
    assert plain.post("events", {"events": [{"name": "a", "timestamp": "2025-01-01T00:00:00"}]}).status == 400


def test_an_event_id_seen_again_counts_once(plain: Site):
    sent = {"name": "once", "event_id": "same-id-1"}
    plain.send(sent)
    plain.send(sent)
    assert plain.get("top").data == [{"key": "once", "count": 1}]


# Who may say who somebody is.


def test_a_strangers_user_id_is_ignored_and_counted(site: Site):
    answer = site.post("events", {"events": [{"name": "a", "user_id": "admin"}, {"name": "b"}]})
    assert (answer.status, answer.json) == (202, {"accepted": 2, "ignored": 1})
    assert [event.user_id for event in site.taken()] == [None, None]
    answer = site.post("identify", {"user_id": "admin", "traits": {"role": "owner"}})
    assert (answer.status, answer.json) == (202, {"accepted": 0, "ignored": 1})
    site.taken()
    assert site.get("traits", user_id="admin").data == {}
    assert site.analytics.stats()["identity_ignored"] == 2


SIGNED_IN = ["Starlette", "FastAPI", "Flask", "Django WSGI", "Django ASGI"]


@pytest.mark.parametrize("name", SIGNED_IN)
def test_the_signed_in_user_is_believed_about_themselves_alone(build, name):
    site = build(name)
    ann = {"x-user": "ann", "origin": "http://shop.example", "sec-fetch-site": "same-origin"}
    own, anonymous, other = site.send(
        {"name": "a", "user_id": "ann"}, {"name": "b"}, {"name": "c", "user_id": "bob"}, headers=ann
    )
    assert (own.user_id, anonymous.user_id, other.user_id) == ("ann", "ann", "ann")
    assert site.post("identify", {"user_id": "ann", "traits": {"plan": "pro"}}, ann).json == {"accepted": 1}
    assert site.post("identify", {"user_id": "bob", "traits": {"plan": "pro"}}, ann).json["accepted"] == 0
    site.taken()
    assert site.get("traits", user_id="ann").data == {"plan": "pro"}
    assert site.get("traits", user_id="bob").data == {}


def test_servers_and_authorised_readers_are_believed_about_everybody(build):
    site = build("Starlette", authorize=lambda request: request.headers.get("x-user") == "staff")
    for headers in (SERVER, READER, {"x-user": "staff"}):
        (event,) = site.send({"name": "a", "user_id": 42}, headers=headers)
        assert event.user_id == "42"
        assert site.post("identify", {"user_id": "bob", "traits": {"plan": "pro"}}, headers).json == {"accepted": 1}


def test_traits_are_merged_and_null_removes(plain: Site):
    for traits in ({"plan": "pro", "seats": 1}, {"seats": 2}, {"plan": None}):
        assert plain.post("identify", {"user_id": "ann", "traits": traits}, SERVER).status == 202
    plain.taken()
    assert plain.get("traits", user_id="ann").data == {"seats": 2}


def test_identify_ties_an_anonymous_id_to_the_user(plain: Site):
    plain.send({"name": "a", "anon_id": "browser-1"})
    plain.post("identify", {"user_id": "ann", "anon_id": "browser-1"}, SERVER)
    plain.taken()
    assert [row["user_id"] for row in plain.get("users", of="active").data] == ["ann"]


@pytest.mark.parametrize("nobody", ["", "null", "undefined", "None", "00000000-0000-0000-0000-000000000000"])
def test_what_is_no_identity_is_nobodys(plain: Site, nobody):
    (event,) = plain.send({"name": "a", "user_id": nobody}, headers=SERVER)
    assert event.user_id is None
    assert plain.post("identify", {"user_id": nobody}, SERVER).status == 400


def test_a_cookieless_id_cannot_be_claimed(plain: Site):
    (event,) = plain.send({"name": "a", "anon_id": "cl_AAAAAAAAAAAAAAAAAAAA"})
    assert event.anon_id != "cl_AAAAAAAAAAAAAAAAAAAA"


# What is refused.

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({}, "events[1].name"),
        ({"name": ""}, "events[1].name"),
        ({"name": "  "}, "events[1].name"),
        ({"name": 5}, "events[1].name"),
        ({"name": "x" * 257}, "events[1].name"),
        ({"name": "a", "userId": "ann"}, "events[1].userId"),
        ({"name": "a", "user_id": True}, "events[1].user_id"),
        ({"name": "a", "user_id": "x" * 257}, "events[1].user_id"),
        ({"name": "a", "user_id": 10**30}, "events[1].user_id"),
        ({"name": "a", "anon_id": []}, "events[1].anon_id"),
        ({"name": "a", "properties": []}, "events[1].properties"),
        ({"name": "a", "properties": "x"}, "events[1].properties"),
        ({"name": "a", "timestamp": "now"}, "events[1].timestamp"),
        ({"name": "a", "timestamp": 1700000000}, "events[1].timestamp"),
        ({"name": "a", "timestamp": "2025-01-01T00:00:00"}, "events[1].timestamp"),
        ({"name": "a", "timestamp": "0001-01-01T00:00:00+14:00"}, "events[1].timestamp"),
        ({"name": "a", "timestamp": "9999-12-31T23:59:59-14:00"}, "events[1].timestamp"),
        ({"name": "a", "timestamp": "2025-01-01T00:00:00Z"}, "events[1].timestamp"),
        ({"name": "a", "age_ms": -1}, "events[1].age_ms"),
        ({"name": "a", "age_ms": 24 * HOUR + 60_000}, "events[1].age_ms"),
        ({"name": "a", "age_ms": 1e300}, "events[1].age_ms"),
        ({"name": "a", "age_ms": 5, "timestamp": "2025-01-01T00:00:00Z"}, "events[1].age_ms"),
        ({"name": "a", "event_id": "no spaces"}, "events[1].event_id"),
        ({"name": "a", "event_id": "x" * 37}, "events[1].event_id"),
        ({"name": "a", "event_id": "---"}, "events[1].event_id"),
        ({"name": "a", "url": "javascript:alert(1)"}, "events[1].url"),
        ({"name": "a", "url": "/relative"}, "events[1].url"),
        ({"name": "a", "url": "http://[::1"}, "events[1].url"),
        ({"name": "a", "type": "PAGEVIEW"}, "events[1].type"),
        ({"name": "a", "revenue": 5}, "events[1].revenue"),
        ({"name": "a", "revenue": {"amount": "5", "currency": "XXX"}}, "events[1].revenue"),
        ({"name": "a", "revenue": {"amount": "NaN", "currency": "EUR"}}, "events[1].revenue"),
        ({"name": "a", "revenue": {"amount": 1e300, "currency": "EUR"}}, "events[1].revenue"),
        ({"name": "a", "revenue": {"amount": 10**40, "currency": "EUR"}}, "events[1].revenue"),
        ({"name": "a", "revenue": {"amount": "5"}}, "events[1].revenue.currency"),
    ],
)
def test_nothing_of_a_batch_is_kept_when_one_event_is_wrong_and_the_answer_names_it(build, event, field):
    site = build("WSGI")
    answer = site.post("events", {"events": [{"name": "right"}, event]})
    assert answer.status == 400, answer.body
    assert answer.error["field"] == field
    assert site.taken() == []
    assert site.analytics.stats()["ingest_refused"] == 1


def test_anybodys_events_are_a_day_old_at_most_a_servers_any_age_and_nobodys_in_the_future(site: Site):
    now = datetime.now(UTC)
    long_ago = {"name": "a", "timestamp": (now - timedelta(days=400)).isoformat()}
    soon = {"name": "a", "timestamp": (now + timedelta(minutes=59)).isoformat()}
    later = {"name": "a", "timestamp": (now + timedelta(minutes=61)).isoformat()}
    assert site.post("events", {"events": [long_ago]}).error["code"] == "too_old"
    assert site.send(long_ago, headers=SERVER)[0].timestamp.year < now.year + 1
    assert len(site.send(soon)) == 1
    assert site.post("events", {"events": [later]}, SERVER).error["code"] == "future"
    assert site.send({"name": "a", "age_ms": 24 * HOUR - 60_000})


@pytest.mark.parametrize(
    "body", [b"[]", b"null", b'{"events": {}}', b'{"events": [null]}', b'{"batch": []}', b"", b"{"]
)
def test_a_body_of_another_shape_is_a_400(plain: Site, body):
    assert plain.post("events", body).status == 400
    assert plain.post("identify", body).status == 400


def test_more_than_64_properties_are_counted_and_left_out(plain: Site):
    (event,) = plain.send({"name": "a", "properties": {f"key{n}": n for n in range(70)}})
    assert len(event.properties) == 64
    assert plain.analytics.stats()["properties_dropped"] == 6


def test_a_referrer_that_is_no_link_is_left_out(plain: Site):
    (event,) = plain.send({"name": "a", "referrer": "javascript:alert(1)"})
    assert event.referrer is None


def test_who_objects_to_tracking_gets_no_anonymous_id(plain: Site):
    (event,) = plain.send({"name": "a"}, headers={"sec-gpc": "1"})
    assert event.anon_id is None


def test_a_site_that_is_switched_off_says_that_it_accepted_nothing(build):
    site = build("ASGI", enabled=False)
    assert site.post("events", {"events": [{"name": "a"}]}).json == {"accepted": 0}
