"""Moving over: everything that the embedded store holds, into another store; from where it stopped, if it did."""

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
"""Destinations that are remembered."""
_BATCH = 5000
_TICK = timedelta(microseconds=1)


class Destination(Protocol):
    """Where a copy goes: any store, and a hub."""

    def apply(self, records: Sequence[Record]) -> None:
        """Take in *records*; those that are known count once."""
        ...


@runtime_checkable
class TakesFirstSeen(Protocol):
    """A store that can be told when somebody was first seen, of events that are deleted."""

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Take in first dates; earlier ones that are known stay."""
        ...


class Position(msgspec.Struct):
    """How far a copy has come: the last event that the destination has, and how many it was given."""

    at: datetime
    event_id: str
    copied: int


class Month(NamedTuple):
    """How many events of a month there are in both stores."""

    time: datetime
    here: int
    there: int


class Copy:
    """Copies what *source* holds to *destination*, whose progress is kept on *shelf* under *name*."""

    def __init__(self, source: DuckDBStore, destination: Destination, shelf: Shelf, name: str) -> None:
        self._source = source
        self._destination = destination
        self._shelf = shelf
        self._name = name

    @property
    def position(self) -> Position | None:
        """Where the last run stopped, None before the first."""
        kept = self._shelf.get(_KIND, self._name)
        return None if kept is None else msgspec.json.decode(kept, type=Position)

    def restart(self) -> None:
        """Forget where the last run stopped; what is sent again counts once."""
        self._shelf.remove(_KIND, self._name)

    def events(self, advance: Callable[[int], object]) -> int:
        """Copy the events after the position, and return how many; *advance* is called with the number of each step."""
        start = self.position
        copied = 0 if start is None else start.copied
        before = copied
        after = None if start is None else (start.at, start.event_id)
        for batch in _batches(self._source.events(after=after)):
            self._destination.apply(batch)
            copied += len(batch)
            position = Position(batch[-1].timestamp, batch[-1].event_id, copied)
            # After the destination has them: a crash in between copies them twice, which counts once.
            self._shelf.put(_KIND, self._name, msgspec.json.encode(position), _MOST)
            advance(len(batch))
        return copied - before

    def people(self) -> int:
        """Copy traits, ties and erasures, which go after the events, and return how many."""
        count = 0
        for batch in _batches(self._source.people()):
            self._destination.apply(batch)
            count += len(batch)
        return count

    def first_seen(self) -> int | None:
        """Copy first dates that events no longer tell, and return how many; None when the destination takes none."""
        if not isinstance(self._destination, TakesFirstSeen):
            return None
        count = 0
        for batch in _batches(self._source.first_seen()):
            self._destination.apply_first_seen(batch)
            count += len(batch)
        return count

    def months(self, other: Store | None, now: datetime) -> list[Month]:
        """Return how many events of each month there are here and in *other*, None for no other."""
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
