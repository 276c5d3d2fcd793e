"""Who came and from where: fills an event's visit and anonymous id from what its request said.

Runs in the writer thread. After it the event holds no more than may be kept: what only some collectors may read,
the client's address above all, stands apart.
"""

from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from analytics_middleware.enrich.geo import GeoIP, cdn_country
from analytics_middleware.enrich.privacy import opted_out, scrub_path, scrub_url, truncate_ip
from analytics_middleware.enrich.referrer import attribute
from analytics_middleware.enrich.salts import SaltRecords, Salts
from analytics_middleware.enrich.sessions import SessionRecords, Sessions
from analytics_middleware.enrich.user_agent import is_crawler, load, parse
from analytics_middleware.enrich.visitor import cookieless_id
from analytics_middleware.event import Event, EventType, Visit
from analytics_middleware.request import Request
from analytics_middleware.settings import Settings

OPTED_OUT = 1
"""The visitor objects to tracking (DNT, Sec-GPC): no anonymous id, no third party."""
CONSENTED = 2
"""The `consent` hook said yes."""
BOT = 4
"""An automatic page view of a known crawler."""

_CARRY_OVER = 3 * 3600.0
"""Seconds after midnight in which a session may go on under yesterday's id."""

_CACHED_VISITORS = 16_384

_encode = msgspec.json.Encoder().encode


class Seen(NamedTuple):
    """An event with what must be known of it besides."""

    event: Event
    flags: int
    private: bytes | None


class Enricher:
    """Fills visits. One per process; not for several threads at a time."""

    def __init__(
        self, settings: Settings, salts: SaltRecords, sessions: SessionRecords, needs: Sequence[str] = ()
    ) -> None:
        self._salts = Salts(salts, settings.timezone)
        self._sessions = Sessions(sessions, settings.session_timeout)
        self._geo = None if settings.geoip_database is None else GeoIP(settings.geoip_database)
        self._country_header = settings.country_header
        self._keep_query = frozenset(settings.keep_query)
        self._cookieless = settings.visitor == "cookieless"
        self._privacy = settings.privacy
        self._consent: Callable[[Request], object] | None = settings.consent
        private = [] if settings.privacy == "strict" else sorted(set(needs))
        self._private_ip = "client_ip" in private
        self._headers = [need.removeprefix("header:") for need in private if need.startswith("header:")]
        self._cookies = [need.removeprefix("cookie:") for need in private if need.startswith("cookie:")]
        load()
        self._carried: dict[str, str] = {}
        self._hash = lru_cache(_CACHED_VISITORS)(cookieless_id)

    def warm_up(self) -> None:
        """Load what is slow to load, before the first event needs it."""
        parse("Mozilla/5.0")
        is_crawler("Mozilla/5.0")

    def enrich(self, event: Event, request: Request | None) -> Seen:
        """Fill *event* from *request* (None: from nothing but itself) and make it fit to be kept."""
        flags = 0
        private = None
        address = event.client_ip
        visit = event.visit
        if request is not None:
            if opted_out(request):
                flags |= OPTED_OUT
            elif event.anon_id is None and self._cookieless:
                event.anon_id = self._visitor(event, address)
            if self._consent is not None and self._consent(request) is True:
                flags |= CONSENTED
            if self._country_header is not None and visit.country is None:
                visit.country = cdn_country(request, self._country_header)
            private = self._private(address, request)
        elif self._private_ip and address is not None:
            private = _encode({"client_ip": address})
        self._locate(visit, address)
        self._describe_agent(visit, event.user_agent)
        if event.type is EventType.PAGEVIEW and not event.user_id and request is not None:
            visit.is_bot = is_crawler(event.user_agent)
            flags |= BOT * visit.is_bot
        self._attribute(visit, event)
        if self._privacy != "raw":
            event.url = scrub_url(event.url, self._keep_query)
            event.path = None if event.path is None else scrub_path(event.path)
            event.referrer = scrub_url(event.referrer)
            event.client_ip = None if self._privacy == "strict" else truncate_ip(address)
        return Seen(event, flags, private)

    def assign_sessions(self, seen: Sequence[Seen]) -> None:
        """Give the events their session ids, all at once."""
        owned = [(event, key) for event, *_ in seen if not event.visit.session_id and (key := _owner(event))]
        if owned:
            ids = self._sessions.assign([(key, event.timestamp.timestamp()) for event, key in owned])
            for (event, _), session_id in zip(owned, ids, strict=True):
                event.visit.session_id = session_id

    def _visitor(self, event: Event, address: str | None) -> str:
        at = event.timestamp.timestamp()
        day = self._salts.day(at)
        today = self._hash(self._salts.of(day), address, event.user_agent, event.hostname)
        if self._salts.seconds_into_day(at) > _CARRY_OVER:
            self._carried.clear()
            return today
        carried = self._carried.get(today)
        if carried is None:
            salt = self._salts.of(day - timedelta(days=1))
            before = self._hash(salt, address, event.user_agent, event.hostname)
            carried = before if self._sessions.active((before,), at) else today
            self._carried[today] = carried
        elif carried != today and not self._sessions.active((carried,), at):
            carried = self._carried[today] = today
        return carried

    def _private(self, address: str | None, request: Request) -> bytes | None:
        if not (self._private_ip or self._headers or self._cookies):
            return None
        facts: dict[str, Any] = {}
        if self._private_ip and address is not None:
            facts["client_ip"] = address
        headers = {name: value for name in self._headers if (value := request.header(name)) is not None}
        if headers:
            facts["headers"] = headers
        cookies = {name: value for name in self._cookies if (value := request.cookie(name)) is not None}
        if cookies:
            facts["cookies"] = cookies
        return _encode(facts) if facts else None

    def _locate(self, visit: Visit, address: str | None) -> None:
        if self._geo is not None and address is not None and visit.country is None:
            visit.country, visit.city = self._geo.locate(address)

    def _describe_agent(self, visit: Visit, user_agent: str | None) -> None:
        if user_agent is not None and visit.browser is None:
            visit.browser, visit.browser_version, visit.os, visit.device = parse(user_agent)

    def _attribute(self, visit: Visit, event: Event) -> None:
        if event.url is None or visit.channel is not None:
            return
        found = attribute(event.url, event.referrer, event.hostname)
        visit.source = found.source
        visit.medium = found.medium
        visit.campaign = found.campaign
        visit.term = found.term
        visit.content = found.content
        visit.channel = None if found.internal else found.channel


def _owner(event: Event) -> str | None:
    """Return whose session an event belongs to: the visitor's, so that signing in does not end it."""
    if event.anon_id:
        return event.anon_id
    return f"user {event.user_id}" if event.user_id else None
