"""Whatever an application puts into an event, what is left of it can be kept and read back."""

import math
import uuid
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware import Event, EventType, Money
from analytics_middleware.admission import MAX_TEXT, admit
from analytics_middleware.event import Visit
from analytics_middleware.properties import MAX_NAME


class Raises:
    def __str__(self):
        raise RuntimeError("no text")

    def __repr__(self):
        return "Raises()"

    __int__ = __float__ = __bool__ = __index__ = __str__


class RaisingMoney:
    currency = "EUR"

    @property
    def amount(self):
        raise LookupError("price list is gone")


class NoZone(tzinfo):
    def utcoffset(self, moment):
        raise RuntimeError("no zone")


def admitted(**fields):
    """Return the event as the log gives it back, having checked that it is what was admitted."""
    event = Event(**fields)
    admit(event)
    back = Event.decode(event.encode())
    assert back == event
    return back


NAMES = ("event_name", "action_name", "user_id", "anon_id", "client_ip", "locale", "hostname", "method")
TEXTS = ("matched_pattern", "url", "path", "user_agent", "referrer")


@pytest.mark.parametrize("field", NAMES + TEXTS)
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (7, "7"),
        ("a\ud800b", "a?b"),
        ("", None),
        (Raises(), None),
        (10**5000, None),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ],
    ids=["int", "surrogate", "empty", "raises", "10**5000", "uuid"],
)
def test_a_text_field_is_made_text_or_emptied(field, value, expected):
    assert getattr(admitted(**{field: value}), field) == expected


def test_long_names_and_texts_are_cut():
    event = admitted(event_name="é" * 10_000, url="é" * 10_000)
    assert (len(event.event_name), len(event.url)) == (MAX_NAME, MAX_TEXT)


@pytest.mark.parametrize(
    ("given_id", "kept"),
    [
        ("01890a5d-ac96-774b-bcce-b302099a8057", True),
        ("order-17", True),
        ("", False),
        ("x" * 37, False),
        ("a b", False),
        ("é", False),
        ("----", False),
        (17, True),
        (None, True),
        (Raises(), False),
    ],
    ids=repr,
)
def test_an_event_id_that_vendors_would_refuse_is_replaced(given_id, kept):
    event = admitted(event_id=given_id)
    assert event.event_id == str(given_id) if kept else len(event.event_id) == 36
    assert event.event_id


@pytest.mark.parametrize("value", ["click", None, 5, [], Raises()], ids=repr)
def test_an_unknown_type_becomes_custom(value):
    assert admitted(type=value).type is EventType.CUSTOM


def test_a_types_text_is_that_type():
    assert admitted(type="pageview").type is EventType.PAGEVIEW


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        (datetime(2026, 1, 1, 12), datetime(2026, 1, 1, 12, tzinfo=UTC)),
        (datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))), datetime(2026, 1, 1, 10, tzinfo=UTC)),
    ],
    ids=["naive", "zoned"],
)
def test_a_timestamp_becomes_utc_and_a_naive_one_is_taken_for_utc(moment, expected):
    event = admitted(timestamp=moment)
    assert event.timestamp == expected
    assert event.timestamp.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "moment",
    [
        None,
        "yesterday",
        1e9,
        datetime.min.replace(tzinfo=timezone(timedelta(hours=14))),
        datetime.max.replace(tzinfo=timezone(-timedelta(hours=14))),
        datetime(2000, 1, 1, tzinfo=NoZone()),
    ],
    ids=["None", "text", "number", "before the first year", "after the last year", "zone that raises"],
)
def test_a_timestamp_that_is_no_instant_becomes_now(moment):
    before = datetime.now(UTC)
    assert before <= admitted(timestamp=moment).timestamp <= datetime.now(UTC)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.25, 0.25),
        (1, 1.0),
        (Decimal("0.5"), 0.5),
        ("0.5", 0.5),
        ("soon", None),
        (math.nan, None),
        (math.inf, None),
        pytest.param(10**5000, None, id="10**5000"),
        pytest.param(Raises(), None, id="raises"),
    ],
)
def test_a_duration_is_a_finite_number_or_empty(value, expected):
    assert admitted(duration=value).duration == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [("404", 404), (200.0, 200), ("ok", None), (-1, None), (math.nan, None), (math.inf, None), (Raises(), None)],
    ids=repr,
)
def test_a_status_is_a_small_integer_or_empty(value, expected):
    assert admitted(status_code=value).status_code == expected


