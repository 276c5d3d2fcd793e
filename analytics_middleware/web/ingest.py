"""Events and traits that browsers and servers send: all of a request is checked before any of it is kept."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from analytics_middleware.analytics import Analytics
from analytics_middleware.context import RequestContext
from analytics_middleware.enrich.locale import accept_language
from analytics_middleware.enrich.visitor import is_cookieless, is_identity
from analytics_middleware.event import Event, EventType
from analytics_middleware.money import Money
from analytics_middleware.properties import MAX_NAME, clean_name
from analytics_middleware.request import hostname, site_host
from analytics_middleware.tracking import TrackedEvent, TrackedTraits, identification
from analytics_middleware.web.access import Access, Caller
from analytics_middleware.web.body import decoded
from analytics_middleware.web.http import Refusal, WebRequest

MAX_EVENTS: Final = 1000
MAX_AGE: Final = timedelta(hours=24)
"""How old an event may be if its sender has no key; see docs/questions.md on late events."""
MAX_AHEAD: Final = timedelta(hours=1)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_NAME)]
_Number = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
_Id = Annotated[str, msgspec.Meta(max_length=MAX_NAME)] | _Number | None
_EVENT_ID = r"^[A-Za-z0-9-]*[A-Za-z0-9][A-Za-z0-9-]*$"


class SentMoney(msgspec.Struct, forbid_unknown_fields=True):
    """An amount in major units and its ISO 4217 code."""

    amount: str | int | float
    currency: str


class SentEvent(msgspec.Struct, forbid_unknown_fields=True):
    """One event, as clients send it."""

    name: _Name
    user_id: _Id = None
    anon_id: _Id = None
    properties: dict[str, Any] | None = None
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    age_ms: Annotated[float, msgspec.Meta(ge=0, le=1e13)] | None = None
    """Milliseconds since it happened, for clients whose clock may be wrong."""
    event_id: Annotated[str, msgspec.Meta(min_length=1, max_length=36, pattern=_EVENT_ID)] | None = None
    url: Annotated[str, msgspec.Meta(max_length=16_384)] | None = None
    referrer: Annotated[str, msgspec.Meta(max_length=16_384)] | None = None
    type: EventType | None = None
    revenue: SentMoney | None = None


class SentEvents(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST events``."""

    events: Annotated[list[SentEvent], msgspec.Meta(max_length=MAX_EVENTS)]


class SentIdentify(msgspec.Struct, forbid_unknown_fields=True):
    """The body of ``POST identify``."""

    user_id: _Name | _Number
    traits: dict[str, Any] | None = None
    anon_id: _Id = None


class Accepted(msgspec.Struct, omit_defaults=True):
    """The answer: how many were accepted, and of how many an id was ignored because the sender may not claim it."""

    accepted: int
    ignored: int = 0


_events = msgspec.json.Decoder(SentEvents)
_identify = msgspec.json.Decoder(SentIdentify)


class Ingest:
    """Records events and traits in *analytics*."""

    def __init__(self, analytics: Analytics, access: Access) -> None:
        self._analytics = analytics
        self._access = access

    def events(self, request: WebRequest, caller: Caller) -> Accepted:
        """Record the events in *request*. Raises `Refusal`, which names the first wrong one; then none is kept."""
        sent: SentEvents = decoded(request.body, _events)
        signed_in = None if caller is Caller.SERVER else self._access.user_id(request)
        now = datetime.now(UTC)
        ignored = 0
        made: list[TrackedEvent] = []
        for index, each in enumerate(sent.events):
            field = f"events[{index}]"
            event = _event(each, field, now, MAX_AGE if caller is Caller.STRANGER else None)
            if caller is Caller.STRANGER:
                ignored += _disbelieve(event, signed_in)
            context = None
            if caller is not Caller.SERVER:
                # Each event has one of its own: enrichment writes into it.
                context = self._context(request, signed_in)
                if event.url is None:
                    _place(event, request.facts.header("referer"))
            made.append(TrackedEvent(event, context))
        if ignored:
            self._analytics.counters.add("identity_ignored", ignored)
        for tracked in made:
            self._analytics.submit(tracked)
        return Accepted(len(made) if self._analytics.active else 0, ignored)

    def identify(self, request: WebRequest, caller: Caller) -> Accepted:
        """Record the traits in *request*, unless its sender may not claim to be that user."""
        sent: SentIdentify = decoded(request.body, _identify)
        user_id, anon_id = _identity(sent.user_id), _identity(sent.anon_id)
        if user_id is None:
            raise Refusal(400, "invalid", f"{sent.user_id!r:.100} names nobody", "user_id")
        if caller is Caller.STRANGER and user_id != self._access.user_id(request):
            self._analytics.counters.add("identity_ignored")
            return Accepted(0, 1)
        context = None if caller is Caller.SERVER else self._context(request, None)
        self._analytics.submit(TrackedTraits(identification(user_id, sent.traits, anon_id), context))
        return Accepted(int(self._analytics.active))

    def _context(self, request: WebRequest, signed_in: str | None) -> RequestContext:
        """Return what the request tells about its sender, but not its path, which is the API's and no page's."""
        facts = request.facts
        around = request.context
        if around is not None and not around.finished:
            around.read_framework_facts()
        context = RequestContext(self._analytics)
        context.automatic = False
        context.given = Event(
            client_ip=self._access.address(facts),
            locale=(around.locale if around is not None else None) or accept_language(facts.header("accept-language")),
            hostname=self._access.origins.allowed_host(facts) or hostname(site_host(facts.host, facts.host_fallback)),
            user_id=signed_in,
            anon_id=None if around is None else around.anon_id,
            user_agent=facts.header("user-agent"),
            request=facts,
        )
        return context


