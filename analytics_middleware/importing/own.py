"""Files of `export`: events as Parquet, CSV and JSON Lines, and what is known of users."""

import csv
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from analytics_middleware.admission import admit
from analytics_middleware.event import FROM_REQUEST, VISIT_FACTS, Erase, Event, EventType, Identify, Visit
from analytics_middleware.exporting.cells import from_cell
from analytics_middleware.importing.records import FileError, Items, Refused, derived_id
from analytics_middleware.importing.sources import MAX_LINE, TOO_LONG, Source
from analytics_middleware.money import Money
from analytics_middleware.store import FirstSeen
from analytics_middleware.store._arrays import pa, pq
from analytics_middleware.store.columns import SCHEMA, events_of
from analytics_middleware.store.filters import VISIT_FIELDS

# The module csv has one limit for the whole process. Its default, 128 KiB, is too little for an event with many long
# properties.
csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE))

_BATCH: Final = 10_000
_OUTDATED: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TEXTS: Final = ("event_name", "action_name", *FROM_REQUEST)


class _Given(msgspec.Struct):
    """Fields whose defaults would differ at each import, so they must be in the line."""

    event_id: str | None = None
    timestamp: datetime | None = None


class _Seen(msgspec.Struct):
    """A `FirstSeen` as a JSON object."""

    at: Annotated[datetime, msgspec.Meta(tz=True)]
    user_id: str | None = None
    anon_id: str | None = None
    human_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class _Person(msgspec.Struct):
    """A line of the file with what is known of users."""

    identify: Identify | None = None
    erase: Erase | None = None
    first_seen: _Seen | None = None


_given = msgspec.json.Decoder(_Given).decode
_person = msgspec.json.Decoder(_Person).decode
_UNREADABLE: Final = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)


