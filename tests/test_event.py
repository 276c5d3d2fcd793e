"""An event is complete with defaults, has a name, and comes back from the log as it went in."""

import contextlib
import json
import string
from datetime import UTC, datetime, timedelta, timezone

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware import Event, EventType, Money
from analytics_middleware.event import Visit
from analytics_middleware.ids import uuid7
from analytics_middleware.request import Request

FIELDS = [
    *("event_id", "type", "event_name", "action_name", "timestamp", "client_ip", "locale", "hostname", "user_id"),
    *("anon_id", "matched_pattern", "url", "path", "method", "user_agent", "referrer", "duration", "status_code"),
    *("properties", "revenue", "visit", "request"),
]
TEXT_FIELDS = [
    *("event_name", "action_name", "client_ip", "locale", "hostname", "user_id", "anon_id", "matched_pattern", "url"),
    *("path", "method", "user_agent", "referrer"),
]

texts = st.one_of(st.none(), st.text(min_size=1))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(),
)
moments = st.datetimes(
    min_value=datetime(1, 1, 2), max_value=datetime(9999, 12, 30), timezones=st.just(UTC), allow_imaginary=False
)
moneys = st.builds(
    Money.from_minor, st.integers(-(2**63) + 1, 2**63 - 1), st.sampled_from(["EUR", "JPY", "KWD", "CLF"])
)
visits = st.builds(
    Visit, session_id=texts, is_bot=st.booleans(), browser=texts, os=texts, country=texts, channel=texts, trace_id=texts
)
events = st.builds(
    Event,
    event_id=st.uuids().map(str),
    type=st.sampled_from(EventType),
    timestamp=moments,
    duration=st.one_of(st.none(), st.floats(0, 1e9)),
    status_code=st.one_of(st.none(), st.integers(100, 599)),
    properties=st.dictionaries(st.text(), scalars, max_size=6),
    revenue=st.one_of(st.none(), moneys),
    visit=visits,
    **dict.fromkeys(TEXT_FIELDS, texts),
)


@given(events)
def test_decoding_what_was_encoded_gives_the_same_event(event):
    assert Event.decode(event.encode()) == event
    assert Event.decode(event.encode().decode()) == event


@given(events)
def test_an_encoded_event_is_one_line_of_json_and_the_same_as_to_dict(event):
    encoded = event.encode()
    assert b"\n" not in encoded
    assert json.loads(encoded) == event.to_dict()


def test_the_fields_are_those_that_were_promised():
    assert list(Event.__struct_fields__) == FIELDS


def test_every_field_has_a_default():
    event = Event()
    assert event.type is EventType.CUSTOM
    assert event.properties == {}
    assert event.visit == Visit()
    assert event.timestamp.tzinfo is UTC
    empty = set(FIELDS) - {"event_id", "type", "timestamp", "properties", "visit"}
    assert {getattr(event, field) for field in empty} == {None}


def test_events_share_no_mutable_default():
    one, other = Event(), Event()
    one.properties["a"] = 1
    one.visit.browser = "Firefox"
    assert (other.properties, other.visit.browser) == ({}, None)


def test_the_types_have_the_values_that_stores_and_collectors_know():
    assert [kind.value for kind in EventType] == ["pageview", "action", "custom"]
    assert EventType("action") is EventType.ACTION
    assert f"{EventType.PAGEVIEW}" == "pageview"


def test_fields_without_a_value_are_left_out():
    written = Event(event_name="signup").to_dict()
    assert None not in written.values()
    assert {"event_id", "event_name", "timestamp", "type"} <= set(written)
    assert not {"action_name", "user_id", "revenue", "status_code"} & set(written)


def test_money_is_written_as_a_decimal_text_with_its_currency():
    assert Event(revenue=Money("5", "GBP")).to_dict()["revenue"] == {"amount": "5.00", "currency": "GBP"}
    assert Event(revenue=Money(-5, "JPY")).to_dict()["revenue"] == {"amount": "-5", "currency": "JPY"}


