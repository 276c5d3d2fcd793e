"""What strangers send to an endpoint that is open to all: each trap, and that it springs on nothing."""

import gc
import json
import time

import pytest
from web_sites import SERVER, Site

from analytics_middleware.web import body, shape
from analytics_middleware.web.http import Refusal, WebResponse
from analytics_middleware.web.rates import ADDRESSES, RateLimit

EVENT = b'{"events":[{"name":"a","properties":{"v":%s}}]}'


# Bodies.


def test_a_body_is_counted_as_it_comes_whatever_its_headers_say(site: Site):
    chunk = b" " * 1000
    announced = site.ask("POST", "events", b"x" * 65_537)
    streamed = site.ask("POST", "events", [chunk] * 66)
    for answer in (announced, streamed):
        assert (answer.status, answer.error["code"]) == (413, "too_large")
    assert site.ask("POST", "events", [b'{"events":[{"name":"a"}]}', *[chunk] * 65]).status == 202


def test_the_limit_is_a_setting(build):
    site = build("ASGI", api_max_body=30)
    assert site.post("events", b'{"events":[{"name":"a"}]}').status == 202
    assert site.post("events", b'{"events":[{"name":"a"}]}      ').status == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "abc", "9" * 5000, "٣", "5, 5"])
def test_a_length_that_is_no_number_or_too_large_is_refused_before_anything_is_read(length):
    with pytest.raises(Refusal) as caught:
        body.expects_body("POST", length, None, 100)
    assert caught.value.status in (400, 413)


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate, gzip", "zstd"])
def test_a_compressed_body_is_refused_and_never_inflated(site: Site, encoding):
    answer = site.post("events", b"\x1f\x8b", {"content-encoding": encoding})
    assert (answer.status, answer.error["code"]) == (415, "content_encoding")
    assert site.post("events", {"events": []}, {"content-encoding": "identity"}).status == 202


def test_a_form_is_no_events(site: Site):
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/xml"):
        answer = site.post("events", b"events=1", {"content-type": kind})
        assert (answer.status, answer.error["code"]) == (415, "content_type")


def test_a_client_that_sends_its_body_too_slowly_is_sent_away(monkeypatch):
    monkeypatch.setattr(body, "SECONDS", 0.0)
    with pytest.raises(Refusal) as caught:
        body.read(lambda _size: b"x", 100)
    assert caught.value.status == 408


def test_a_client_that_sends_no_body_at_all_is_sent_away(build, monkeypatch):
    import asyncio

    async def never():
        await asyncio.Event().wait()

    monkeypatch.setattr(body, "SECONDS", 0.0)
    with pytest.raises(Refusal) as caught:
        asyncio.run(body.receive_all(never, 100))
    assert caught.value.status == 408


# JSON.


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":['])
def test_nesting_is_measured_without_recursion(plain: Site, opening):
    answer = plain.post("events", EVENT % (opening * 5000))
    assert (answer.status, answer.error["code"]) == (400, "json")
    deep = b"[" * 100_000
    with pytest.raises(shape.ShapeError, match="deep"):
        shape.decode(deep)


def test_brackets_inside_of_strings_are_no_nesting(plain: Site):
    (event,) = plain.send({"name": "a", "properties": {"v": "[" * 500 + '\\"]]{' * 100}})
    assert event.properties["v"].startswith("[[[")


def test_a_body_of_very_many_values_is_refused(plain: Site):
    answer = plain.post("events", b'{"events":[' + b"{}," * 21_000 + b"{}]}")
    assert (answer.status, answer.error["code"]) == (400, "json")


@pytest.mark.parametrize("endless", [b'"' + b'\\"' * 32_000, b'"' + b'\\"' * 32_000 + b"\\", b'"a' * 32_000])
def test_strings_without_an_end_are_read_once(endless):
    began = time.process_time()
    with pytest.raises(shape.ShapeError):
        shape.decode(endless)
    assert time.process_time() - began < 2, "quadratic: tried again at each quote"


@pytest.mark.parametrize(
    "value",
    [
        *(b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 5000),
        *(b'"\\ud800"', b'"\\udc00\\ud800"', b'"\xff"', b'"\n"'),
        *(b"01", b"+1", b"0x10", b"'a'", b"undefined", b"[1,]", b"\xef\xbb\xbf1"),
    ],
)
def test_what_other_parsers_let_through_is_refused(plain: Site, value):
    assert plain.post("events", EVENT % value).status == 400
    assert plain.taken() == []


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        (b"9" * 100, "9" * 100),
        (b"18446744073709551616", "18446744073709551616"),
        (b"1e308", 1e308),
        (b'"\\u0000"', "\0"),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        (b"[[1]]", "[[1]]"),
    ],
)
def test_what_is_kept_can_be_encoded_again(plain: Site, value, kept):
    assert plain.post("events", EVENT % value).status == 202
    (event,) = plain.taken()
    assert event.properties["v"] == kept
    assert json.loads(event.encode())["properties"]["v"] == kept


def test_of_a_repeated_key_the_last_one_counts_everywhere(plain: Site):
    plain.post("events", b'{"events":[{"name":"a","user_id":"ann","user_id":"bob"}]}', SERVER)
    assert plain.taken()[0].user_id == "bob"


