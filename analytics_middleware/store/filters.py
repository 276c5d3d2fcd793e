"""Filters: conditions on events, and the text form of values."""

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, Literal, get_args

import msgspec

from analytics_middleware.errors import AnalyticsError
from analytics_middleware.event import FROM_REQUEST, Event
from analytics_middleware.properties import Scalar
from analytics_middleware.store.identity import identity

Operator = Literal["eq", "ne", "in", "not_in", "contains", "exists", "not_exists", "gt", "gte", "lt", "lte"]
OPERATORS: Final[tuple[str, ...]] = get_args(Operator)

EVENT_FIELDS: Final = frozenset(
    [
        "type",
        "event_name",
        "action_name",
        *FROM_REQUEST,
        "duration",
        "status_code",
    ]
)
"""Fields of `Event` that filters and breakdowns can use."""
VISIT_FIELDS: Final = frozenset(
    [
        "session_id",
        "is_bot",
        "is_spam",
        "browser",
        "browser_version",
        "os",
        "device",
        "country",
        "city",
        "source",
        "channel",
        "medium",
        "campaign",
        "term",
        "content",
        "trace_id",
        "opted_out",
        "consented",
    ]
)
"""Fields of `Visit` that filters and breakdowns can use, without a prefix."""
DERIVED_FIELDS: Final = frozenset({"name", "revenue", "currency"})
"""``name`` is the event's name, ``revenue`` its amount in major units, ``currency`` the currency of that amount."""
FIELDS: Final = EVENT_FIELDS | VISIT_FIELDS | DERIVED_FIELDS

_NUMERIC: Final[dict[str, Callable[[float, float], bool]]] = {
    "gt": lambda value, bound: value > bound,
    "gte": lambda value, bound: value >= bound,
    "lt": lambda value, bound: value < bound,
    "lte": lambda value, bound: value <= bound,
}
_ABSENT_MATCHES: Final = frozenset({"ne", "not_in", "not_exists"})
_MAX_VALUES: Final = 1000

_to_json = msgspec.json.Encoder(order="sorted").encode


class QuestionError(AnalyticsError, ValueError):
    """A question with a wrong parameter: `field` is its name, `message` says what is wrong."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def as_text(value: Any) -> str | None:
    """Return *value* as the text by which questions compare and group it, or None if it counts as absent.

    Strings stay as they are, booleans are ``true`` and ``false``, integral numbers are integers, other floats have the
    shortest form that reads back the same, lists and objects are compact JSON with sorted keys. None, NaN and
    infinities are absent.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return str(int(value)) if value.is_integer() else repr(value)
    return _to_json(value).decode()


def as_number(value: Any) -> int | float | None:
    """Return *value* if it is a finite number, which a boolean or a string of digits is not."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return value if math.isfinite(value) else None


def check_field(field: Any, parameter: str) -> None:
    """Raise `QuestionError` for *parameter* unless *field* can be used in filters and breakdowns."""
    if isinstance(field, str):
        prefix, dot, name = field.partition(".")
        if field in FIELDS or (dot and name and prefix in ("properties", "traits")):
            return
    raise QuestionError(
        parameter,
        f"{field!r} is not a field; use properties.NAME, traits.NAME or one of {', '.join(sorted(FIELDS))}",
    )


def field_value(event: Event, traits: Mapping[str, Scalar], field: str) -> Any:
    """Return the value of *field* for *event* of a user with *traits*, None if absent."""
    prefix, dot, name = field.partition(".")
    if dot:
        return (event.properties if prefix == "properties" else traits).get(name)
    if field in ("user_id", "anon_id"):
        return identity(getattr(event, field))
    if field in EVENT_FIELDS:
        return getattr(event, field)
    if field in VISIT_FIELDS:
        return getattr(event.visit, field)
    if field == "name":
        return event.name
    if event.revenue is None:
        return None
    return event.revenue.currency if field == "currency" else float(event.revenue.amount)


class Filter(msgspec.Struct, frozen=True):
    """One condition on an event: ``Filter("country", "eq", "GB")``.

    *field* is one of `FIELDS`, ``properties.NAME`` or ``traits.NAME``; *op* is one of `OPERATORS`. *value* is a list
    of scalars for ``in`` and ``not_in``, a number for ``gt``, ``gte``, ``lt`` and ``lte``, omitted for ``exists`` and
    ``not_exists``, a scalar for the others. Raises `QuestionError` for anything else.
    """

    field: str
    op: Operator
    value: Any = None

    def __post_init__(self) -> None:
        check_field(self.field, "where")
        if self.op not in OPERATORS:
            raise QuestionError("where", f"op {self.op!r} is not one of {', '.join(OPERATORS)}")
        if self.op in ("in", "not_in"):
            msgspec.structs.force_setattr(self, "value", self._texts(self.value))
        elif self.op in _NUMERIC:
            if as_number(self.value) is None:
                raise QuestionError("where", f"{self.op} takes a number, not {self._shown}")
        elif self.op in ("exists", "not_exists"):
            if self.value is not None:
                raise QuestionError("where", f"{self.op} takes no value, not {self._shown}")
        else:
            msgspec.structs.force_setattr(self, "value", self._text(self.value))

    @classmethod
    def of(cls, value: "Filter | Mapping[str, Any]") -> "Filter":
        """Return *value* if it is a filter, or the filter that ``{"field", "op", "value"}`` describes."""
        if isinstance(value, Filter):
            return value
        if not isinstance(value, Mapping) or not {"field", "op"} <= set(value) <= {"field", "op", "value"}:
            raise QuestionError("where", f"{value!r:.200} is not {{'field', 'op', 'value'}}")
        return cls(value["field"], value["op"], value.get("value"))

    def matches(self, value: Any) -> bool:
        """Return whether an event passes whose field has *value* (None: absent)."""
        text = as_text(value)
        if text is None:
            return self.op in _ABSENT_MATCHES
        match self.op:
            case "eq":
                return bool(text == self.value)
            case "ne":
                return bool(text != self.value)
            case "in" | "not_in":
                # The values are sorted, and there may be a thousand of them.
                place = bisect_left(self.value, text)
                return (place < len(self.value) and self.value[place] == text) == (self.op == "in")
            case "contains":
                return bool(self.value in text)
            case "exists":
                return True
            case "not_exists":
                return False
            case _:
                number = as_number(value)
                return number is not None and _NUMERIC[self.op](number, self.value)

    def _texts(self, values: Any) -> tuple[str, ...]:
        if not isinstance(values, Collection) or isinstance(values, (str, bytes, Mapping)):
            raise QuestionError("where", f"{self.op} takes a list of values, not {self._shown}")
        listed: list[Any] = list(values)  # pyright: ignore[reportUnknownArgumentType]
        if len(listed) > _MAX_VALUES:
            raise QuestionError("where", f"{self.op} takes at most {_MAX_VALUES} values, not {len(listed)}")
        return tuple(sorted({self._text(value) for value in listed}))

    def _text(self, value: Any) -> str:
        text = as_text(value) if value is None or isinstance(value, (str, bool, int, float)) else None
        if text is None:
            raise QuestionError("where", f"{self.op} can't compare {self.field} with {value!r:.200}")
        return text

    @property
    def _shown(self) -> str:
        return f"{self.value!r:.200}"
