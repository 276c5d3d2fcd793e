"""Copying everything in the embedded store to another store, resuming where an earlier run stopped."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import msgspec

from analytics_middleware.event import Record
from analytics_middleware.outbox.shelf import Shelf
from analytics_middleware.store.base import FirstSeen, Store
from analytics_middleware.store.duckdb import DuckDBStore
from analytics_middleware.store.questions import Volume

T = TypeVar("T")

_KIND = "copy"
_MOST = 16
"""Destinations whose progress is remembered."""
_BATCH = 5000
_TICK = timedelta(microseconds=1)


class Destination(Protocol):
    """Where a copy goes: any store, or a hub."""

    def apply(self, records: Sequence[Record]) -> None:
        """Store *records*; records already known count once."""
        ...


@runtime_checkable
class TakesFirstSeen(Protocol):
    """A store that accepts first dates of deleted events."""

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Store first dates, unless earlier ones are known."""
        ...


class Position(msgspec.Struct):
    """How far a copy has come: the last event copied, and the number copied so far."""

    at: datetime
    event_id: str
    copied: int


class Month(NamedTuple):
    """The number of a month's events in both stores."""

    time: datetime
    here: int
    there: int


class Copy:
    """Copies the contents of *source* to *destination*; *shelf* keeps the progress under *name*."""

    def __init__(self, source: DuckDBStore, destination: Destination, shelf: Shelf, name: str) -> None:
        self._source = source
        self._destination = destination
        self._shelf = shelf
        self._name = name

    @property
    def position(self) -> Position | None:
        """Where the last run stopped, None before the first run."""
        kept = self._shelf.get(_KIND, self._name)
        return None if kept is None else msgspec.json.decode(kept, type=Position)

    def restart(self) -> None:
        """Forget where the last run stopped; events copied again count once."""
        self._shelf.remove(_KIND, self._name)

    def events(self, advance: Callable[[int], object]) -> int:
        """Copy the events after the position and return how many; call *advance* with the size of each batch."""
        start = self.position
        copied = 0 if start is None else start.copied
        before = copied
        after = None if start is None else (start.at, start.event_id)
        for batch in _batches(self._source.events(after=after)):
            self._destination.apply(batch)
            copied += len(batch)
            position = Position(batch[-1].timestamp, batch[-1].event_id, copied)
            # Only after the destination has them: a crash in between copies them again, which counts once.
            self._shelf.put(_KIND, self._name, msgspec.json.encode(position), _MOST)
            advance(len(batch))
        return copied - before

    def people(self) -> int:
        """Copy traits, ties and erasures, after the events, and return how many."""
        count = 0
        for batch in _batches(self._source.people()):
            self._destination.apply(batch)
            count += len(batch)
        return count

    def first_seen(self) -> int | None:
        """Copy first dates of deleted events and return how many; None if the destination doesn't take them."""
        if not isinstance(self._destination, TakesFirstSeen):
            return None
        count = 0
        for batch in _batches(self._source.first_seen()):
            self._destination.apply_first_seen(batch)
            count += len(batch)
        return count

    def months(self, other: Store | None, now: datetime) -> list[Month]:
        """Return the number of each month's events here and in *other*, if there is one."""
        first = next(self._source.events(), None)
        if first is None:
            return []
        last = max(now, first.timestamp) + timedelta(days=1)
        question = Volume(start=first.timestamp, end=last + _TICK, bucket="month", bots=True)
        [here] = self._source.volume(question, now=now)
        there = here if other is None else other.volume(question, now=now)[0]
        return [
            Month(own.time, own.count, theirs.count)
            for own, theirs in zip(here.answer, there.answer, strict=True)
            if own.count
        ]


def _batches(items: Iterable[T]) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
