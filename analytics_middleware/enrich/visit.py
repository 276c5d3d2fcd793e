"""Enrichment: fills in an event's visit and anonymous id from its request.

Runs in the writer thread. Afterwards the event holds only what may be kept; what only some collectors may read, above
all the client's address, is kept apart from it.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import NamedTuple

from analytics_middleware.counters import Counters
from analytics_middleware.enrich.client_ip import ClientIP
from analytics_middleware.enrich.geo import GeoIP, country_code
from analytics_middleware.enrich.needs import NeededFacts
from analytics_middleware.enrich.privacy import opted_out, scrub_agent, scrub_path, scrub_url, truncate_ip
from analytics_middleware.enrich.referrer import Attribution, attribute
from analytics_middleware.enrich.salts import SaltRecords, Salts, SaltSource
from analytics_middleware.enrich.sessions import SessionRecords, Sessions
from analytics_middleware.enrich.user_agent import Agent, is_crawler, load, parse
from analytics_middleware.enrich.visitor import cookieless_id
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.event import Event, EventType, Visit
from analytics_middleware.exclusions import Exclusions
from analytics_middleware.remembering import remembered
from analytics_middleware.request import Request
from analytics_middleware.settings import Settings
from analytics_middleware.visitor_cookie import Consent, VisitorCookie

OPTED_OUT = 1
"""The visitor objects to tracking (DNT, Sec-GPC): no anonymous id, no third party."""
CONSENTED = 2
"""The `consent` hook said yes."""
BOT = 4
"""An automatic page view of a known crawler."""
FORWARDED = 8
"""A record from another host, which delivers it to its collectors; here it is only for the store."""

_CARRY_OVER = 3 * 3600.0
"""Seconds after midnight during which a session may go on under yesterday's id."""

_AHEAD = 3600.0
"""Seconds that a client's clock may be ahead; the store refuses later events anyway."""

_CACHED_VISITORS = 16_384
_CACHED_PAGES = 8192
_CACHED_AGENTS = 4096


class EnrichedEvent(NamedTuple):
    """An event with the flags and the private facts of its log entry."""

    event: Event
    flags: int
    private: bytes | None
    at: float
    """The event's timestamp, seconds since the epoch."""


class _ScrubbedPage(NamedTuple):
    """An event's URL, path and referrer as they are kept, and the attribution they give."""

    url: str | None
    path: str | None
    referrer: str | None
    attribution: Attribution | None


