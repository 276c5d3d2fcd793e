"""A frame: the arrays that a question needs, at one consistent point. Immutable, except that columns load lazily."""

from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Final, TypeVar

from analytics_middleware.store._arrays import NEVER, Codes, Int32s, Int64s, Mask, NDArray, Rows, np
from analytics_middleware.store._sources import NUMERIC, bots
from analytics_middleware.store._tables import Table
from analytics_middleware.store._vocabulary import Vocabularies
from analytics_middleware.store.actors import Actors, earliest
from analytics_middleware.store.columns import COOKIELESS

T = TypeVar("T")

_SELECTIONS: Final = 3


class Selections:
    """A cache of recent selections: the questions of one page mostly select the same events."""

    def __init__(self, lock: AbstractContextManager[Any]) -> None:
        self._lock = lock
        self._found: OrderedDict[Any, Any] = OrderedDict()

    def get(self, key: Any, select: Callable[[], T]) -> T:
        """Return the selection cached under *key*, or the result of *select*."""
        with self._lock:
            if key in self._found:
                self._found.move_to_end(key)
                known: T = self._found[key]
                return known
        found = select()
        with self._lock:
            self._found[key] = found
            while len(self._found) > _SELECTIONS:
                self._found.popitem(last=False)
        return found

    def clear(self) -> None:
        """Empty the cache."""
        with self._lock:
            self._found.clear()


class Frame:
    """Tables of events, each visitor in exactly one of them, and who the visitors are."""

    def __init__(
        self,
        *,
        version: int,
        tables: list[Table],
        compacted: int,
        actors: Actors,
        owners: Int32s,
        gone_until: Int64s | None,
        horizon: int,
        vocabularies: Vocabularies,
        changed_traits: Mapping[tuple[str, str], str | None],
    ) -> None:
        self.version = version
        self.tables = [table for table in tables if len(table)]
        self.actors = actors
        self.owners = owners
        self.kinds: NDArray[np.uint8] = actors.kinds[: len(owners)]
        self.horizon = horizon
        self.vocabularies = vocabularies
        self.changed_traits = changed_traits
        """Traits, as JSON, changed by records that are not sealed yet; None for those removed."""
        self.traits: dict[str, Int32s] = {}
        """For each trait that a question has used, the code of its value by visitor."""
        self.lock = vocabularies.lock
        self.widths: dict[str, int] = {}
        """The number of codes of fields in compacted segments."""
        self._gone_until = gone_until
        self._changed = [table for table in tables[compacted:] if len(table)]
        self._first: dict[bool, Int64s] = {}
        self._bots: dict[int, Mask | None] = {}
        self._codes: dict[tuple[int, str], Int32s] = {}
        self.selections = Selections(self.lock)
        self.answers: dict[Any, Any] = {}
        """Answers given so far; valid as long as the frame."""

    @property
    def count(self) -> int:
        """How many visitors are numbered."""
        return len(self.owners)

    def cookieless(self, who: NDArray[Any]) -> Mask:
        """Return which of *who* are cookieless; nobody is not."""
        found: Mask = np.append(self.kinds == COOKIELESS, np.False_)[who]
        return found

    @property
    def has_cookieless(self) -> bool:
        """Whether any visitor is cookieless."""
        return bool((self.kinds == COOKIELESS).any())

    def texts(self, field: str) -> tuple[Int32s, list[str]]:
        """Return the index of each code's text, -1 when absent, and the texts of *field*."""
        with self.lock:
            return self.vocabularies[field].texts()

    def bots(self, table: Table) -> Mask | None:
        """Return which rows of *table* are bot events, or None if none are."""
        key = id(table)
        with self.lock:
            if key not in self._bots:
                self._bots[key] = bots(table.source, self.vocabularies, self.kinds)
            return self._bots[key]

    def visible(self, table: Table, *, with_bots: bool) -> Mask | None:
        """Return which rows of *table* a question may see, None for all."""
        mask = table.alive
        found = None if with_bots else self.bots(table)
        if found is not None:
            mask = ~found if mask is None else mask & ~found
        if self.horizon > 0:
            young = table.time >= self.horizon
            mask = young if mask is None else mask & young
        return mask

    def codes(self, table: Table, field: str) -> Codes:
        """Return the codes of *field* for each row of *table*."""
        if field.startswith("traits."):
            return np.append(self.traits[field], np.int32(0))[table.who]
        with self.lock:
            if field not in NUMERIC:
                return table.source.codes(field)
            # Numbers seldom repeat, so their codes are kept for this frame only.
            key = (id(table), field)
            if key not in self._codes:
                distinct, places = np.unique(table.source.numbers(field), return_inverse=True)
                tokens = [None if value != value else value for value in distinct.tolist()]
                self._codes[key] = self.vocabularies[field].codes(tokens)[places]
            return self._codes[key]

    def property_names(self, table: Table, rows: Rows | None) -> Counter[str]:
        """Return how many of *rows* of *table* (None: all) have each property."""
        with self.lock:
            return table.source.property_names(np.arange(len(table)) if rows is None else rows)

    def numbers(self, table: Table, field: str) -> NDArray[Any]:
        """Return the values of a numeric *field* for each row of *table*."""
        with self.lock:
            return table.source.numbers(field)

    def first(self, *, with_bots: bool) -> Int64s:
        """Return the time of each visitor's first event ever, `NEVER` without one."""
        with self.lock:
            if with_bots not in self._first:
                self._first[with_bots] = self._find_first(with_bots=with_bots)
            return self._first[with_bots]

    def _find_first(self, *, with_bots: bool) -> Int64s:
        actors = self.actors
        times = actors.first if with_bots else actors.first_human
        if self._gone_until is not None:
            times = np.where(times <= self._gone_until[: len(times)], NEVER, times)
        first = earliest(self.count, self.owners[: len(times)], times)
        for table in self._changed:
            mask = table.who >= 0
            found = None if with_bots else self.bots(table)
            if found is not None:
                mask &= ~found
            if table.alive is not None:
                mask &= table.alive
            np.minimum.at(first, table.who[mask], table.time[mask])
        return first

    def load_trait(self, field: str, values: Sequence[str | None], numbers: Int32s) -> None:
        """Set trait *field* of the users with *numbers* to *values*, which are JSON."""
        codes = np.zeros(self.count, np.int32)
        known = (numbers >= 0) & (numbers < self.count)
        codes[numbers[known]] = self.vocabularies[field].codes(values)[known]
        self.traits[field] = codes
