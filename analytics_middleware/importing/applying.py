"""Writes records to the store in bulk. Duplicates and records of erased users are left out."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

from analytics_middleware.event import Erase, Event, Identify, Record
from analytics_middleware.importing.records import Item, Left, Refused
from analytics_middleware.outbox.base import LeaseLost
from analytics_middleware.outbox.tombstones import ANON, USER, Tombstones
from analytics_middleware.store import DuckDBStore, FirstSeen
from analytics_middleware.store.base import Portable
from analytics_middleware.store.columns import table_of
from analytics_middleware.store.identity import identity, is_cookieless

_BATCH: Final = 50_000
"""Events per file of the embedded store."""
_AT_ONCE: Final = 5000
"""Records per call of `Store.apply`: a remote store may ask for them in a single query."""


class Tally:
    """What became of the lines of an import."""

    def __init__(self) -> None:
        self.imported = 0
        self.people = 0
        """Identities, traits, erasures and first dates that were imported."""
        self.known = 0
        """Events that were already in the store or in an earlier line; only the embedded store tells."""
        self.left: Counter[str] = Counter()
        """Lines that make no event, by reason."""
        self.refused: Counter[str] = Counter()
        """Records that are wrong or must not be kept, by reason."""


class Importer:
    """Imports items. *tombstones* are those of the log: users who were erased, even before there was a store."""

    def __init__(
        self,
        store: Portable,
        tombstones: Tombstones,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> None:
        self._store = store
        self._tombstones = tombstones
        self._start = start
        self._end = end
        self._events: list[Event] = []
        self._people: list[Identify | Erase] = []
        self._seen: list[FirstSeen] = []
        self._ahead: list[Identify | Erase] = []
        self._erased: set[str] = set()
        self._revealed: set[tuple[str, str]] = set()
        """Erased users, each with an anonymous id that was theirs according to the files."""
        self.tally = Tally()

    def add(self, items: Iterable[Item]) -> None:
        """Import *items*. The last ones wait in a batch for `finish`."""
        for item in items:
            if isinstance(item, Event):
                self._add_event(item)
            elif isinstance(item, Refused):
                self.tally.refused[item.reason] += 1
            elif isinstance(item, Left):
                self.tally.left[item.reason] += item.events
            elif isinstance(item, FirstSeen):
                self._seen.append(item)
            else:
                self._people.append(item)
                if len(self._people) >= _BATCH:
                    self.flush()

    def _add_event(self, event: Event) -> None:
        if (self._start is not None and event.timestamp < self._start) or (
            self._end is not None and event.timestamp >= self._end
        ):
            self.tally.left["out of range"] += 1
        elif self._tombstones.refuses(event.user_id, event.anon_id, event.timestamp.timestamp()):
            self.tally.refused["erased"] += 1
            self._reveal(event)
        else:
            self._events.append(event)
            if len(self._events) >= _BATCH:
                self.flush()

    def _reveal(self, event: Event) -> None:
        """Tell the store that the browser of *event* was an erased user's, so that its anonymous events go as well."""
        user_id, anon_id = event.user_id, identity(event.anon_id)
        if user_id is None or anon_id is None or is_cookieless(anon_id) or (user_id, anon_id) in self._revealed:
            return
        until = self._tombstones.until(USER, user_id)
        if until is None:
            return
        self._revealed.add((user_id, anon_id))
        self._tombstones.set(ANON, anon_id, until)
        at = datetime.fromtimestamp(until, UTC)
        if user_id not in self._erased:
            # If the store was created after the erasure, it doesn't know of it yet.
            self._erased.add(user_id)
            self._ahead.append(Erase(user_id=user_id, timestamp=at))
        self._ahead.append(Identify(user_id=user_id, anon_id=anon_id, timestamp=at))
        if len(self._ahead) >= _BATCH:
            self.flush()

    def finish(self) -> None:
        """Write everything that waits. First dates are written last, because storing them rewrites files."""
        self.flush()
        if not self._seen:
            return
        try:
            self._store.apply_first_seen(self._seen)
        except LeaseLost:
            self.tally.refused["first dates, which are taken when no other process serves the store"] += len(self._seen)
        else:
            self.tally.people += len(self._seen)
        self._seen.clear()

    def flush(self) -> None:
        """Write what waits: what was revealed about erased users first, then events, then identities and traits."""
        if self._ahead:
            # These records are not from the files, so they are not counted.
            for start in range(0, len(self._ahead), _AT_ONCE):
                self._store.apply(self._ahead[start : start + _AT_ONCE])
            self._ahead.clear()
        if self._events:
            self._take(self._events)
            self._events.clear()
        if self._people:
            self.tally.people += self._apply(self._people)
            self._people.clear()

    def _take(self, events: list[Event]) -> None:
        if not isinstance(self._store, DuckDBStore):
            # Such a store drops duplicates without counting them.
            self.tally.imported += self._apply(events)
            return
        taken = self._store.append_table(table_of(events))
        self.tally.imported += taken.taken
        self.tally.known += taken.known
        self.tally.refused += Counter(taken.refused)

    def _apply(self, records: Sequence[Record]) -> int:
        """Write *records* to the store and return how many it accepted."""
        before = self._store.refused
        for start in range(0, len(records), _AT_ONCE):
            self._store.apply(records[start : start + _AT_ONCE])
        refused = self._store.refused - before
        if refused:
            self.tally.refused["erased"] += refused
        return len(records) - refused
