"""Whatever an application hands over as a property becomes a JSON scalar, quickly and without an exception."""

import collections
import enum
import json
import math
import uuid
from datetime import UTC, date, datetime, time
from decimal import Decimal
from fractions import Fraction
from pathlib import PurePosixPath

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.properties import (
    MAX_NAME,
    MAX_PROPERTIES,
    MAX_VALUE,
    clean_name,
    clean_properties,
    clean_text,
    clean_value,
)


class Plan(enum.Enum):
    ANNUAL = "annual"


class Level(enum.IntEnum):
    HIGH = 3


class Raises:
    def __str__(self):
        raise RuntimeError("no text")

    def __repr__(self):
        return "Raises()"


class RaisesOnItems(collections.UserDict):
    def items(self):
        raise KeyError("gone")


class CustomInt(int):
    """Comparing one with a range would walk through the range."""


class CustomText(str):
    __slots__ = ()


class CustomFloat(float):
    pass


def cyclic_list():
    value = [1]
    value.append(value)
    return value


def cyclic_dict():
    value = {"a": 1}
    value["self"] = value
    return value


def wide_cycle():
    """Holds itself so often that walking it to a depth of 8 takes forever."""
    value = []
    value.extend([value] * 200)
    return value


def wide_cyclic_dict():
    value = {}
    value.update({str(key): value for key in range(200)})
    return value


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


HOSTILE = {
    "lone surrogate": "a\ud800b",
    "NUL and controls": "\x00\x1b[31m",
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
    "10**5000": 10**5000,
    "-10**5000": -(10**5000),
    "2**63": 2**63,
    "cyclic list": cyclic_list(),
    "cyclic dict": cyclic_dict(),
    "wide cycle": wide_cycle(),
    "wide cyclic dict": wide_cyclic_dict(),
    "depth 5000": nested(5000),
    "set": {3, "b", None},
    "Decimal NaN": Decimal("NaN"),
    "__str__ raises": Raises(),
    "list with __str__ raises": [1, Raises()],
    "key whose __str__ raises": {Raises(): 1},
    "items raises": RaisesOnItems(a=1),
    "generator": (number for number in range(3)),
    "bytes": b"\xff\xfe",
    "type": int,
    "function": nested,
    "long text": "x" * 100_000,
    "many items": list(range(100_000)),
    "nested NaN": [math.nan, {"x": math.inf}],
    "nested surrogate": {"\ud800": ["\udfff"]},
    "object": object(),
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_value_becomes_a_scalar_that_encodes(value):
    cleaned = clean_value(value)
    assert cleaned is None or type(cleaned) in (str, int, float, bool)
    assert msgspec.json.decode(msgspec.json.encode(cleaned)) == cleaned
    assert len(json.dumps(cleaned, ensure_ascii=False).encode()) <= 4 * MAX_VALUE + 2


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text", "text"),
        (None, None),
        (True, True),
        (7, 7),
        (1.5, 1.5),
        (math.nan, None),
        (-math.inf, None),
        (2**63 - 1, 2**63 - 1),
        (-(2**63), -(2**63)),
        (2**63, "9223372036854775808"),
        (-(2**63) - 1, "-9223372036854775809"),
        (Decimal("12.50"), "12.50"),
        (Fraction(1, 3), "1/3"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (PurePosixPath("/a/b"), "/a/b"),
        (Plan.ANNUAL, "annual"),
        (Level.HIGH, 3),
        pytest.param(CustomInt(5), 5, id="int subclass"),
        pytest.param(CustomInt(2**70), str(2**70), id="long int subclass"),
        pytest.param(CustomFloat(1.5), 1.5, id="float subclass"),
        pytest.param(CustomFloat("nan"), None, id="NaN of a float subclass"),
        pytest.param(CustomText("text"), "text", id="str subclass"),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05+00:00"),
        (date(2026, 1, 2), "2026-01-02"),
        (time(3, 4), "03:04:00"),
        ([1, "a", None, 1.5], '[1,"a",null,1.5]'),
        ((1, 2), "[1,2]"),
        ({"b": 1, "a": {"c": [Plan.ANNUAL]}}, '{"a":{"c":["annual"]},"b":1}'),
        ({1: "x", None: "y"}, '{"1":"x","None":"y"}'),
        ([], "[]"),
        ({}, "{}"),
        pytest.param(cyclic_list(), '[1,[1,[1,[1,[1,[1,[1,[1,"…"]]]]]]]]', id="cycle"),
        pytest.param(Raises(), "unprintable Raises", id="unprintable"),
        pytest.param([Raises()], "unprintable list", id="unprintable within"),
    ],
)
def test_each_kind_of_value_has_one_form(value, expected):
    cleaned = clean_value(value)
    assert cleaned == expected
    assert type(cleaned) is type(expected)