def test_ten_thousand_events_are_too_many_for_one_request(build):
    site = build("ASGI", api_max_body=10**6)
    answer = site.post("events", {"events": [{"name": "a"}] * 10_000})
    assert (answer.status, site.taken()) == (400, [])
    assert site.post("events", {"events": [{"name": "a"}] * 1001}).error["field"] == "events"
    assert site.post("events", {"events": [{"name": "a"}] * 1000}).json == {"accepted": 1000}


# Queries and paths.


def test_a_query_of_many_fields_or_of_broken_utf8_is_a_400(site: Site):
    for query in ("&".join(["step=a"] * 600), "event=%ff", "event=%ed%a0%80", "%00=1", "a" * 5000):
        assert site.ask("GET", f"funnel?{query}", headers=SERVER).status == 400


@pytest.mark.parametrize("path", ["../events", "%2e%2e/events", "events/", "events%00", "é", "a/" * 500, "login"])
def test_odd_paths_are_answered_with_an_error(site: Site, path):
    assert site.ask("GET", path, headers=SERVER).status in (301, 308, 400, 401, 404, 405)


@pytest.mark.parametrize("name", ["plan'; DROP TABLE events; --", 'a"b', "a.b.c", "$.x", "{}", "%s", "\x00"])
def test_names_are_only_ever_parameters(plain: Site, name):
    plain.send({"name": name.replace("\x00", "nul"), "properties": {name: "v"}})
    assert plain.get("top", property=name).data == [{"key": "v", "count": 1}]
    where = json.dumps([{"field": f"properties.{name}", "op": "eq", "value": "v"}])
    assert plain.get("top", where=where).data[0]["count"] == 1


@pytest.mark.parametrize("value", ["a\r\nset-cookie: a=b", "日付", "\0", "\x7f", "\x85"])
def test_a_header_that_no_server_could_send_is_refused_where_it_is_made(value):
    with pytest.raises(ValueError, match="location"):
        WebResponse(303, headers=[("location", value)])
    assert WebResponse(303, headers=[("location", "/caf\xe9 ?a=b")]).status == 303


# How often.


def test_an_address_may_ask_so_often_and_is_told_when_to_come_back(site: Site, build):
    site = build(site.name, api_rate_limit=3)
    statuses = [site.post("events", {"events": [{"name": "a"}]}).status for _ in range(4)]
    assert statuses == [202, 202, 202, 429]
    answer = site.ask("GET", "active")
    assert (answer.status, answer.error["code"]) == (429, "rate_limit")
    assert 1 <= int(answer.header("retry-after")) <= 21
    assert site.post("events", {"events": [{"name": "a"}]}, SERVER).status == 202
    assert site.analytics.stats()["rate_limited"] == 2
    site.peer = "203.0.113.10"
    assert site.post("events", {"events": [{"name": "a"}]}).status == 202
    assert site.ask("GET", "analytics.js").status == 200


def test_the_address_is_the_one_that_trusted_proxies_saw(build):
    site = build("ASGI", api_rate_limit=1, trusted_proxies=["203.0.113.9"])
    send = lambda forwarded: site.post("events", {"events": []}, {"x-forwarded-for": forwarded}).status  # noqa: E731
    assert [send("198.51.100.1"), send("198.51.100.1"), send("198.51.100.2")] == [202, 429, 202]
    untrusting = build("WSGI", api_rate_limit=1)
    assert [
        untrusting.post("events", {"events": []}, {"x-forwarded-for": f"198.51.100.{n}"}).status for n in (1, 2)
    ] == [
        202,
        429,
    ]


def test_a_limit_of_0_is_none_and_requests_without_an_address_are_let_be(build):
    unlimited = build("ASGI", api_rate_limit=0)
    assert {unlimited.post("events", {"events": []}).status for _ in range(20)} == {202}
    unknown = build("WSGI", api_rate_limit=1)
    unknown.peer = None
    assert {unknown.post("events", {"events": []}).status for _ in range(3)} == {202}


def test_a_bucket_fills_again_with_time():
    now = [0.0]
    limit = RateLimit(60, clock=lambda: now[0])
    assert [limit.take("10.0.0.1") for _ in range(61)] == [0.0] * 60 + [1.0]
    now[0] += 2.5
    assert [limit.take("10.0.0.1") for _ in range(3)] == [0.0, 0.0, 0.5]


def test_all_addresses_of_an_ipv6_network_share_a_bucket():
    limit = RateLimit(1)
    assert limit.take("2001:db8:0:1::1") == 0
    assert limit.take("2001:db8:0:1:ffff::2") > 0
    assert limit.take("2001:db8:0:2::1") == 0


def test_the_table_of_addresses_is_bounded_and_forgets_who_asked_longest_ago():
    limit = RateLimit(1, size=3)
    for address in ("a1", "a2", "a3", "a1", "a4"):
        limit.take(address.replace("a", "10.0.0."))
    assert len(limit) == 3
    assert limit.take("10.0.0.1") > 0
    assert limit.take("10.0.0.2") == 0
    many = RateLimit(1)
    for number in range(ADDRESSES + 500):
        many.take(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    assert len(many) == ADDRESSES


# Distinct names.


def test_a_flood_of_names_and_keys_leaves_memory_and_answers_bounded(plain: Site):
    for batch in range(5):
        plain.send(*({"name": f"n{batch}-{n}", "properties": {f"k{batch}-{n}": n}} for n in range(500)))
    gc.collect()
    assert len(plain.get("top", limit=10).data) == 10
    breakdown = plain.get("volume", breakdown="name").data
    assert len(breakdown) <= 12
