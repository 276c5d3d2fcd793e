"""Giving records to the store in bulk: sealed at once, each once, none of somebody erased."""

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
"""Events that become one file of the embedded store."""
_AT_ONCE: Final = 5000
"""Records that a store is given: one elsewhere may be asked for them in a single question."""


class Tally:
    """What became of the lines of an import."""

    def __init__(self) -> None:
        self.imported = 0
        self.people = 0
        """Identities, traits, erasures and first dates that were taken."""
        self.known = 0
        """Events that the store, or a line before, had already; the embedded store alone tells."""
        self.left: Counter[str] = Counter()
        """What makes no event, by reason."""
        self.refused: Counter[str] = Counter()
        """What is wrong, or may not be kept, by reason."""


class Importer:
    """Takes items in. *tombstones* are the log's: who was erased, also before there was a store."""

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
        """Users who are erased, each with an anonymous id that the files say was theirs."""
        self.tally = Tally()

    def add(self, items: Iterable[Item]) -> None:
        """Take *items* in; those of the last batch wait for `finish`."""
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
        """Have the store learn from *event*, which is refused, whose browser it was: what that did goes as well."""
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
            # The store may be younger than the erasure.
            self._erased.add(user_id)
            self._ahead.append(Erase(user_id=user_id, timestamp=at))
        self._ahead.append(Identify(user_id=user_id, anon_id=anon_id, timestamp=at))
        if len(self._ahead) >= _BATCH:
            self.flush()

    def finish(self) -> None:
        """Give the store all that waits, first dates at last: keeping them rewrites files."""
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
        """Give the store what waits: whose anonymous events go first, then events, then what is known of people."""
        if self._ahead:
            # Nothing of the files: they are not counted.
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
            # It takes what it knows already for the same, and does not tell.
            self.tally.imported += self._apply(events)
            return
        taken = self._store.append_table(table_of(events))
        self.tally.imported += taken.taken
        self.tally.known += taken.known
        self.tally.refused += Counter(taken.refused)

    def _apply(self, records: Sequence[Record]) -> int:
        """Give *records* to the store; return how many it took."""
        before = self._store.refused
        for start in range(0, len(records), _AT_ONCE):
            self._store.apply(records[start : start + _AT_ONCE])
        refused = self._store.refused - before
        if refused:
            self.tally.refused["erased"] += refused
        return len(records) - refused
