"""Money: an amount in integer minor units and its ISO 4217 currency, never a float."""

from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any, Final, Self

# ISO 4217 list one: active alphabetic codes of currencies that have two minor digits …
_TWO_DIGITS = (
    "AED AFN ALL AMD ANG AOA ARS AUD AWG AZN BAM BBD BDT BGN BMD BND BOB BOV BRL BSD BTN BWP BYN BZD CAD CDF "
    "CHE CHF CHW CNY COP COU CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD "
    "HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT "
    "MOP MRU MUR MVR MWK MXN MXV MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR "
    "SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD USN UYU "
    "UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)
# … and those that do not.
_OTHER_DIGITS = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF",
    3: "BHD IQD JOD KWD LYD OMR TND",
    4: "CLF UYW",
}
_EXPONENTS: Final[dict[str, int]] = dict.fromkeys(_TWO_DIGITS.split(), 2) | {
    code: digits for digits, codes in _OTHER_DIGITS.items() for code in codes.split()
}
_MINOR_LIMIT = 2**63
# Our own: the application may have changed precision, rounding or traps of the thread's decimal context.
_CONTEXT = Context(prec=40, rounding=ROUND_HALF_EVEN, traps=[InvalidOperation])


class Money:
    """An amount of money, exact: integer minor units (cents, pence, yen) and an ISO 4217 code.

    ``Money("29.99", "GBP")`` takes major units as int, Decimal, str or float (a float counts as the decimal that
    Python prints for it) and rounds half to even at the currency's last digit. ``Money.from_minor(2999, "GBP")``
    takes minor units. Negative amounts are refunds.

    Raises `ValueError` for an unknown currency and for an amount that is not a finite number of less than
    2**63 minor units, `TypeError` for an amount of another type.
    """

    __slots__ = ("currency", "minor")

    minor: int
    currency: str

    def __init__(self, amount: int | Decimal | str | float, currency: str) -> None:
        code = _currency_code(currency)
        self._set(_to_minor(amount, code), code)

    @classmethod
    def from_minor(cls, minor: int, currency: str) -> Self:
        """Return *minor* units of *currency*: ``Money.from_minor(2999, "GBP")`` is £29.99."""
        if isinstance(minor, bool) or not isinstance(minor, int):
            raise TypeError(f"minor units must be an int, not {type(minor).__name__}")
        money = cls.__new__(cls)
        money._set(minor, _currency_code(currency))
        return money

    @classmethod
    def of(cls, value: Any, currency: str | None = None) -> "Money":
        """Return *value* as Money.

        *value* is a `Money`, any object with ``amount`` and ``currency`` (django-money's, py-moneyed's), or an
        amount in major units with *currency* given.
        """
        if isinstance(value, Money):
            if currency is not None and currency.upper() != value.currency:
                raise ValueError(f"{value!r} is not in {currency!r}")
            return value
        if currency is not None:
            return cls(value, currency)
        if isinstance(value, (int, float, str, Decimal)):
            raise TypeError(f"revenue of {value!r} needs a currency, for example Money({value!r}, 'EUR')")
        try:
            amount, code = value.amount, value.currency
        except AttributeError:
            raise TypeError(f"{type(value).__name__} has no amount and currency; Money('29.99', 'EUR') does") from None
        # A currency may itself be an object: py-moneyed's has .code, the str() of others is their code.
        return cls(amount, str(getattr(code, "code", code)))

    def _set(self, minor: int, code: str) -> None:
        if not -_MINOR_LIMIT < minor < _MINOR_LIMIT:
            raise ValueError(f"an amount of {code} is out of range: less than 2**63 minor units can be kept")
        object.__setattr__(self, "minor", minor)
        object.__setattr__(self, "currency", code)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Money is immutable: can't set {name!r}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"Money is immutable: can't delete {name!r}")

    @property
    def exponent(self) -> int:
        """The number of decimal digits of the currency: 2 for EUR, 0 for JPY, 3 for KWD."""
        return _EXPONENTS[self.currency]

    @property
    def amount(self) -> Decimal:
        """The amount in major units, exact."""
        return Decimal(self.minor).scaleb(-self.exponent, _CONTEXT)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Money):
            return NotImplemented
        return self.minor == other.minor and self.currency == other.currency

    def __hash__(self) -> int:
        return hash((self.minor, self.currency))

    def __reduce__(self) -> tuple[Any, tuple[int, str]]:
        return (Money.from_minor, (self.minor, self.currency))

    def __repr__(self) -> str:
        return f"Money({str(self)[4:]!r}, {self.currency!r})"

    def __str__(self) -> str:
        return f"{self.currency} {self.amount:.{self.exponent}f}"


def _currency_code(currency: str) -> str:
    code = currency.upper() if isinstance(currency, str) else ""
    if code not in _EXPONENTS:
        raise ValueError(f"currency {currency!r} is not an ISO 4217 code such as 'EUR'")
    return code


def _to_minor(amount: int | Decimal | str | float, code: str) -> int:
    if isinstance(amount, bool) or not isinstance(amount, (int, Decimal, str, float)):
        raise TypeError(f"amount must be an int, Decimal, str or float, not {type(amount).__name__}")
    exponent = _EXPONENTS[code]
    if isinstance(amount, int):
        return amount * int(10**exponent)
    try:
        # repr(29.99) is '29.99', the number that its author wrote, while Decimal(29.99) is its binary value. Subclasses
        # (NumPy's) may have another repr.
        value = Decimal(float.__repr__(amount) if isinstance(amount, float) else amount, _CONTEXT)
        if not value.is_finite() or value.adjusted() > 20:
            raise ValueError(f"amount {amount!r} is not a finite number of money")
        # Round once, from all digits: scaling first would already round to the context's precision.
        return int(value.quantize(Decimal(1).scaleb(-exponent), context=_CONTEXT).scaleb(exponent, _CONTEXT))
    except InvalidOperation:
        raise ValueError(f"amount {amount!r} is not a decimal number such as '29.99'") from None
