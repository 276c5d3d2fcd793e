"""Umami's export: a zip with ``website_event.csv`` and ``event_data.csv``, or the table ``website_event`` as CSV.

A row is a page view (``event_type`` 1) or a named event (2). ``session_id``, Umami's hash of a visitor, which changes
once a month, becomes the anonymous id; ``distinct_id``, by which the site identified the visitor, becomes the user id.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from analytics_middleware.enrich.visit import EnrichedEvent
from analytics_middleware.event import Event, EventType, Visit
from analytics_middleware.importing.enriching import Enrichment
from analytics_middleware.importing.own import moment, rows_of
from analytics_middleware.importing.records import Item, Items, Left, Refused, derived_id
from analytics_middleware.importing.sources import Source

EVENTS: Final = "website_event.csv"
DATA: Final = "event_data.csv"

_KINDS: Final = {"1": EventType.PAGEVIEW, "2": EventType.CUSTOM}
_MAX_VALUES: Final = 2_000_000
"""Most values of properties that are kept in memory until their events are read."""
# Names that Umami uses, and ours.
_BROWSERS: Final = {
    "chrome": "Chrome",
    "crios": "Chrome",
    "chromium-webview": "Android WebView",
    "edge": "Edge",
    "edge-chromium": "Edge",
    "edge-ios": "Edge",
    "firefox": "Firefox",
    "fxios": "Firefox",
    "ios": "Safari",
    "ios-webview": "iOS WebView",
    "opera": "Opera",
    "safari": "Safari",
    "samsung": "Samsung Internet",
}
_SYSTEMS: Final = {"Mac OS": "macOS", "Android OS": "Android", "Chrome OS": "ChromeOS"}
_DEVICES: Final = {"laptop": "desktop"}


def is_header(line: bytes) -> bool:
    """Return whether *line* is the header of Umami's table of events."""
    names = {name.strip(b' "\r\n') for name in line.removeprefix(b"\xef\xbb\xbf").split(b",")}
    return {b"session_id", b"url_path", b"event_type", b"created_at"} <= names


def read(sources: list[Source], enrichment: Enrichment) -> Items:
    """Yield the events in *sources*, the files of one export."""
    data: dict[str, dict[str, Any]] = {}
    for source in sources:
        if source.name == DATA:
            yield from _read_data(source, data)
    if data and len(sources) == 1:
        yield Left("properties without their events, which are in the same zip", len(data))
    for source in sources:
        if source.name == DATA:
            continue
        if any(map(is_header, source.head()[:1])):
            yield from _read_events(source, data, enrichment)
        else:
            yield Left(f"{source.name}: no events")


def _read_data(source: Source, data: dict[str, dict[str, Any]]) -> Items:
    """Collect the properties of events in *data*, by event id."""
    count = 0
    for row in rows_of(source):
        if isinstance(row, Refused):
            yield row
            continue
        key, event_id = row.get("data_key") or row.get("event_key"), row.get("event_id")
        if not key or not event_id:
            yield Refused("not a property")
        elif count >= _MAX_VALUES:
            yield Refused("too many properties")
        else:
            data.setdefault(event_id, {})[key] = _value(row)
            count += 1


def _value(row: Mapping[str, str]) -> Any:
    if number := row.get("number_value"):
        try:
            value = float(number)
        except ValueError:
            return number
        return int(value) if value.is_integer() else value
    text = row.get("string_value") or row.get("date_value") or None
    return text == "true" if row.get("data_type") == "3" and text in ("true", "false") else text


def _read_events(source: Source, data: dict[str, dict[str, Any]], enrichment: Enrichment) -> Items:
    return enrichment.with_sessions(_seen(source, data, enrichment))


def _seen(source: Source, data: dict[str, dict[str, Any]], enrichment: Enrichment) -> Iterator[Item | EnrichedEvent]:
    for row in rows_of(source):
        if isinstance(row, Refused):
            yield row
            continue
        kind = row.get("event_type") or "1"
        if kind not in _KINDS:
            yield Left(f"event_type {kind:.20}")
            continue
        try:
            yield enrichment.see(_event(row, _KINDS[kind], data), None)
        except (KeyError, ValueError, OverflowError):
            yield Refused("not an event")


def _event(row: Mapping[str, str], kind: EventType, data: Mapping[str, dict[str, Any]]) -> Event:
    def given(name: str) -> str | None:
        return row.get(name) or None

    at = moment(row["created_at"])
    if at.year < 1970:
        raise ValueError("before 1970")
    given_id = given("event_id")
    query = given("url_query")
    path, host = row["url_path"] or "/", given("hostname")
    target = path if query is None else f"{path}?{query.removeprefix('?')}"
    browser, system, device = given("browser"), given("os"), given("device")
    properties = {name: value for name in ("page_title", "screen", "tag") if (value := given(name)) is not None}
    return Event(
        event_id=derived_id(at, "umami", given_id) if given_id else derived_id(at, "umami", *row.values()),
        type=kind,
        event_name=given("event_name") if kind is EventType.CUSTOM else None,
        timestamp=at,
        locale=given("language"),
        hostname=host,
        user_id=given("distinct_id"),
        anon_id=given("session_id"),
        url=f"https://{host}{target}" if host else target,
        path=path,
        referrer=_referrer(row),
        properties={**properties, **data.get(given_id or "", {})},
        visit=Visit(
            session_id=given("visit_id"),
            browser=_BROWSERS.get(browser or "", browser),
            os=_SYSTEMS.get(system or "", system),
            device=_DEVICES.get(device or "", device),
            country=given("country"),
            city=given("city"),
        ),
    )


def _referrer(row: Mapping[str, str]) -> str | None:
    domain = row.get("referrer_domain")
    if not domain:
        return None
    query = row.get("referrer_query")
    return f"https://{domain}{row.get('referrer_path') or '/'}" + (f"?{query.removeprefix('?')}" if query else "")
