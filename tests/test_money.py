"""Money is exact, immutable and never surprises with a float."""

import copy
import decimal
import pickle
from decimal import Decimal
from enum import Enum
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware import Money

EXPONENTS = {"EUR": 2, "USD": 2, "JPY": 0, "KRW": 0, "KWD": 3, "BHD": 3, "CLF": 4, "UYW": 4}
currencies = st.sampled_from(sorted(EXPONENTS))
minors = st.integers(min_value=-(2**63) + 1, max_value=2**63 - 1)


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        (30, "GBP", 3000),
        ("29.99", "GBP", 2999),
        (" 29.99 ", "GBP", 2999),
        (Decimal("29.99"), "GBP", 2999),
        (29.99, "GBP", 2999),
        (0.1 + 0.2, "GBP", 30),
        (1e3, "GBP", 100_000),
        ("1.5e2", "GBP", 15_000),
        (0, "GBP", 0),
        (-0.0, "GBP", 0),
        ("29.99", "gbp", 2999),
        (500, "JPY", 500),
        ("1.234", "KWD", 1234),
        ("1.2345", "CLF", 12345),
        (10**16, "EUR", 10**18),
    ],
    ids=repr,
)
def test_an_amount_in_major_units_of_any_numeric_type_becomes_minor_units(amount, currency, minor):
    money = Money(amount, currency)
    assert (money.minor, money.currency) == (minor, currency.upper())
    assert type(money.minor) is int


@pytest.mark.parametrize(("currency", "exponent"), EXPONENTS.items())
def test_the_exponent_is_the_currencys_by_iso_4217(currency, exponent):
    money = Money.from_minor(123_456, currency)
    assert money.exponent == exponent
    assert money.amount == Decimal(123_456) / 10**exponent


@pytest.mark.parametrize(
    ("amount", "currency", "minor"),
    [
        ("0.005", "EUR", 0),
        ("0.015", "EUR", 2),
        ("0.025", "EUR", 2),
        ("0.0250000001", "EUR", 3),
        (2.675, "EUR", 268),
        (2.665, "EUR", 266),
        ("-0.005", "EUR", 0),
        ("-0.015", "EUR", -2),
        ("0.5", "JPY", 0),
        (1.5, "JPY", 2),
        ("0.0005", "KWD", 0),
        ("0.0015", "KWD", 2),
        ("1e-400000", "EUR", 0),
    ],
)
def test_digits_beyond_the_currencys_last_are_rounded_half_to_even(amount, currency, minor):
    assert Money(amount, currency).minor == minor


def test_an_amount_of_many_digits_is_rounded_once_and_not_first_to_the_contexts_precision():
    assert Money("0.014" + "9" * 60, "EUR").minor == 1
    assert Money("0.015" + "0" * 60 + "1", "EUR").minor == 2
    assert Money("0.025" + "0" * 60 + "1", "EUR").minor == 3


def test_the_applications_decimal_context_changes_nothing():
    signals = list(decimal.getcontext().flags)
    hostile = decimal.Context(prec=3, rounding=decimal.ROUND_UP, traps=signals)
    with decimal.localcontext(hostile):
        money = Money("12345.671", "EUR")
        assert money.minor == 1_234_567
        assert str(money.amount) == "12345.67"
        assert str(money) == "EUR 12345.67"
        assert Money(12345.67, "EUR") == money
        with pytest.raises(ValueError, match="decimal number"):
            Money("twelve", "EUR")


def test_a_float_that_prints_itself_differently_counts_as_its_number():
    class Float64(float):
        def __repr__(self):
            return f"np.float64({float(self)})"

    assert Money(Float64(29.99), "EUR") == Money("29.99", "EUR")


def test_from_minor_takes_minor_units():
    assert Money.from_minor(2999, "GBP") == Money("29.99", "GBP")
    assert Money.from_minor(500, "JPY") == Money(500, "JPY")


@pytest.mark.parametrize("minor", [29.99, "2999", Decimal(2999), True, None])
def test_minor_units_are_an_int_and_nothing_else(minor):
    with pytest.raises(TypeError, match=f"must be an int, not {type(minor).__name__}"):
        Money.from_minor(minor, "GBP")


def test_of_takes_money_as_it_is():
    money = Money("29.99", "GBP")
    assert Money.of(money) is money


def test_of_takes_an_amount_with_its_currency():
    assert Money.of("29.99", "GBP") == Money("29.99", "GBP")


class Currency:
    """Like py-moneyed's: an object with a code."""

    code = "EUR"

    def __str__(self):
        return "Euro"


class PrintsItsCode:
    def __str__(self):
        return "EUR"


class CurrencyChoice(Enum):
    EUR = "EUR"

    def __str__(self):
        return self.value


@pytest.mark.parametrize(
    "currency", ["EUR", Currency(), PrintsItsCode(), CurrencyChoice.EUR], ids=lambda c: type(c).__name__
)
@pytest.mark.parametrize("amount", [Decimal("12.50"), "12.50", 12.5], ids=repr)
def test_of_takes_any_object_with_amount_and_currency(amount, currency):
    assert Money.of(SimpleNamespace(amount=amount, currency=currency)) == Money("12.50", "EUR")