def _event(sent: SentEvent, field: str, now: datetime, max_age: timedelta | None) -> Event:
    name = clean_name(sent.name)
    if not name:
        raise Refusal(400, "invalid", "a name must not be blank", f"{field}.name")
    kind = sent.type or (EventType.PAGEVIEW if name == "pageview" else EventType.CUSTOM)
    event = Event(type=kind, timestamp=_when(sent, field, now, max_age))
    if kind is EventType.ACTION:
        event.action_name = name
    elif kind is not EventType.PAGEVIEW or name != "pageview":
        event.event_name = name
    if sent.event_id is not None:
        event.event_id = sent.event_id
    event.user_id, event.anon_id = _identity(sent.user_id), _identity(sent.anon_id)
    # Not cleaned here: that happens where events are admitted, where dropped properties are counted.
    event.properties = sent.properties or {}
    if sent.revenue is not None:
        try:
            event.revenue = Money(sent.revenue.amount, sent.revenue.currency)
        except (ValueError, TypeError, OverflowError) as error:
            raise Refusal(400, "invalid", f"{error!s:.200}", f"{field}.revenue") from None
    if sent.url is not None and not _place(event, sent.url):
        raise Refusal(400, "invalid", "a url must begin with http:// or https://", f"{field}.url")
    if sent.referrer and _is_link(sent.referrer):
        event.referrer = sent.referrer
    return event


def _when(sent: SentEvent, field: str, now: datetime, max_age: timedelta | None) -> datetime:
    if sent.timestamp is None:
        at = now if sent.age_ms is None else now - timedelta(milliseconds=sent.age_ms)
        name = "age_ms"
    elif sent.age_ms is not None:
        raise Refusal(400, "invalid", "send timestamp or age_ms, not both", f"{field}.age_ms")
    else:
        at, name = sent.timestamp, "timestamp"
    # Compared before the conversion to UTC, which fails in the first and last hours of the calendar.
    if at > now + MAX_AHEAD:
        raise Refusal(400, "future", "an event may be at most an hour in the future", f"{field}.{name}")
    if at < _EPOCH or (max_age is not None and at < now - max_age):
        oldest = "not be from before 1970" if max_age is None else "be at most 24 hours old if it is sent without a key"
        raise Refusal(400, "too_old", f"an event must {oldest}", f"{field}.{name}")
    return at.astimezone(UTC)


def _identity(value: str | int | None) -> str | None:
    text = None if value is None else clean_name(value)
    return text if is_identity(text) else None


def _disbelieve(event: Event, signed_in: str | None) -> bool:
    """Remove the ids that a stranger may not claim from *event*; return whether there were any."""
    ignored = False
    if event.user_id is not None and event.user_id != signed_in:
        event.user_id = None
        ignored = True
    if is_cookieless(event.anon_id):
        # Such ids are never sent to browsers, so this one is made up.
        event.anon_id = None
        ignored = True
    return ignored


def _place(event: Event, url: str | None) -> bool:
    """Set the page that *event* happened on; return whether *url* is an address of a page."""
    if url is None or not url.startswith(("http://", "https://")):
        return False
    try:
        path = urlsplit(url).path
    except ValueError:
        return False
    event.url = url
    event.path = unquote(path) or "/"
    return True


def _is_link(referrer: str) -> bool:
    # Pages show it as a link, so no address that runs a script may get in.
    return referrer.startswith(("http://", "https://", "android-app://"))
