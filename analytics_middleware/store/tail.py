"""The tail: the records in the log that are not sealed yet. Questions and sealing process them with the same code."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from sqlite3 import Connection
from typing import Any, NamedTuple

from analytics_middleware.event import Event, Identify, Record
from analytics_middleware.store._arrays import Hashes, Mask, np, pa, pc
from analytics_middleware.store._records import FUTURE
from analytics_middleware.store._sources import numbers_of
from analytics_middleware.store.catalogue import State
from analytics_middleware.store.columns import event_hashes
from analytics_middleware.store.identities import Identities, Moment
from analytics_middleware.store.identity import identity, is_cookieless
from analytics_middleware.store.instants import micros
from analytics_middleware.store.segments import Segments

_FUTURE = FUTURE // timedelta(microseconds=1)


class TableCounts(NamedTuple):
    """The outcome of adding a table: its rows by outcome."""

    taken: int
    known: int
    """Sealed already, or duplicates within the table."""
    refused: dict[str, int]
    """Counts by reason."""


class Tail:
    """Adds records to the catalogue's state; refuses known, erased and future ones."""

    def __init__(self, connection: Connection, segments: Segments, state: State) -> None:
        self.identities = Identities(connection)
        self.refused = 0
        self.refused_events = 0
        self._segments = segments
        self._state = state
        self._hashes: set[int] = set()
        self._events: list[Event] = []

    def take(self, connection: Connection, records: Sequence[Record], now: int) -> list[Event]:
        """Add *records* at the time *now*; return the events among them that count, as far as is known."""
        events = [record for record in records if isinstance(record, Event)]
        hashes = event_hashes([event.event_id for event in events])
        known, keys = self._known(hashes).tolist(), hashes.tolist()
        self.identities.prefetch(connection, {event.anon_id for event in events if event.anon_id is not None})
        taken: list[Event] = []
        at = 0
        for record in records:
            if isinstance(record, Event):
                if not known[at] and self._add(connection, record, keys[at], now):
                    taken.append(record)
                at += 1
            elif isinstance(record, Identify):
                if micros(record.timestamp) > now + _FUTURE or not self.identities.add_identify(connection, record):
                    self.refused += 1
            elif (user_id := identity(record.user_id)) is not None:
                self.identities.erase(connection, user_id, micros(record.timestamp), self._later)
                # Refused, because it is erased, but it notes whose the anonymous id was.
                told = Identify(user_id=user_id, anon_id=record.anon_id, timestamp=record.timestamp)
                self.identities.add_identify(connection, told)
        self._events += taken
        return taken

    def take_table(self, connection: Connection, table: Any, now: int) -> tuple[Hashes, Mask, TableCounts]:
        """Add the rows of *table*; return the hashes of their event ids, which of them count, and the counts."""
        hashes = event_hashes(table.column("event_id").to_pylist())
        times = numbers_of(table.column("timestamp"), "timestamp")
        old, ahead = times < self._state.horizon, times > now + _FUTURE
        new = ~self._known(hashes)
        keep = new & ~old & ~ahead
        refused = {"too old": int((new & old).sum()), "of the future": int((new & ahead & ~old).sum()), "erased": 0}
        # Only rows with both ids tie ids together. If anybody is erased, every row must be checked.
        names = ["user_id", "anon_id", "event_id"]
        if self.identities.erased_users:
            rows = np.flatnonzero(keep)
        else:
            keep = _first_of_each(hashes, keep)
            look = pc.and_(pc.is_valid(table.column("user_id")), pc.is_valid(table.column("anon_id"))).to_numpy()
            rows = np.flatnonzero(look & keep)
        columns = [table.column(name).take(pa.array(rows)).to_pylist() for name in names]
        self.identities.prefetch(connection, {anon_id for anon_id in columns[1] if anon_id is not None})
        taken: set[int] = set()
        for index, key, user_id, anon_id, event_id in zip(rows.tolist(), hashes[rows].tolist(), *columns, strict=True):
            if key in taken:
                keep[index] = False
            elif self.identities.add_event(connection, user_id, anon_id, int(times[index]), event_id):
                taken.add(key)
            else:
                keep[index] = False
                refused["erased"] += 1
        known = len(keep) - int(keep.sum()) - sum(refused.values())
        counted = {reason: count for reason, count in refused.items() if count}
        return hashes, keep, TableCounts(int(keep.sum()), known, counted)

    def surviving(self) -> list[Event]:
        """Return the added events that no later record erased."""
        if not self.identities.erasures:
            return self._events
        gone = self.identities.gone_until
        return [
            event
            for event in self._events
            if micros(event.timestamp) > gone(identity(event.user_id), identity(event.anon_id))
        ]

    def _add(self, connection: Connection, event: Event, key: int, now: int) -> bool:
        at = micros(event.timestamp)
        if key in self._hashes:
            return False
        counts = self._state.horizon <= at <= now + _FUTURE and self.identities.add_event(
            connection, identity(event.user_id), identity(event.anon_id), at, event.event_id
        )
        if counts:
            self._hashes.add(key)
        else:
            self.refused += 1
            self.refused_events += 1
        return counts

    def _known(self, hashes: Hashes) -> Mask:
        """Return which of the events with *hashes* are sealed."""
        known = np.zeros(len(hashes), np.bool_)
        if len(hashes):
            # Sorted, so that the lookup goes through each file once.
            order = np.argsort(hashes)
            for segment in self._state.segments:
                known[order] |= self._segments.known(segment.file, hashes[order])
        return known

    def _later(self, user_id: str, until: int) -> Mapping[str, Moment]:
        """Return when sealed events after *until* first show each anonymous id with *user_id*."""
        found: dict[str, Moment] = {}
        for segment in self._state.segments:
            if segment.max_time <= until:
                continue
            table = self._segments.read(segment.file, ["user_id", "anon_id", "timestamp", "event_id"])
            wanted = pc.equal(table.column("user_id").cast(pa.string()), user_id)
            table = table.filter(pc.and_(wanted, pc.is_valid(table.column("anon_id"))))
            for row in table.set_column(2, "timestamp", table.column("timestamp").cast(pa.int64())).to_pylist():
                moment = (row["timestamp"], row["event_id"])
                if moment[0] > until:
                    found[row["anon_id"]] = min(found.get(row["anon_id"], moment), moment)
        return {anon_id: moment for anon_id, moment in found.items() if not is_cookieless(anon_id)}


def _first_of_each(hashes: Hashes, among: Mask) -> Mask:
    """Return which rows *among* those given are the first with their hash."""
    rows = np.flatnonzero(among)
    first = np.zeros(len(hashes), np.bool_)
    first[rows[np.unique(hashes[rows], return_index=True)[1]]] = True
    return first
