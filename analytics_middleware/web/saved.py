"""What people save: funnels and filters by name, and annotations of days. All is checked before it is kept."""

from datetime import date
from typing import Annotated, Any, Final, Literal, TypeVar
from uuid import uuid4

import msgspec

from analytics_middleware.analytics import Analytics
from analytics_middleware.durations import PATTERN, read_duration
from analytics_middleware.outbox.shelf import PrivateShelf, SharedShelf, Shelf
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.properties import MAX_NAME
from analytics_middleware.store import questions as q
from analytics_middleware.store.filters import Filter, QuestionError, check_field
from analytics_middleware.store.parameters import check_year
from analytics_middleware.store.questions.journeys import MAX_STEPS
from analytics_middleware.web.parameters import MAX_FILTERS

MOST: Final = 100
"""How many funnels are kept at most, and how many filters."""
MOST_ANNOTATIONS: Final = 500
_MAX_TEXT: Final = 200

Name = Annotated[str, msgspec.Meta(pattern=r"\S", max_length=100)]
_Step = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Window = Annotated[str, msgspec.Meta(pattern=PATTERN)]
_Period = Literal["today", "yesterday", "7d", "30d", "90d", "365d", "month", "last-month", "custom"]


class SavedFunnel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A funnel under a name."""

    name: Name
    steps: Annotated[tuple[_Step, ...], msgspec.Meta(min_length=1, max_length=MAX_STEPS)]
    window: _Window | None = None
    order: q.FunnelOrder = "ordered"
    breakdown: Annotated[str, msgspec.Meta(max_length=MAX_NAME)] | None = None


class SavedFilter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Filters under a name, with or without dates."""

    name: Name
    where: Annotated[tuple[dict[str, Any], ...], msgspec.Meta(max_length=MAX_FILTERS)] = ()
    period: _Period | None = None
    from_: date | None = msgspec.field(name="from", default=None)
    to: date | None = None


class Annotation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened on a day."""

    day: date
    text: Annotated[str, msgspec.Meta(pattern=r"\S", max_length=_MAX_TEXT)]
    id: Annotated[str, msgspec.Meta(max_length=64, extra_json_schema={"readOnly": True})] = ""
    """Given by the server."""


Named = SavedFunnel | SavedFilter
_T = TypeVar("_T", bound=SavedFunnel | SavedFilter | Annotation)

_KINDS: Final[dict[type, str]] = {SavedFunnel: "funnel", SavedFilter: "filter", Annotation: "annotation"}


class Saved:
    """What people have saved on one shelf.

    Saving raises `QuestionError` or `msgspec.ValidationError` for what can't be saved.
    """

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def funnels(self) -> list[SavedFunnel]:
        """Return the funnels by name."""
        return sorted(self._all(SavedFunnel), key=lambda each: each.name.casefold())

    def filters(self) -> list[SavedFilter]:
        """Return the filters by name."""
        return sorted(self._all(SavedFilter), key=lambda each: each.name.casefold())

    def annotations(self, first: date = date.min, last: date = date.max) -> list[Annotation]:
        """Return the annotations of the days from *first* to *last*, the earliest first."""
        found = [each for each in self._all(Annotation) if first <= each.day <= last]
        return sorted(found, key=lambda each: (each.day, each.id))

    def save(self, what: Named) -> None:
        """Keep *what* under its name, in place of what had that name."""
        if isinstance(what, SavedFunnel):
            if what.breakdown is not None:
                check_field(what.breakdown, "breakdown")
            if what.window is not None:
                _check_window(what.window)
        else:
            for each in what.where:
                Filter.of(each)
            for name, day in (("from", what.from_), ("to", what.to)):
                if day is not None:
                    check_year(name, day)
        self._put(what, what.name, MOST)

    def rename(self, kind: type[Named], old: str, new: str) -> None:
        """Give what is called *old* the name *new*, which nothing of the same kind may have yet."""
        kept = {each.name: each for each in self._all(kind)}
        if old not in kept:
            raise QuestionError("name", f"nothing is called {old!r:.120}")
        if old != new and new in kept:
            raise QuestionError("name", f"there is a {_KINDS[kind]} called {new!r:.120} already")
        made = msgspec.structs.replace(kept[old], name=msgspec.convert(new, Name))
        self._put(made, new, MOST, instead_of=old)

    def annotate(self, annotation: Annotation) -> Annotation:
        """Keep a new annotation; return it with its id."""
        check_year("day", annotation.day)
        made = msgspec.structs.replace(annotation, id=uuid4().hex)
        self._put(made, made.id, MOST_ANNOTATIONS)
        return made

    def delete(self, kind: type[Named | Annotation], key: str) -> bool:
        """Delete the funnel or filter called *key*, or the annotation with that id; return whether there was one."""
        return self.shelf.remove(_KINDS[kind], key)

    def _all(self, kind: type[_T]) -> list[_T]:
        found: list[_T] = []
        for value in self.shelf.all(_KINDS[kind]).values():
            try:
                found.append(msgspec.json.decode(value, type=kind))
            except msgspec.MsgspecError:
                # Saved by another version.
                continue
        return found

    def _put(self, what: Named | Annotation, key: str, most: int, instead_of: str | None = None) -> None:
        kind = _KINDS[type(what)]
        if not self.shelf.put(kind, key, msgspec.json.encode(what), most, instead_of=instead_of):
            raise QuestionError("name", f"there are {most} {kind}s, the most that are kept; delete one first")


def _check_window(window: str) -> None:
    # msgspec's pattern lets a newline at the end through.
    try:
        read_duration(window)
    except ValueError as error:
        raise QuestionError("window", str(error)) from None


def saved_of(analytics: Analytics) -> Saved:
    """Return the one `Saved` of *analytics*: in its data directory, or else in the memory of this process."""

    def make() -> Saved:
        outbox = analytics.outbox
        return Saved(SharedShelf(outbox.database) if isinstance(outbox, SqliteOutbox) else PrivateShelf())

    return analytics.parts.get(Saved, make)