@pytest.mark.parametrize("bare", [29.99, 30, "29.99", Decimal("29.99"), True], ids=repr)
def test_a_bare_amount_asks_for_its_currency_and_shows_how(bare):
    with pytest.raises(TypeError, match="needs a currency, for example"):
        Money.of(bare)


@pytest.mark.parametrize("value", [None, object(), SimpleNamespace(amount=1), SimpleNamespace(currency="EUR"), []])
def test_an_object_without_amount_and_currency_is_refused_by_its_types_name(value):
    with pytest.raises(TypeError, match=f"{type(value).__name__} has no amount and currency"):
        Money.of(value)


@pytest.mark.parametrize("amount", [None, True, b"1", [], 1j, object(), Money("1", "EUR")])
def test_an_amount_of_another_type_is_refused_by_its_types_name(amount):
    with pytest.raises(TypeError, match=f"not {type(amount).__name__}"):
        Money(amount, "EUR")


@pytest.mark.parametrize(
    "amount", ["", "abc", "29,99", "£29.99", "1.2.3", float("nan"), float("inf"), "-Infinity", "sNaN", Decimal("NaN")]
)
def test_what_is_no_finite_number_is_refused(amount):
    with pytest.raises(ValueError, match="amount"):
        Money(amount, "EUR")


@pytest.mark.parametrize(
    "amount", [2**63, pytest.param(10**5000, id="10**5000"), "1e30", "1e999999", 1e300, Decimal(2**63), -(2**63)]
)
def test_an_amount_beyond_64_bits_of_minor_units_is_refused_in_plain_words(amount):
    with pytest.raises(ValueError, match=r"out of range|not a finite number of money"):
        Money(amount, "EUR")


@pytest.mark.parametrize("minor", [2**63, -(2**63), pytest.param(10**5000, id="10**5000")])
def test_minor_units_beyond_64_bits_are_refused_in_plain_words(minor):
    with pytest.raises(ValueError, match="out of range"):
        Money.from_minor(minor, "EUR")


@pytest.mark.parametrize("currency", ["", "E", "EURO", "XXX", "BTC", "€", None, 978, b"EUR", ["EUR"]])
def test_an_unknown_currency_is_refused_by_name(currency):
    with pytest.raises(ValueError, match=r"is not an ISO 4217 code such as 'EUR'"):
        Money(1, currency)


def test_refunds_are_negative():
    assert Money("-29.99", "GBP").minor == -2999
    assert Money(-1, "KWD").minor == -1000
    assert str(Money.from_minor(-5, "EUR")) == "EUR -0.05"


def test_money_is_immutable():
    money = Money("29.99", "GBP")
    for change in (
        lambda: setattr(money, "minor", 1),
        lambda: setattr(money, "currency", "EUR"),
        lambda: setattr(money, "note", "x"),
        lambda: delattr(money, "minor"),
    ):
        with pytest.raises(AttributeError):
            change()
    assert money == Money("29.99", "GBP")


def test_equality_and_hash_go_by_amount_and_currency():
    assert Money("1.00", "EUR") == Money(1, "EUR")
    assert Money(1, "EUR") != Money(1, "USD")
    assert Money(1, "EUR") != Money(2, "EUR")
    assert Money(1, "EUR") != 1
    assert len({Money("1.00", "EUR"), Money(1, "EUR"), Money(1, "USD")}) == 2


@pytest.mark.parametrize(
    ("money", "text"),
    [
        (Money("29.9", "GBP"), "GBP 29.90"),
        (Money(500, "JPY"), "JPY 500"),
        (Money("1.5", "KWD"), "KWD 1.500"),
        (Money.from_minor(2**63 - 1, "EUR"), "EUR 92233720368547758.07"),
    ],
)
def test_text_shows_every_digit_of_the_currency(money, text):
    assert str(money) == text


@given(minors, currencies)
def test_money_survives_its_repr_pickling_and_copying(minor, currency):
    money = Money.from_minor(minor, currency)
    assert eval(repr(money)) == money
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert pickle.loads(pickle.dumps(money, protocol)) == money
    assert copy.copy(money) == copy.deepcopy(money) == money


@given(minors, currencies)
def test_the_amount_in_major_units_gives_the_same_money_back(minor, currency):
    money = Money.from_minor(minor, currency)
    assert Money(money.amount, currency) == money
    assert Money(str(money.amount), currency) == money
    assert Money.of(SimpleNamespace(amount=money.amount, currency=currency)) == money


@given(st.integers(-(10**13), 10**13), st.sampled_from(["EUR", "JPY", "KWD"]))
def test_a_float_of_at_most_15_digits_gives_the_money_that_its_author_wrote(minor, currency):
    money = Money.from_minor(minor, currency)
    assert Money(float(money.amount), currency) == money


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**12), max_value=10**12), currencies)
def test_rounding_is_off_by_half_a_minor_unit_at_most(amount, currency):
    money = Money(amount, currency)
    with decimal.localcontext(decimal.Context(prec=10_000)):
        assert abs(money.amount - amount) * 2 <= Decimal(1).scaleb(-money.exponent)


@given(st.one_of(st.text(), st.floats(), st.decimals(), st.integers()), st.one_of(currencies, st.text(max_size=4)))
def test_any_amount_and_currency_make_money_or_a_value_error(amount, currency):
    try:
        money = Money(amount, currency)
    except ValueError:
        return
    assert abs(money.minor) < 2**63
