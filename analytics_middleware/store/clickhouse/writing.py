"""Storing records: new ones are inserted as one block, known and erased ones left out.

Every insert may be repeated: a row replaces its earlier copy, and data derived from events (who is who, when somebody
was first seen) is a minimum, which repetition doesn't change. The ids that mark events as known are written last, so
an insert interrupted by a crash is done again.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from itertools import groupby
from typing import Any

from analytics_middleware.event import Erase, Event, Identify, Record
from analytics_middleware.store._records import FUTURE
from analytics_middleware.store.base import FirstSeen
from analytics_middleware.store.clickhouse.connection import Connection
from analytics_middleware.store.clickhouse.erasing import Erased, erase, erase_revealed, erased_among
from analytics_middleware.store.clickhouse.rows import EventRow, Moment, event_columns, name_of, storable, trait_of
from analytics_middleware.store.clickhouse.schema import (
    ANON,
    EVENTS,
    FIRST_SEEN,
    IDENTIFIED,
    TAKEN,
    TIES,
    TRAITS,
    USER,
    Layout,
    Table,
)
from analytics_middleware.store.identity import is_cookieless
from analytics_middleware.store.instants import length, micros

_DAY = length(timedelta(days=1))


class Writer:
    """Stores records. Events older than *retention_days* are refused; *clock* returns microseconds since 1970."""

    def __init__(
        self, connection: Connection, layout: Layout, retention_days: int | None, clock: Callable[[], int]
    ) -> None:
        self._connection = connection
        self._layout = layout
        self._retention = retention_days
        self._clock = clock
        self.refused = 0

    def apply(self, records: Sequence[Record]) -> None:
        """Store *records*; an erasure applies after the records before it."""
        for erasures, group in groupby(records, key=lambda record: isinstance(record, Erase)):
            if erasures:
                for record in group:
                    if isinstance(record, Erase) and (user_id := name_of(record.user_id)):
                        erase(self._connection, self._layout, user_id, micros(record.timestamp))
                        if record.anon_id is not None:
                            # Refused, because it is erased, but it notes whose the anonymous id was.
                            refused = self.refused
                            self._take([Identify(user_id=user_id, anon_id=record.anon_id, timestamp=record.timestamp)])
                            self.refused = refused
            else:
                self._take(list(group))

    def apply_first_seen(self, seen: Sequence[FirstSeen]) -> None:
        """Store first dates of deleted events."""
        dates = [
            (name_of(each.user_id), name_of(each.anon_id), micros(at), bot)
            for each in seen
            for at, bot in ((each.at, True), (each.human_at, False))
            if at is not None
        ]
        erased = erased_among(
            self._connection, self._layout, users={user for user, *_ in dates}, anons={anon for _, anon, *_ in dates}
        )
        rows = [
            (USER if user_id else ANON, user_id or anon_id, bot, erased.since(user_id, anon_id, at), at)
            for user_id, anon_id, at, bot in dates
            if (user_id or anon_id) and not erased.hides(user_id, anon_id, at)
        ]
        self._insert(FIRST_SEEN, _columns(FIRST_SEEN, rows))

    def _take(self, records: Sequence[Record]) -> None:
        now = self._clock()
        latest = now + length(FUTURE)
        earliest = None if self._retention is None else now - self._retention * _DAY
        events = [EventRow.of(event) for event in records if isinstance(event, Event)]
        copies = [row for row in events if row.at <= latest and (earliest is None or row.at >= earliest)]
        identifies = [
            (
                name_of(each.user_id),
                _persistent(name_of(each.anon_id)),
                (micros(each.timestamp), storable(each.event_id)),
                each,
            )
            for each in records
            if isinstance(each, Identify)
        ]
        identifies = [each for each in identifies if each[0] and each[2][0] <= latest]
        self.refused += sum(isinstance(record, Identify) for record in records) - len(identifies)
        self.refused += len(events) - len(copies)
        erased = erased_among(
            self._connection,
            self._layout,
            users={row.user_id for row in copies} | {user_id for user_id, *_ in identifies},
            anons={_persistent(row.anon_id) for row in copies} | {anon_id for _, anon_id, *_ in identifies},
        )
        copies = self._unknown(copies)
        identified = [(anon_id, user_id, moment) for user_id, anon_id, moment, _ in identifies]
        # A refused event may reveal an anonymous id as an erased user's. Then check again: another copy may count.
        while True:
            rows = _once(copies, erased)
            ties = [(_persistent(row.anon_id), row.user_id, row.moment) for row in rows] + identified
            if not erased.note((anon_id, user_id, moment[0]) for anon_id, user_id, moment in ties):
                break
        kept = [row for row in rows if not _hides(erased, row)]
        told = [each for each in identifies if not erased.hides(each[0], "", each[2][0])]
        self.refused += len(rows) - len(kept) + len(identifies) - len(told)

        self._insert(EVENTS, event_columns(kept))
        self._write_identifies(told)
        self._write_ties(ties, erased)
        erase_revealed(self._connection, self._layout, erased)
        self._write_first_seen(kept, erased)
        self._insert(TAKEN, {"event_id": [row.event_id for row in kept], "timestamp": [row.at for row in kept]})

    def _unknown(self, rows: list[EventRow]) -> list[EventRow]:
        found = self._connection.query_for(
            f"SELECT event_id FROM {self._layout.table('taken')} WHERE event_id IN {{ids:Array(String)}}",
            "ids",
            list(dict.fromkeys(row.event_id for row in rows)),
        )
        known = {event_id for (event_id,) in found}
        return [row for row in rows if row.event_id not in known]

    def _write_identifies(self, identifies: Iterable[tuple[str, str, Moment, Identify]]) -> None:
        ties = [(user_id, anon_id, *moment) for user_id, anon_id, moment, _ in identifies if anon_id]
        self._insert(IDENTIFIED, _columns(IDENTIFIED, ties))
        traits = [
            (user_id, storable(key), trait_of(moment, value))
            for user_id, _, moment, each in identifies
            for key, value in each.traits.items()
        ]
        self._insert(TRAITS, _columns(TRAITS, traits))

    def _write_ties(self, ties: Iterable[tuple[str, str, Moment]], erased: Erased) -> None:
        first: dict[tuple[str, str, int], Moment] = {}
        for anon_id, user_id, moment in ties:
            if anon_id and user_id:
                key = (anon_id, user_id, erased.since(user_id, "", moment[0]))
                first[key] = min(first.get(key, moment), moment)
        self._insert(TIES, _columns(TIES, [(*key, moment) for key, moment in first.items()]))

    def _write_first_seen(self, rows: Iterable[EventRow], erased: Erased) -> None:
        first: dict[tuple[int, str, bool, int], int] = {}
        for row in rows:
            if row.kind in (USER, ANON):
                name = row.user_id or row.anon_id
                key = (row.kind, name, row.bot, erased.since(row.user_id, row.anon_id, row.at))
                first[key] = min(first.get(key, row.at), row.at)
        self._insert(FIRST_SEEN, _columns(FIRST_SEEN, [(*key, at) for key, at in first.items()]))

    def _insert(self, table: Table, columns: Any) -> None:
        self._connection.insert(self._layout.table(table.name), columns, table.columns)


def _once(copies: Iterable[EventRow], erased: Erased) -> list[EventRow]:
    """Return for each event the first copy that counts, and any refused copies before it."""
    found: list[EventRow] = []
    counted: set[str] = set()
    for row in copies:
        if row.event_id not in counted:
            found.append(row)
            if not _hides(erased, row):
                counted.add(row.event_id)
    return found


def _hides(erased: Erased, row: EventRow) -> bool:
    return erased.hides(row.user_id, _persistent(row.anon_id), row.at)


def _persistent(anon_id: str) -> str:
    return "" if is_cookieless(anon_id) else anon_id


def _columns(table: Table, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    return {name: [row[index] for row in rows] for index, name in enumerate(table.columns)}