def test_the_request_is_there_in_process_and_never_serialised():
    secret = Request(method="POST", path="/login", headers=[(b"cookie", b"session=s3cret")])
    event = Event(event_name="login", request=secret)
    assert b"s3cret" not in event.encode()
    assert "request" not in event.to_dict()
    assert event.request is secret
    assert Event.decode(event.encode()).request is None


def test_the_request_is_put_back_when_encoding_fails():
    request = Request()
    event = Event(request=request, properties={"bad": object()})
    with pytest.raises(TypeError, match="object can't be part of an event"):
        event.encode()
    assert event.request is request


@pytest.mark.parametrize(
    ("event", "name"),
    [
        (Event(), "custom"),
        (Event(event_name="signup"), "signup"),
        (Event(type=EventType.PAGEVIEW), "pageview"),
        (Event(type=EventType.PAGEVIEW, event_name="search"), "search"),
        (Event(type=EventType.PAGEVIEW, action_name="view"), "pageview"),
        (Event(type=EventType.ACTION), "action"),
        (Event(type=EventType.ACTION, action_name="save"), "save"),
        (Event(type=EventType.ACTION, action_name="save", event_name="saved"), "saved"),
        (Event(type=EventType.CUSTOM, action_name="save"), "custom"),
    ],
)
def test_the_name_is_the_event_name_else_an_actions_name_else_the_type(event, name):
    assert event.name == name


def test_replace_makes_a_copy():
    event = Event(event_name="a", user_id="7")
    other = event.replace(event_name="b")
    assert (event.event_name, other.event_name, other.user_id, other.event_id) == ("a", "b", "7", event.event_id)


def test_a_timestamp_in_another_zone_is_the_same_instant_after_decoding():
    moment = datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    assert Event.decode(Event(timestamp=moment).encode()).timestamp == moment


def test_fields_of_a_newer_version_are_ignored():
    assert Event.decode('{"event_name":"a","invented_later":{"x":[1]}}').event_name == "a"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"type":"click"}',
        b'{"status_code":"ok"}',
        b'{"timestamp":"yesterday"}',
        b'{"revenue":5}',
        b'{"revenue":{}}',
        b'{"revenue":{"amount":"5"}}',
        b'{"revenue":{"amount":"x","currency":"EUR"}}',
        b'{"revenue":{"amount":"5","currency":"XXX"}}',
        b'{"revenue":{"amount":null,"currency":[]}}',
        b'{"event_name":"\xff"}',
        b'{"properties":{"a":[1]}}',
    ],
    ids=repr,
)
def test_what_is_no_event_is_refused_with_one_kind_of_error(data):
    with pytest.raises(msgspec.DecodeError):
        Event.decode(data)


@given(st.one_of(st.binary(), st.text().map(str.encode), st.from_regex(rb'\{"revenue":\{"[a-z]*":[0-9."]*\}\}')))
def test_any_bytes_are_an_event_or_refused_with_one_kind_of_error(data):
    with contextlib.suppress(msgspec.DecodeError):
        Event.decode(data)


@given(st.floats(0, 2**47 / 1000))
def test_an_event_id_is_a_uuid_of_version_7_that_begins_with_its_milliseconds(timestamp):
    text = uuid7(timestamp)
    assert len(text) == 36
    assert [len(part) for part in text.split("-")] == [8, 4, 4, 4, 12]
    assert set(text) <= set(string.hexdigits.lower() + "-")
    assert int(text.replace("-", "")[:12], 16) == int(timestamp * 1000)
    assert text[14] == "7"
    assert text[19] in "89ab"


def test_event_ids_differ_and_sort_by_time():
    assert len({Event().event_id for _ in range(10_000)}) == 10_000
    ids = [uuid7(1_700_000_000 + second / 1000) for second in range(100)]
    assert ids == sorted(ids)
