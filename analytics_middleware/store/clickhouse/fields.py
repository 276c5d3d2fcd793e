"""The SQL of fields: their values as text, as numbers, and the conditions of filters on them."""

from typing import Any, Final, Protocol

from analytics_middleware.event import VISIT_FACTS
from analytics_middleware.store.clickhouse.rows import storable
from analytics_middleware.store.filters import Filter

_PRECISE: Final = 2**53
"""From here on not every integer is a float of its own."""


class Names(Protocol):
    """What expressions refer to: the event is ``e``, other things have names of their own."""

    def bind(self, kind: str, value: Any) -> str:
        """Return what stands for *value*, bound to a parameter of type *kind*."""
        ...

    def trait(self, key: str) -> str:
        """Return what stands for a trait of the event's user, a tuple as in ``traits.latest``."""
        ...


def text_of(field: str, names: Names) -> str:
    """Return the value of *field* as text, NULL when absent, by the rules of `as_text`."""
    prefix, dot, name = field.partition(".")
    if dot and prefix == "traits":
        latest = names.trait(storable(name))
        return f"if({latest}.3 IN ('', 'null'), NULL, {latest}.4)"
    if dot:
        key = names.bind("String", storable(name))
        return f"if(mapContains(e.texts, {key}), e.texts[{key}], NULL)"
    if field in ("user_id", "anon_id"):
        return f"nullIf(e.{field}, '')"
    if field in VISIT_FACTS:
        return f"if(e.{field}, 'true', 'false')"
    if field == "status_code":
        return "toString(e.status_code)"
    if field in ("duration", "revenue"):
        return _float_text(f"e.{field}")
    return f"e.{field}"


def number_of(field: str, names: Names) -> str | None:
    """Return the value of *field* as a number, NULL or NaN when it is none; None for fields that never are."""
    prefix, dot, name = field.partition(".")
    if dot and prefix == "traits":
        latest = names.trait(storable(name))
        return f"if({latest}.3 IN ('', 'null'), NULL, {latest}.5)"
    if dot:
        key = names.bind("String", storable(name))
        return f"if(mapContains(e.numbers, {key}), e.numbers[{key}], NULL)"
    return f"e.{field}" if field in ("duration", "revenue", "status_code") else None


def condition(item: Filter, names: Names) -> str:
    """Return the SQL of `Filter.matches`."""
    text = text_of(item.field, names)
    match item.op:
        case "eq":
            return f"ifNull({text} = {names.bind('String', storable(item.value))}, 0)"
        case "ne":
            return f"ifNull({text} != {names.bind('String', storable(item.value))}, 1)"
        case "in":
            return f"ifNull(has({_list(item, names)}, {text}), 0)"
        case "not_in":
            return f"ifNull(NOT has({_list(item, names)}, {text}), 1)"
        case "contains":
            return f"ifNull(position({text}, {names.bind('String', storable(item.value))}) > 0, 0)"
        case "exists":
            return f"isNotNull({text})"
        case "not_exists":
            return f"isNull({text})"
        case _:
            return _compared(item, text, names)


def _list(item: Filter, names: Names) -> str:
    return names.bind("Array(String)", [storable(value) for value in item.value])


def _compared(item: Filter, text: str, names: Names) -> str:
    number = number_of(item.field, names)
    if number is None:
        return "0"
    operator = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}[item.op]
    bound = names.bind("Float64", float(item.value))
    compared = f"{number} {operator} {bound}"
    if abs(item.value) >= _PRECISE:
        # Two integers that are the same float: their digits decide.
        exact = f"toInt256OrZero({text}) {operator} {names.bind('Int256', int(item.value))}"
        compared = f"if({number} = {bound}, {exact}, {compared})"
    return f"ifNull({compared}, 0)"


def _float_text(value: str) -> str:
    """Return a float as Python's repr has it, integral ones as integers.

    Both write the shortest digits that read back the same; below 0.0001 Python puts two digits at least into the
    exponent, and ClickHouse has none down to a millionth. Beyond 64 bits it is wrong: of seconds and of money.
    """
    plain = f"toString({value})"
    digits = f"replaceRegexpOne({plain}, '^-?0\\\\.0+', '')"
    zeros = f"(position({plain}, {digits}) - position({plain}, '.'))"
    sign = f"if({value} < 0, '-', '')"
    tail = f"if(length({digits}) > 1, concat('.', substring({digits}, 2)), '')"
    moved = f"concat({sign}, substring({digits}, 1, 1), {tail}, 'e-0', toString({zeros}))"
    exponent = f"replaceRegexpOne({plain}, 'e-(\\\\d)$', 'e-0\\\\1')"
    return (
        f"multiIf({value} = trunc({value}), toString(toInt64({value})), abs({value}) >= 0.0001, {plain}, "
        f"position({plain}, 'e') > 0, {exponent}, {moved})"
    )
