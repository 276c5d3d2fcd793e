"""Plausible's export: a zip of tables with numbers per day (https://plausible.io/docs/csv-import).

Such sums can't be divided into visits. But they say how often a page was viewed or a named event happened on a day, and
that many events are made, at noon and without a visitor. They count in volumes and tops, never as visitors. The other
tables divide the same page views differently and are left out.
"""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, tzinfo
from typing import Final

from analytics_middleware.admission import admit
from analytics_middleware.enrich.privacy import scrub_path, scrub_url
from analytics_middleware.event import Event, EventType
from analytics_middleware.importing.own import rows_of
from analytics_middleware.importing.records import Items, Left, Refused, derived_id
from analytics_middleware.importing.sources import Source
from analytics_middleware.timezones import zone

_TABLE: Final = re.compile(r"(imported_[a-z_]+?)(?:_\d{8}_\d{8})?\.csv")
_PAGES: Final = "imported_pages"
_EVENTS: Final = "imported_custom_events"
_MAX_COUNT: Final = 1_000_000
"""Most page views of one page on one day; a site with more would not keep its events in files."""


def is_table(name: str) -> bool:
    """Return whether a file called *name* is one of the export's tables."""
    return _TABLE.fullmatch(name) is not None


def read(sources: list[Source], timezone: str) -> Items:
    """Yield the events counted in the tables *sources*, whose days are in *timezone*."""
    local = zone(timezone)
    for source in sources:
        match = _TABLE.fullmatch(source.name)
        table = match[1] if match else source.name
        for row in rows_of(source):
            if isinstance(row, Refused):
                yield row
            elif table in (_PAGES, _EVENTS):
                yield from _of_row(row, table, local)
            else:
                yield Left(f"{table}: the same page views, divided differently")


def _of_row(row: Mapping[str, str], table: str, local: tzinfo) -> Items:
    try:
        day = date.fromisoformat(row["date"])
        count = int(row["pageviews" if table == _PAGES else "events"])
        at = datetime(day.year, day.month, day.day, 12, tzinfo=local).astimezone(UTC)
        name = row["page" if table == _PAGES else "name"]
    except (KeyError, ValueError, OverflowError):
        yield Refused("not a row of the table")
        return
    if not 0 <= count <= _MAX_COUNT or at.year < 1970 or not name:
        yield Refused(f"not a number from 0 to {_MAX_COUNT}" if name and at.year >= 1970 else "not a row of the table")
        return
    made = _page(row, name, at) if table == _PAGES else _custom(row, name, at)
    admit(made)
    parts = [value for key, value in row.items() if key in ("hostname", "page", "name", "link_url", "path")]
    for number in range(count):
        yield made.replace(event_id=derived_id(at, table, *parts, str(number)), properties=dict(made.properties))


def _page(row: Mapping[str, str], page: str, at: datetime) -> Event:
    host = row.get("hostname") or None
    return Event(
        type=EventType.PAGEVIEW,
        timestamp=at,
        hostname=host,
        url=scrub_url(f"https://{host}{page}" if host else page),
        path=scrub_path(page),
        properties={"imported_from": "plausible"},
    )


def _custom(row: Mapping[str, str], name: str, at: datetime) -> Event:
    links = {"url": scrub_url(row.get("link_url")), "path": scrub_path(row.get("path") or "")}
    given = {key: value for key, value in links.items() if value}
    return Event(event_name=name, timestamp=at, properties={"imported_from": "plausible", **given})
