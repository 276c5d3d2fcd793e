"""The number in an answer that an alert is about: ``visitors``, ``count``, ``-1.conversion``, ``[currency=GBP].total``.

Such a path has steps joined by dots. A name is a field; of a list, the sum of the field over its items. A whole number
is the index of an item, from 0, or from the end if negative. ``[field=value]`` keeps the items whose field has that
value. The path is checked against the answer's type before any question is asked.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, cast

import msgspec.inspect as mi

_PATH: Final = re.compile(r"(\[[a-z_]+=[^\]]*\]|-?[0-9]{1,4}|[a-z_]+)(?:\.|\Z)")
_SELECTION: Final = re.compile(r"\[([a-z_]+)=([^\]]*)\]")


class Number:
    """The path from an answer of type *answer* to a number in it. Raises `ValueError`, which says what is there."""

    def __init__(self, path: str, answer: Any) -> None:
        self.path = path
        self._steps: list[str] = []
        at = 0
        while at < len(path):
            match = _PATH.match(path, at)
            if match is None:
                raise ValueError(f"{path!r:.100} can't be read at {path[at:]!r:.100}")
            self._steps.append(match[1])
            at = match.end()
        if path.endswith(".") or not path:
            raise ValueError(f"{path!r:.100} names no number")
        _check(self._steps, mi.type_info(answer))

    def __repr__(self) -> str:
        return f"<Number {self.path}>"

    def of(self, answer: Any) -> float | None:
        """Return the number, or None if there is none, such as a bounce rate without visitors."""
        found = answer
        for step in self._steps:
            found = _taken(found, step)
        if isinstance(found, list):
            known = [each for each in _flat(cast("list[Any]", found)) if each is not None]
            return None if found and not known else float(sum(known))
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            return float(found)
        return None


def _taken(found: Any, step: str) -> Any:
    if isinstance(found, list):
        items = cast("list[Any]", found)
        if selection := _SELECTION.fullmatch(step):
            return [each for each in items if str(_field(each, selection[1])) == selection[2]]
        if step.lstrip("-").isdigit():
            place = int(step)
            return items[place] if -len(items) <= place < len(items) else None
        return [_taken(each, step) for each in items]
    return None if found is None else _field(found, step)


def _field(item: Any, name: str) -> Any:
    return cast("Any", item).get(name) if isinstance(item, Mapping) else getattr(item, name)


def _flat(items: Iterable[Any]) -> Iterable[Any]:
    for each in items:
        if isinstance(each, list):
            yield from _flat(cast("list[Any]", each))
        else:
            yield each


def _check(steps: list[str], kind: mi.Type) -> None:
    one_currency = False
    for step in steps:
        kind = _without_none(kind)
        if isinstance(kind, mi.ListType):
            if selection := _SELECTION.fullmatch(step):
                _field_type(_without_none(kind.item_type), selection[1])
                one_currency = one_currency or selection[1] == "currency"
                continue
            item = _without_none(kind.item_type)
            if step.lstrip("-").isdigit():
                kind = item
                continue
            if "currency" in _names(item) and not one_currency:
                raise ValueError("amounts in several currencies are never added: say [currency=GBP] first")
            kind = item
        kind = _field_type(_without_none(kind), step)
    kind = _without_none(kind)
    if not isinstance(kind, (mi.IntType, mi.FloatType)):
        names = _names(_without_none(kind.item_type) if isinstance(kind, mi.ListType) else kind)
        raise ValueError("it leads to no number" + (f"; there are {', '.join(names)}" if names else ""))


def _field_type(kind: mi.Type, name: str) -> mi.Type:
    if isinstance(kind, mi.ListType):
        return _field_type(_without_none(kind.item_type), name)
    for field in getattr(kind, "fields", ()):
        if field.name == name:
            return cast("mi.Type", field.type)
    raise ValueError(f"there is no {name!r:.100} in it; there are {', '.join(_names(kind)) or 'no fields'}")


def _names(kind: mi.Type) -> list[str]:
    return [field.name for field in getattr(kind, "fields", ())]


def _without_none(kind: mi.Type) -> mi.Type:
    if isinstance(kind, mi.UnionType):
        rest = [each for each in kind.types if not isinstance(each, mi.NoneType)]
        return rest[0] if len(rest) == 1 else kind
    return kind
