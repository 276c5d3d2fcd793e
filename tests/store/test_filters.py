"""Filters and values as text: the corners that the conformance cases leave out."""

import math

import pytest

from analytics_middleware.event import Event, Visit
from analytics_middleware.money import Money
from analytics_middleware.store.filters import Filter, QuestionError, as_text, field_value


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("As it is ", "As it is "),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (49, "49"),
        (49.0, "49"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e22, "10000000000000000000000"),
        (1e-7, "1e-07"),
        (None, None),
        (math.nan, None),
        ([1, "a", None], '[1,"a",null]'),
        ({"b": 1, "a": [2]}, '{"a":[2],"b":1}'),
    ],
)
def test_values_as_text(value, text):
    assert as_text(value) == text


@pytest.mark.parametrize("op", ["eq", "in", "contains", "exists", "gt", "gte", "lt", "lte"])
def test_an_absent_field_does_not_match(op):
    value = {"in": ["x"], "exists": None}.get(op, 1)
    assert not Filter("path", op, value).matches(None)


@pytest.mark.parametrize(("op", "value"), [("ne", "x"), ("not_in", ["x"]), ("not_exists", None)])
def test_an_absent_field_matches_only_what_denies(op, value):
    assert Filter("path", op, value).matches(None)


@pytest.mark.parametrize("value", ["7", True, "seven"])
def test_only_numbers_compare_as_numbers(value):
    assert not Filter("properties.n", "gt", 0).matches(value)


@pytest.mark.parametrize(
    ("field", "op", "value", "message"),
    [
        ("client_ip", "eq", "x", "'client_ip' is not a field"),
        ("properties.", "eq", "x", "'properties.' is not a field"),
        ("request.path", "eq", "x", "'request.path' is not a field"),
        (7, "eq", "x", "7 is not a field"),
        ("path", "like", "x", "'like' is not one of eq, ne"),
        ("path", "eq", None, "eq can't compare path with None"),
        ("path", "eq", ["x"], r"eq can't compare path with \['x'\]"),
        ("path", "in", "abc", "in takes a list of values, not 'abc'"),
        ("path", "in", [None], "in can't compare path with None"),
        ("path", "in", list(range(1001)), "in takes at most 1000 values, not 1001"),
        ("path", "exists", True, "exists takes no value, not True"),
        ("duration", "gt", "1", "gt takes a number, not '1'"),
        ("duration", "gt", math.nan, "gt takes a number, not nan"),
    ],
)
def test_a_wrong_filter_is_an_error_that_names_what_is_wrong(field, op, value, message):
    with pytest.raises(QuestionError, match=f"^where: {message}|^where: op {message}") as caught:
        Filter(field, op, value)
    assert caught.value.field == "where"


@pytest.mark.parametrize("value", ["path", {"field": "path"}, {"field": "path", "op": "exists", "extra": 1}, None])
def test_what_describes_no_filter_is_an_error(value):
    with pytest.raises(QuestionError, match=r"^where: .* is not"):
        Filter.of(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "buy"),
        ("country", "GB"),
        ("is_bot", False),
        ("status_code", 200),
        ("user_id", None),
        ("anon_id", "cookie"),
        ("properties.a.b", 1),
        ("traits.plan", "pro"),
        ("revenue", 29.99),
        ("currency", "GBP"),
        ("referrer", None),
        ("type", "custom"),
    ],
)
def test_where_a_field_is_read_from(field, value):
    event = Event(
        event_name="buy", visit=Visit(country="GB"), status_code=200, user_id="null", anon_id="cookie",
        properties={"a.b": 1}, revenue=Money("29.99", "GBP"),
    )  # fmt: skip
    assert field_value(event, {"plan": "pro"}, field) == value


def test_a_trait_of_the_same_name_is_not_a_property():
    assert field_value(Event(properties={"plan": 1}), {}, "traits.plan") is None
