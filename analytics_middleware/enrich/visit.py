"""Who came and from where: fills an event's visit and anonymous id from what its request said.

Runs in the writer thread. After it the event holds no more than may be kept: what only some collectors may read,
the client's address above all, stands apart.
"""

import time
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import NamedTuple

from analytics_middleware.counters import Counters
from analytics_middleware.enrich.client_ip import ClientIP
from analytics_middleware.enrich.geo import GeoIP, country_code
from analytics_middleware.enrich.needs import Wanted
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
"""Another host's record, whose own collectors get it there; here it is for the store."""

_CARRY_OVER = 3 * 3600.0
"""Seconds after midnight in which a session may go on under yesterday's id."""

_AHEAD = 3600.0
"""Seconds that a clock may be ahead; later events are refused by the store anyway."""

_CACHED_VISITORS = 16_384
_CACHED_PAGES = 8192
_CACHED_AGENTS = 4096


class EnrichedEvent(NamedTuple):
    """An event with what must be known of it besides."""

    event: Event
    flags: int
    private: bytes | None
    at: float
    """The event's timestamp, seconds since the epoch."""


class _Kept(NamedTuple):
    """What is kept of where a page view went and came from, and what that says of the visit."""

    url: str | None
    path: str | None
    referrer: str | None
    attribution: Attribution | None


class Enricher:
    """Fills visits. One per process; not for several threads at a time, but for the parts that are public."""

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
        self._wanted = Wanted.of(() if strict else needs)
        # Of visitors who object third parties get nothing, so nothing is kept for them.
        self._wanted_of_own = Wanted.of(() if strict else own_needs)
        self._any_private = bool(needs) and not strict
        load()
        self._carried: dict[str, str] = {}
        # Each derived from several headers at the price of one look: most requests look like one before.
        self._hash = remembered(_CACHED_VISITORS)(cookieless_id)
        self._kept = remembered(_CACHED_PAGES)(self._keep)
        self._agent = remembered(_CACHED_AGENTS)(self._keep_agent)

    def warm_up(self) -> None:
        """Load what is slow to load, before the first event needs it."""
        parse("Mozilla/5.0")
        is_crawler("Mozilla/5.0")

    def enrich(
        self, event: Event, request: Request | None, *, automatic: bool = True, nobody: bool = False
    ) -> EnrichedEvent:
        """Fill *event* from *request* (None: from nothing but itself) and make it fit to be kept.

        Only *automatic* page views can be bots'; what somebody tracked is somebody's. With *nobody* what is known of
        the request is too little to tell its visitor from others: the event gets no anonymous id that it has not.
        """
        private = None
        at = event.timestamp.timestamp()
        address = event.client_ip
        visit = event.visit
        if request is not None:
            # Kept with the event: it holds for whoever gets it later, too.
            visit.consented = self._consent.asked and self._consent.given(request)
            visit.opted_out = opted_out(request)
            if event.anon_id is None and not visit.opted_out and not nobody:
                event.anon_id = self._visitor(event, request, address, at, consented=visit.consented)
            if self._country_header is not None and visit.country is None and self.client_ip.trusts_peer(request):
                visit.country = country_code(request.header(self._country_header))
            if self._any_private:
                private = (self._wanted_of_own if visit.opted_out else self._wanted).facts(address, request)
            if automatic and event.type is EventType.PAGEVIEW and not event.user_id and is_crawler(event.user_agent):
                visit.is_bot = True
        elif self._any_private:
            private = self._wanted.facts(address, None)
        if self._geo is not None and address is not None and visit.country is None:
            visit.country, visit.city = self._geo.locate(address)
        self._describe(event, visit)
        if address is not None and self._privacy != "raw":
            event.client_ip = None if self._privacy == "strict" else truncate_ip(address)
        return EnrichedEvent._make((event, flags_of(event), private, at))

    def flags(self, request: Request | None) -> int:
        """Return what decides who may get what was said of a user in *request*; outside of one nobody consents."""
        if request is None:
            return 0
        return OPTED_OUT * opted_out(request) | CONSENTED * self._consent.given(request)

    def assign_sessions(self, seen: Sequence[EnrichedEvent]) -> None:
        """Give the events their session ids, all at once."""
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
        """Have ready what the next day needs from elsewhere."""
        self._salts.prepare(now)

    def forget(self, now: float) -> None:
        """Destroy the salts of days before yesterday, and the sessions that ended long ago."""
        if self._salts.forget(now):
            # What was hashed with them is remembered by them.
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
            # No cookie for them, neither given nor read: they are counted as on a site without cookies.
            return self._cookieless_visitor(event, address, at)
        return self.cookie.brought(request)

    def _cookieless_visitor(self, event: Event, address: str | None, at: float) -> str:
        # A time that somebody claims must not have salts made, and others destroyed, before their day.
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
        """Say what the headers of *event* tell of the visit, and keep of them what may be kept."""
        if event.user_agent is not None:
            agent, event.user_agent = self._agent(event.user_agent)
            if visit.browser is None:
                visit.browser, visit.browser_version, visit.os, visit.device = agent
        if event.url is None and event.path is None and event.referrer is None:
            return
        kept = self._kept(event.url, event.path, event.referrer, event.hostname)
        event.url, event.path, event.referrer, found = kept
        if found is not None and visit.channel is None:
            visit.source = found.source
            visit.medium = found.medium
            visit.campaign = found.campaign
            visit.term = found.term
            visit.content = found.content
            visit.channel = None if found.internal else found.channel
            visit.is_spam = found.spam

    def _keep(self, url: str | None, path: str | None, referrer: str | None, hostname: str | None) -> _Kept:
        attribution = None if url is None else attribute(url, referrer, hostname)
        if self._privacy == "raw":
            return _Kept(url, path, referrer, attribution)
        kept_path = None if path is None else scrub_path(path)
        return _Kept(scrub_url(url, self._keep_query), kept_path, scrub_url(referrer), attribution)

    def _keep_agent(self, user_agent: str) -> tuple[Agent, str | None]:
        return parse(user_agent), user_agent if self._privacy == "raw" else scrub_agent(user_agent)


def flags_of(event: Event) -> int:
    """Return what decides who may get *event*, from what is known of its visit."""
    visit = event.visit
    bot = visit.is_bot and event.type is EventType.PAGEVIEW and not event.user_id
    return OPTED_OUT * visit.opted_out | CONSENTED * visit.consented | BOT * bot


def _owner(event: Event) -> str | None:
    """Return whose session an event belongs to: the visitor's, so that signing in does not end it."""
    if event.anon_id:
        return event.anon_id
    return f"user {event.user_id}" if event.user_id else None