@pytest.mark.parametrize("value", [10**5000, Decimal("1E+999999999")], ids=["10**5000", "1E+999999999"])
@pytest.mark.parametrize("field", ["status_code", "duration", "revenue"])
def test_a_number_of_endless_digits_is_emptied_without_being_written_out(field, value):
    given_value = SimpleNamespace(amount=value, currency="EUR") if field == "revenue" else value
    assert getattr(admitted(**{field: given_value}), field) is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Money("5", "EUR"), Money("5", "EUR")),
        (SimpleNamespace(amount=Decimal(5), currency="EUR"), Money("5", "EUR")),
        (5, None),
        ("5 EUR", None),
        (SimpleNamespace(amount=5, currency="XXX"), None),
        (RaisingMoney(), None),
        (Raises(), None),
    ],
    ids=["money", "alike", "bare", "text", "currency", "raising amount", "object"],
)
def test_revenue_is_money_or_empty(value, expected):
    assert admitted(revenue=value).revenue == expected


@pytest.mark.parametrize("value", [None, [], "a=1", 5, Raises()], ids=repr)
def test_properties_that_are_no_mapping_are_emptied(value):
    assert admitted(properties=value).properties == {}


def test_properties_are_cleaned_and_those_left_out_are_counted():
    event = Event(properties={f"k{number}": {number} for number in range(70)})
    assert admit(event) == 6
    assert event.properties == {f"k{number}": f"[{number}]" for number in range(64)}


@pytest.mark.parametrize("value", [None, "Firefox", {"browser": "Firefox"}, Raises()], ids=repr)
def test_a_visit_that_is_none_is_emptied(value):
    assert admitted(visit=value).visit == Visit()


def test_the_facts_of_a_visit_are_cleaned_too():
    visit = Visit(browser="Fire\ud800fox", os=Raises(), country=49, is_bot="yes", city="")
    assert admitted(visit=visit).visit == Visit(browser="Fire?fox", country="49")
    assert admitted(visit=Visit(is_bot=True)).visit.is_bot is True
    assert admitted(visit=Visit(consented=1, opted_out="no")).visit == Visit()


def test_admitting_twice_changes_nothing_more():
    event = Event(event_name=" a\ud800 ", properties={"x": {1, 2}}, user_id=7, duration="0.5")
    admit(event)
    once = event.encode()
    assert admit(event) == 0
    assert event.encode() == once


junk = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.text(st.characters(categories=["Cs"]), min_size=1),
    st.binary(),
    st.decimals(),
    st.datetimes(),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=14)), timezone(-timedelta(hours=14))])),
    st.lists(st.integers()),
    st.dictionaries(st.text(), st.floats()),
    st.builds(Raises),
    st.builds(RaisingMoney),
    st.builds(SimpleNamespace, amount=st.one_of(st.decimals(), st.text(), st.none()), currency=st.just("EUR")),
    st.sampled_from([1, -1]).map(lambda sign: sign * 10**5000),
    st.sampled_from([Money(1, "EUR"), EventType.ACTION, Decimal("1E+999999999"), Decimal("-1E-999999999")]),
)
junk_visits = st.builds(Visit, **dict.fromkeys(Visit.__struct_fields__, junk))
keys = st.one_of(st.text(st.characters()), st.none(), st.floats(), st.binary(), st.builds(Raises))
fields = sorted(set(Event.__struct_fields__) - {"request", "visit", "properties"})


@given(
    st.dictionaries(st.sampled_from(fields), junk),
    st.one_of(junk, st.dictionaries(keys, junk)),
    st.one_of(junk, junk_visits),
)
def test_whatever_goes_in_the_event_can_be_encoded_and_read_back(given_fields, properties, visit):
    admitted(**given_fields, properties=properties, visit=visit)
