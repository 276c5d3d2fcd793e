"""Query parameters: their names, how their values are read, and their schemas in the OpenAPI document."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Final, cast
from urllib.parse import parse_qsl

from analytics_middleware.durations import PATTERN, read_duration
from analytics_middleware.store.filters import OPERATORS, QuestionError
from analytics_middleware.web import shape

MAX_FIELDS: Final = 500
"""The most fields of a query string; a retention alone may have 366 offsets."""
MAX_FILTERS: Final = 50

_WHOLE = re.compile(r"-?[0-9]{1,9}", re.ASCII)
_INT64 = range(-(2**63), 2**63)


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a query."""

    name: str
    about: str
    read: Callable[[str], Any]
    schema: dict[str, Any]
    to: str
    """The question's keyword for it; empty for a parameter that is accepted but has no effect."""
    repeated: bool = False
    required: bool = False


def text(name: str, about: str, to: str | None = None, *, required: bool = False, repeated: bool = False) -> Parameter:
    """Return a parameter that is any text."""
    return Parameter(name, about, str, {"type": "string"}, name if to is None else to, repeated, required)


def whole(name: str, about: str, least: int, most: int, to: str | None = None, *, repeated: bool = False) -> Parameter:
    """Return a parameter that is a whole number."""

    def read(value: str) -> int:
        if not _WHOLE.fullmatch(value) or not least <= int(value) <= most:
            raise ValueError(f"{value!r:.100} is not a whole number from {least} to {most}")
        return int(value)

    schema = {"type": "integer", "minimum": least, "maximum": most}
    return Parameter(name, about, read, schema, to or name, repeated)


def choice(name: str, about: str, choices: Sequence[str], *, required: bool = False) -> Parameter:
    """Return a parameter that is one of *choices*."""

    def read(value: str) -> str:
        if value not in choices:
            raise ValueError(f"{value!r:.100} is not one of {', '.join(choices)}")
        return value

    return Parameter(name, about, read, {"type": "string", "enum": list(choices)}, name, required=required)


def flag(name: str, about: str) -> Parameter:
    """Return a parameter that is true or false."""

    def read(value: str) -> bool:
        if value not in ("true", "false", "1", "0"):
            raise ValueError(f"{value!r:.100} is not true or false")
        return value in ("true", "1")

    return Parameter(name, about, read, {"type": "boolean"}, name)


def span(name: str, about: str) -> Parameter:
    """Return a parameter that is a length of time: ``30m``, ``24h``, ``7d``."""
    return Parameter(name, about, read_duration, {"type": "string", "pattern": PATTERN}, name)


def when(name: str, about: str, to: str) -> Parameter:
    """Return a parameter that is a date, or a time as in RFC 3339."""
    examples = ["2025-03-01", "2025-03-01T12:00:00Z"]
    return Parameter(name, about, _with_plus, {"type": "string", "examples": examples}, to)


def timestamp(name: str, about: str) -> Parameter:
    """Return a parameter that is a time as in RFC 3339."""

    def read(value: str) -> datetime:
        try:
            found = datetime.fromisoformat(_with_plus(value).upper())
        except ValueError:
            found = None
        if found is None or found.tzinfo is None:
            raise ValueError(f"{value!r:.100} is not a time with its zone, such as 2025-03-30T12:00:00Z")
        return found

    return Parameter(name, about, read, {"type": "string", "format": "date-time"}, name)


def _with_plus(time: str) -> str:
    # A plus sign that was not percent-encoded arrives as a space.
    return re.sub(r"(?<=T)(\S+) (?=\d\d:\d\d$)", r"\1+", time)


def filters(name: str) -> Parameter:
    """Return the parameter that is a JSON list of filters."""
    item = {
        "type": "object",
        "properties": {"field": {"type": "string"}, "op": {"type": "string", "enum": list(OPERATORS)}, "value": {}},
        "required": ["field", "op"],
        "additionalProperties": False,
    }
    schema = {
        "type": "string",
        "contentMediaType": "application/json",
        "contentSchema": {"type": "array", "maxItems": MAX_FILTERS, "items": item},
        "examples": ['[{"field": "country", "op": "eq", "value": "GB"}]'],
    }
    about = "Filters that must all hold, as JSON."
    return Parameter(name, about, _read_filters, schema, name)


def _read_filters(value: str) -> list[Any]:
    found = shape.decode(value.encode())
    if not isinstance(found, list) or len(found) > MAX_FILTERS:  # pyright: ignore[reportUnknownArgumentType]
        raise ValueError(f"must be a JSON list of at most {MAX_FILTERS} filters")
    listed = cast("list[Any]", found)
    for each in listed:
        values: Any = each.get("value") if isinstance(each, dict) else None  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        for scalar in values if isinstance(values, list) else [values]:  # pyright: ignore[reportUnknownVariableType]
            # Filters compare numbers as floats, and a larger one may not fit into a float.
            if isinstance(scalar, int) and scalar not in _INT64:
                raise ValueError("has a number of more than 64 bits")
    return listed


def parse(query: str, parameters: Iterable[Parameter]) -> dict[str, Any]:
    """Return the question's keywords for *query*. Raises `QuestionError`, which names the parameter."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise QuestionError("query", f"must be UTF-8 with at most {MAX_FIELDS} fields") from None
    known = {parameter.name: parameter for parameter in parameters}
    found: dict[str, list[Any]] = {}
    for name, value in pairs:
        parameter = known.get(name)
        if parameter is None:
            raise QuestionError(name[:100], f"is not a parameter here; there are {', '.join(known)}")
        if name in found and not parameter.repeated:
            raise QuestionError(name, "may be given only once")
        try:
            found.setdefault(name, []).append(parameter.read(value))
        except ValueError as error:
            raise QuestionError(name, str(error)) from None
    for name, parameter in known.items():
        if parameter.required and name not in found:
            raise QuestionError(name, "is required")
    return {
        known[name].to: values if known[name].repeated else values[0]
        for name, values in found.items()
        if known[name].to
    }


def renamed(error: QuestionError, parameters: Iterable[Parameter]) -> QuestionError:
    """Return *error* with the name of the query's parameter in place of the question's keyword."""
    name = next((each.name for each in parameters if each.to == error.field), error.field)
    return QuestionError(name, error.message)