class Enricher:
    """Enriches events. One per process; not thread-safe, except `client_ip`, `exclusions` and `cookie`."""

    def __init__(
        self,
        settings: Settings,
        salts: SaltRecords,
        sessions: SessionRecords,
        counters: Counters,
        needs: Collection[str] = (),
        own_needs: Collection[str] = (),
        clock: Callable[[], float] = time.time,
        salt_source: SaltSource | None = None,
    ) -> None:
        self._salts = Salts(salts, settings.timezone, counters, salt_source)
        self._sessions = Sessions(sessions, settings.session_timeout)
        self._geo = None if settings.geoip_database is None else GeoIP(settings.geoip_database)
        self._country_header = settings.country_header
        if settings.country_header is not None and not settings.trusted_proxies:
            raise ConfigurationError(
                f"analytics setting 'country_header' is {settings.country_header!r} without 'trusted_proxies': "
                "anyone can send that header; name the addresses of the CDN or proxy that writes it"
            )
        self.client_ip = ClientIP(settings.trusted_proxies, settings.proxy_header)
        self.exclusions = Exclusions(settings.exclude)
        self._consent = Consent(settings.consent, counters)
        self.cookie: VisitorCookie | None = None
        if settings.visitor == "cookie":
            self.cookie = VisitorCookie(settings, self._consent, self.exclusions, self.client_ip)
        self._keep_query = frozenset(settings.keep_query)
        self._cookieless = settings.visitor == "cookieless"
        self._privacy = settings.privacy
        self._clock = clock
        strict = settings.privacy == "strict"
        self._needed = NeededFacts.of(() if strict else needs)
        # Third parties get nothing of visitors who object, so nothing is kept for them.
        self._needed_by_own = NeededFacts.of(() if strict else own_needs)
        self._any_private = bool(needs) and not strict
        load()
        self._carried: dict[str, str] = {}
        # Each caches what is derived from several headers in one look-up: most requests resemble an earlier one.
        self._hash = remembered(_CACHED_VISITORS)(cookieless_id)
        self._scrubbed_page = remembered(_CACHED_PAGES)(self._scrub_page)
        self._parsed_agent = remembered(_CACHED_AGENTS)(self._parse_agent)

    def warm_up(self) -> None:
        """Load what is slow to load, before the first event needs it."""
        parse("Mozilla/5.0")
        is_crawler("Mozilla/5.0")

    def enrich(
        self, event: Event, request: Request | None, *, automatic: bool = True, nobody: bool = False
    ) -> EnrichedEvent:
        """Fill *event* from its own fields and from *request*, if there is one, and remove what must not be kept.

        Only *automatic* page views can be a bot's, tracked events can't. *nobody* says that too little is known of the
        request to tell its visitor from others, so the event gets no new anonymous id.
        """
        private = None
        at = event.timestamp.timestamp()
        address = event.client_ip
        visit = event.visit
        if request is not None:
            # Kept with the event, because it holds for later recipients too.
            visit.consented = self._consent.asked and self._consent.given(request)
            visit.opted_out = opted_out(request)
            if event.anon_id is None and not visit.opted_out and not nobody:
                event.anon_id = self._visitor(event, request, address, at, consented=visit.consented)
            if self._country_header is not None and visit.country is None and self.client_ip.trusts_peer(request):
                visit.country = country_code(request.header(self._country_header))
            if self._any_private:
                private = (self._needed_by_own if visit.opted_out else self._needed).facts(address, request)
            if automatic and event.type is EventType.PAGEVIEW and not event.user_id and is_crawler(event.user_agent):
                visit.is_bot = True
        elif self._any_private:
            private = self._needed.facts(address, None)
        if self._geo is not None and address is not None and visit.country is None:
            visit.country, visit.city = self._geo.locate(address)
        self._describe(event, visit)
        if address is not None and self._privacy != "raw":
            event.client_ip = None if self._privacy == "strict" else truncate_ip(address)
        return EnrichedEvent._make((event, flags_of(event), private, at))

    def flags(self, request: Request | None) -> int:
        """Return the flags that decide who may get traits set in *request*; without a request there is no consent."""
        if request is None:
            return 0
        return OPTED_OUT * opted_out(request) | CONSENTED * self._consent.given(request)

    def assign_sessions(self, seen: Sequence[EnrichedEvent]) -> None:
        """Give the events in *seen* their session ids, in one update."""
        visits: list[Visit] = []
        sightings: list[tuple[str, float]] = []
        for event, _, _, at in seen:
            if not event.visit.session_id and (owner := _owner(event)):
                visits.append(event.visit)
                sightings.append((owner, at))
        if sightings:
            for visit, session_id in zip(visits, self._sessions.assign(sightings), strict=True):
                visit.session_id = session_id

    def prepare(self, now: float) -> None:
        """Get the next day's salt in advance, if it comes from elsewhere."""
        self._salts.prepare(now)

    def forget(self, now: float) -> None:
        """Destroy the salts of days before yesterday, and the sessions that ended long ago."""
        if self._salts.forget(now):
            # The caches' keys contain the salts.
            self._hash = remembered(_CACHED_VISITORS)(cookieless_id)
            self._carried.clear()
        self._sessions.forget(now)

    def _visitor(
        self, event: Event, request: Request, address: str | None, at: float, *, consented: bool
    ) -> str | None:
        if self._cookieless:
            return self._cookieless_visitor(event, address, at)
        if self.cookie is None:
            return None
        if self._consent.asked and not consented:
            # Without consent no cookie is set or read; these visitors are counted as on a site without cookies.
            return self._cookieless_visitor(event, address, at)
        return self.cookie.visitor_id(request)

    def _cookieless_visitor(self, event: Event, address: str | None, at: float) -> str:
        # A false timestamp in the future must not create that day's salt, which would destroy today's.
        at = min(at, self._clock() + _AHEAD)
        day, begun, salt = self._salts.at(at)
        today = self._hash(salt, address, event.user_agent, event.hostname)
        if at - begun > _CARRY_OVER:
            self._carried.clear()
            return today
        carried = self._carried.get(today)
        if carried is None:
            salt = self._salts.of(day - timedelta(days=1))
            before = self._hash(salt, address, event.user_agent, event.hostname)
            carried = before if self._sessions.active((before,), at) else today
            if len(self._carried) >= _CACHED_VISITORS:
                self._carried.clear()
            self._carried[today] = carried
        elif carried != today and not self._sessions.active((carried,), at):
            carried = self._carried[today] = today
        return carried

    def _describe(self, event: Event, visit: Visit) -> None:
        """Fill in what the headers in *event* tell about the visit, and scrub them."""
        if event.user_agent is not None:
            agent, event.user_agent = self._parsed_agent(event.user_agent)
            if visit.browser is None:
                visit.browser, visit.browser_version, visit.os, visit.device = agent
        if event.url is None and event.path is None and event.referrer is None:
            return
        kept = self._scrubbed_page(event.url, event.path, event.referrer, event.hostname)
        event.url, event.path, event.referrer, found = kept
        if found is not None and visit.channel is None:
            visit.source = found.source
            visit.medium = found.medium
            visit.campaign = found.campaign
            visit.term = found.term
            visit.content = found.content
            visit.channel = None if found.internal else found.channel
            visit.is_spam = found.spam

    def _scrub_page(
        self, url: str | None, path: str | None, referrer: str | None, hostname: str | None
    ) -> _ScrubbedPage:
        attribution = None if url is None else attribute(url, referrer, hostname)
        if self._privacy == "raw":
            return _ScrubbedPage(url, path, referrer, attribution)
        kept_path = None if path is None else scrub_path(path)
        return _ScrubbedPage(scrub_url(url, self._keep_query), kept_path, scrub_url(referrer), attribution)

    def _parse_agent(self, user_agent: str) -> tuple[Agent, str | None]:
        return parse(user_agent), user_agent if self._privacy == "raw" else scrub_agent(user_agent)


def flags_of(event: Event) -> int:
    """Return the flags that decide who may get *event*."""
    visit = event.visit
    bot = visit.is_bot and event.type is EventType.PAGEVIEW and not event.user_id
    return OPTED_OUT * visit.opted_out | CONSENTED * visit.consented | BOT * bot


def _owner(event: Event) -> str | None:
    """Return whose session an event belongs to: the visitor's before the user's, so that signing in does not end it."""
    if event.anon_id:
        return event.anon_id
    return f"user {event.user_id}" if event.user_id else None
