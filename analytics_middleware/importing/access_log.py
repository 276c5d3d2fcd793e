"""Access logs of nginx and Apache: the formats *common* and *combined*, also with Apache's virtual host in front.

https://httpd.apache.org/docs/current/mod/mod_log_config.html, https://nginx.org/en/docs/http/ngx_http_log_module.html.
A log has neither the request's Accept header nor the response's content type, so the path decides: a successful GET is
a page view if its path has no file extension or a page's; a successful POST, PUT, PATCH or DELETE is an action.
"""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from analytics_middleware.enrich.visit import EnrichedEvent
from analytics_middleware.event import Event, EventType
from analytics_middleware.importing.enriching import Enrichment
from analytics_middleware.importing.records import Item, Items, Left, Refused, Repetitions, derived_id
from analytics_middleware.importing.sources import TOO_LONG, Source
from analytics_middleware.request import Request

_LINE: Final = re.compile(
    rb"(?:([\w.-]{1,255}):\d{1,5} )?([^\s\[\"]{1,255}) [^\s\[\"]{1,255} ([^\[\"]{1,255}) \[([^\]]{20,40})\] "
    rb'"([^"\\]*(?:\\.[^"\\]*)*)" (\d{3}) (?:\d+|-)'
    rb'(?: "([^"\\]*(?:\\.[^"\\]*)*)" "([^"\\]*(?:\\.[^"\\]*)*)")?(?:\s.*)?',
    re.DOTALL,
)
_REQUEST: Final = re.compile(r"([A-Z]{3,16}) (\S+)(?: HTTP/\d(?:\.\d)?)?")
_TIME: Final = re.compile(rb"(\d{2})/(\w{3})/(\d{4}):(\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})")
_MONTHS: Final = {
    name: number + 1 for number, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
}
# Apache escapes quotes and backslashes with a backslash; Apache and nginx write other bytes as \xhh.
_ESCAPE: Final = re.compile(rb"\\(?:x([0-9A-Fa-f]{2})|(.))", re.DOTALL)
_CONTROLS: Final = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v", b"b": b"\b", b"f": b"\f"}
_PAGES: Final = frozenset({"html", "htm", "xhtml", "shtml", "php", "asp", "aspx", "jsp", "cgi", "do"})
_EXTENSION: Final = re.compile(r"\.([A-Za-z0-9_-]{1,12})$")
_CHANGES: Final = frozenset({"POST", "PUT", "PATCH", "DELETE"})


def is_log_line(line: bytes) -> bool:
    """Return whether *line* is a line of an access log."""
    return _LINE.fullmatch(line) is not None


def names_host(line: bytes) -> bool:
    """Return whether *line* is a line of an access log that begins with a virtual host."""
    match = _LINE.fullmatch(line)
    return match is not None and match[1] is not None


def read(source: Source, enrichment: Enrichment, hostname: str) -> Items:
    """Yield the page views and actions in a log. *hostname* is the site's, for lines without a virtual host."""
    return enrichment.with_sessions(_read(source, enrichment, hostname))


def _read(source: Source, enrichment: Enrichment, hostname: str) -> Iterator[Item | EnrichedEvent]:
    repetitions = Repetitions()
    for line in source.lines():
        if not line.strip():
            continue
        if line == TOO_LONG:
            yield Refused("too long")
            continue
        match = _LINE.fullmatch(line)
        at = None if match is None else _moment(match[4])
        if match is None or at is None:
            yield Refused("not a line of an access log")
            continue
        asked = _REQUEST.fullmatch(_text(match[5]))
        if asked is None:
            yield Refused("not a request")
            continue
        status, agent, referrer = int(match[6]), _header(match[8]), _header(match[7])
        target = asked[2].partition("#")[0]
        if "://" in target.partition("?")[0]:
            # A request to a proxy has the whole URL.
            target = "/" + target.partition("://")[2].partition("/")[2]
        path, _, query = target.partition("?")
        path = unquote(path, errors="replace")
        kind = _kind(asked[1], status, path)
        if isinstance(kind, Left):
            yield kind
            continue
        address = match[2].decode("ascii", "replace")
        headers = {"HTTP_USER_AGENT": agent, "HTTP_REFERER": referrer}
        request = Request(
            method=asked[1],
            scheme="https",
            path=path,
            query=query,
            peer=address,
            headers={name: value for name, value in headers.items() if value is not None},
            status=status,
        )
        if enrichment.exclusions.path(path) or enrichment.exclusions.visitor(request, address):
            yield Left("excluded")
            continue
        host = match[1].decode().lower() if match[1] else hostname
        event = Event(
            event_id=derived_id(at, "access log", line, repetitions.number(line)),
            type=kind,
            timestamp=at,
            client_ip=address,
            hostname=host,
            url=f"https://{host}{target}",
            path=path,
            method=asked[1],
            user_agent=agent,
            referrer=referrer,
            status_code=status,
        )
        seen = enrichment.see(event, request)
        if match[8] is None:
            # The common format has no user agent, so bots can't be recognised.
            seen.event.visit.is_bot = False
        yield seen


def _kind(method: str, status: int, path: str) -> EventType | Left:
    if method in _CHANGES:
        return EventType.ACTION if status < 400 else Left("failed")
    if method != "GET":
        return Left("neither a page nor a change")
    extension = _EXTENSION.search(path)
    if extension is not None and extension[1].lower() not in _PAGES:
        return Left("asset")
    if status == 304 or (200 <= status < 300 and status not in (204, 205)):
        return EventType.PAGEVIEW
    if status >= 400:
        return Left("failed")
    return Left("redirect" if status >= 300 else "no content")


@lru_cache(1024)
def _moment(text: bytes) -> datetime | None:
    match = _TIME.fullmatch(text)
    if match is None or match[2] not in _MONTHS:
        return None
    day, year, hour, minute, second = (int(match[index]) for index in (1, 3, 4, 5, 6))
    offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
    try:
        zone = timezone(offset if match[7] == b"+" else -offset)
        at = datetime(year, _MONTHS[match[2]], day, hour, minute, min(second, 59), tzinfo=zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return at if at.year >= 1970 else None


def _header(quoted: bytes | None) -> str | None:
    return None if quoted in (None, b"", b"-") else _text(quoted or b"")


def _text(quoted: bytes) -> str:
    plain = _ESCAPE.sub(_unescaped, quoted) if b"\\" in quoted else quoted
    return plain.decode("utf-8", "replace")


def _unescaped(match: re.Match[bytes]) -> bytes:
    return bytes([int(match[1], 16)]) if match[1] else _CONTROLS.get(match[2], match[2])