def read_parquet(path: Path, at: Callable[[int], None]) -> Items:
    """Yield the events in a Parquet file; *at* is called with the number of bytes read.

    Raises `FileError` if it is no Parquet file or lacks columns of `export`.
    """
    try:
        file = pq.ParquetFile(path, memory_map=True)
        names = [name for name in SCHEMA.names if name in file.schema_arrow.names]
        if not {"event_id", "timestamp"} <= set(names):
            raise FileError(f"{path.name}: has no columns event_id and timestamp")
        done, rows = 0, max(file.metadata.num_rows, 1)
        for batch in file.iter_batches(_BATCH, columns=names):
            yield from _of_batch(batch)
            done += batch.num_rows
            at(path.stat().st_size * done // rows)
    except (pa.ArrowException, OSError, ValueError) as error:
        raise FileError(f"{path.name}: {' '.join(str(error).split())[:200]}") from None


def _of_batch(batch: Any) -> Items:
    columns: dict[str, Any] = {}
    for name in SCHEMA.names:
        kind = SCHEMA.field(name).type
        column = batch.column(name).cast(kind) if name in batch.schema.names else pa.nulls(batch.num_rows, kind)
        columns[name] = column.fill_null(False) if name in VISIT_FACTS else column
    table = pa.table(columns, schema=SCHEMA)
    try:
        found = [_admitted(event) for event in events_of(table)]
    except _UNREADABLE:
        # Row by row, so that only the wrong ones are left out.
        found = [_of_row(table.slice(index, 1)) for index in range(table.num_rows)]
    yield from found


def _of_row(row: Any) -> Event | Refused:
    try:
        [event] = events_of(row)
        return _admitted(event)
    except _UNREADABLE:
        return Refused("not an event")


def read_json_lines(source: Source) -> Items:
    """Yield the records in a file of JSON Lines: events, or identities and erasures."""
    for line in source.lines():
        if not line.strip():
            continue
        if line == TOO_LONG:
            yield Refused("too long")
            continue
        try:
            yield from _of_line(line)
        except _UNREADABLE as error:
            # msgspec names the field at the end. With its value, there could be as many reasons as lines.
            _, named, field = str(error).rpartition(" - at `$.")
            yield Refused(f"wrong {field.rstrip('`')}" if named else "not an event")


def _of_line(line: bytes) -> Items:
    if line.startswith((b'{"identify":', b'{"erase":', b'{"first_seen":')):
        person = _person(line)
        yield from filter(None, (person.identify, person.erase))
        if seen := person.first_seen:
            yield FirstSeen(seen.user_id, seen.anon_id, seen.at, seen.human_at)
        return
    event = Event.decode(line)
    given = _given(line)
    if given.timestamp is None:
        yield Refused("no timestamp")
        return
    if given.event_id is None:
        event.event_id = derived_id(event.timestamp, "jsonl", line)
    event.client_ip = None
    yield _admitted(event)


def is_header(line: bytes) -> bool:
    """Return whether *line* is the header of a CSV file of events, with all or some of the columns of `export`."""
    names = _columns(line)
    return b"timestamp" in names and not names.isdisjoint({b"event_id", b"event_name", b"type"})


def _columns(header: bytes) -> set[bytes]:
    return {name.strip(b' "') for name in header.removeprefix(b"\xef\xbb\xbf").split(b",")}


def read_csv(source: Source) -> Items:
    """Yield the events in a CSV file with all or some of the columns that `export` writes.

    Raises `FileError` if its first line is no header, or one of columns that no comma separates.
    """
    head = source.head()
    if head and b"timestamp" not in _columns(head[0]):
        raise FileError(f"{source.name}: its first line names no column timestamp (commas separate columns)")
    for row in rows_of(source):
        if isinstance(row, Refused):
            yield row
            continue
        try:
            yield _admitted(_of_cells(row))
        except (*_UNREADABLE, KeyError):
            yield Refused("not an event")


def rows_of(source: Source) -> Iterator[Mapping[str, str] | Refused]:
    """Yield the rows of a CSV file as dicts, with the names in its header as keys."""
    reader = csv.reader(source.texts(), strict=True)
    header: list[str] | None = None
    while True:
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error:
            yield Refused("not CSV")
            continue
        if not row:
            continue
        if header is None:
            header = [name.strip() for name in row]
        elif len(row) != len(header):
            yield Refused("wrong number of columns")
        else:
            yield dict(zip(header, row, strict=True))


def _of_cells(cells: Mapping[str, str]) -> Event:
    properties, currency = cells.get("properties", ""), from_cell(cells.get("currency", ""))
    duration, status = cells.get("duration", ""), cells.get("status_code", "")
    at = moment(cells["timestamp"])
    texts: dict[str, Any] = {name: from_cell(cells.get(name, "")) for name in _TEXTS}
    visit: dict[str, Any] = {name: from_cell(cells.get(name, "")) for name in VISIT_FIELDS.difference(VISIT_FACTS)}
    visit |= {name: cells.get(name) == "true" for name in VISIT_FACTS}
    return Event(
        event_id=from_cell(cells.get("event_id", "")) or derived_id(at, "csv", *cells.values()),
        type=EventType(from_cell(cells.get("type", "")) or "custom"),
        timestamp=at,
        duration=float(duration) if duration else None,
        status_code=int(status) if status else None,
        properties=msgspec.json.decode(properties, type=dict[str, Any]) if properties else {},
        revenue=None if currency is None else Money.from_minor(int(cells["revenue_minor"]), currency),
        visit=Visit(**visit),
        **texts,
    )


def moment(text: str) -> datetime:
    """Return *text*, ISO 8601, as a time in UTC; without a zone it is taken as UTC. Raises `ValueError`."""
    at = datetime.fromisoformat(text.strip())
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def _admitted(event: Event) -> Event | Refused:
    """Return *event* as the store accepts it, or why it can't."""
    if event.timestamp.tzinfo is None or event.timestamp < _OUTDATED:
        return Refused("time before 1970 or without a zone")
    given = event.event_id
    if not given:
        return Refused("no event_id")
    admit(event)
    if event.event_id != given:
        # The given id was not valid. Derive one that the next import of the same file derives again.
        event.event_id = derived_id(event.timestamp, "id", given)
    return event
