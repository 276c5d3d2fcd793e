"""The SQL of fields: as text, as number, and in the conditions of filters."""

from typing import Any, Final, Protocol

from analytics_middleware.event import VISIT_FACTS
from analytics_middleware.store.clickhouse.rows import storable
from analytics_middleware.store.filters import Filter

_PRECISE: Final = 2**53
"""From here on, several integers share one float."""


class Names(Protocol):
    """What expressions refer to. The event is ``e``; this provides the other names."""

    def bind(self, kind: str, value: Any) -> str:
        """Return a placeholder of type *kind* that is bound to *value*."""
        ...

    def trait(self, key: str) -> str:
        """Return the SQL of a trait of the event's user, a tuple as in ``traits.latest``."""
        ...


def text_of(field: str, names: Names) -> str:
    """Return the SQL of *field* as text, NULL if absent, by the rules of `as_text`."""
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
    """Return the SQL of *field* as a number, NULL or NaN if it is not one; None for fields that never are."""
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
            return f"ifNull({text} IN {_list(item, names)}, 0)"
        case "not_in":
            return f"ifNull({text} NOT IN {_list(item, names)}, 1)"
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
        # Equal floats may be different integers: compare their digits.
        exact = f"toInt256OrZero({text}) {operator} {names.bind('Int256', int(item.value))}"
        compared = f"if({number} = {bound}, {exact}, {compared})"
    return f"ifNull({compared}, 0)"


def _float_text(value: str) -> str:
    """Return the SQL that formats a float like Python's repr, and integral ones as integers.

    Both write the shortest digits that read back the same. But below 0.0001 Python uses an exponent with at least two
    digits, and ClickHouse uses none down to a millionth. Wrong for integral values beyond 64 bits, which seconds and
    money don't reach.
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