def test_an_integer_of_thousands_of_digits_says_how_long_it_is_instead_of_its_digits():
    assert clean_value(10**5000) == f"integer of {(10**5000).bit_length()} bits"


def test_the_same_set_gives_the_same_text_whatever_its_order():
    letters = [chr(code) for code in range(ord("a"), ord("z"))]
    assert (
        clean_value(set(letters)) == clean_value(frozenset(reversed(letters))) == json.dumps(letters).replace(" ", "")
    )


def test_a_generator_is_not_consumed():
    generator = (number for number in (1, 2, 3))
    clean_value(generator)
    assert list(generator) == [1, 2, 3]


def test_the_callers_value_is_not_changed():
    value = {"a": [1, {"b": "\ud800"}]}
    clean_value(value)
    assert value == {"a": [1, {"b": "\ud800"}]}


def test_lone_surrogates_are_replaced_and_real_characters_stay():
    assert clean_value("a\ud800b") == "a?b"
    assert clean_value("héllo 🎉") == "héllo 🎉"


def test_long_texts_are_cut():
    assert clean_value("é" * (MAX_VALUE + 1)) == "é" * MAX_VALUE
    assert clean_name("k" * (MAX_NAME + 1)) == "k" * MAX_NAME
    assert clean_text("abc", 2) == "ab"
    assert len(clean_value(["x" * MAX_VALUE] * 3)) == MAX_VALUE


def test_names_lose_the_space_around_them():
    assert clean_name("  checkout completed \n") == "checkout completed"
    assert clean_name(404) == "404"


def test_keys_that_are_no_text_become_text():
    assert clean_properties({1: "a", None: "b", ("x", 2): "c", 1.5: "d"}) == (
        {"1": "a", "None": "b", "('x', 2)": "c", "1.5": "d"},
        0,
    )


def test_a_key_that_cannot_be_printed_costs_no_other_property():
    cleaned, dropped = clean_properties({"plan": "annual", Raises(): 1, "seats": 3})
    assert cleaned == {"plan": "annual", "unprintable Raises": 1, "seats": 3}
    assert dropped == 0


def test_the_65th_key_is_left_out_and_counted():
    given = {f"k{number}": number for number in range(MAX_PROPERTIES + 3)}
    cleaned, dropped = clean_properties(given)
    assert MAX_PROPERTIES == 64
    assert list(cleaned) == [f"k{number}" for number in range(64)]
    assert dropped == 3


def test_keys_that_become_the_same_name_count_once():
    given = {f"k{number}": number for number in range(MAX_PROPERTIES)} | {" k0 ": "again"}
    cleaned, dropped = clean_properties(given)
    assert (len(cleaned), cleaned["k0"], dropped) == (64, "again", 0)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters()),
    st.text(st.characters(categories=["Cs"])),
    st.binary(),
    st.decimals(),
    st.fractions(),
    st.uuids(),
    st.datetimes(),
    st.dates(),
    st.times(),
    st.timedeltas(),
    st.complex_numbers(),
    st.just(Raises()),
    st.sampled_from([*Plan, *Level]),
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.one_of(st.text(), st.integers(), st.none(), st.floats()), inner, max_size=4),
        st.sets(st.one_of(st.integers(), st.text()), max_size=4),
    ),
)


@given(anything)
def test_any_value_becomes_a_scalar_that_survives_json_and_cleaning_again(value):
    cleaned = clean_value(value)
    assert cleaned is None or type(cleaned) in (str, int, float, bool)
    assert json.loads(msgspec.json.encode(cleaned)) == cleaned
    assert clean_value(cleaned) == cleaned


@given(st.dictionaries(st.one_of(st.text(), st.integers(), st.none(), st.binary()), anything, max_size=80))
def test_any_mapping_becomes_properties_and_every_key_is_kept_or_counted(given_properties):
    cleaned, dropped = clean_properties(given_properties)
    assert len(cleaned) <= MAX_PROPERTIES
    assert len({clean_name(key) for key in given_properties}) <= len(cleaned) + dropped <= len(given_properties) + 1
    assert msgspec.json.decode(msgspec.json.encode(cleaned)) == cleaned
