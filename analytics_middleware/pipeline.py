"""What the writer thread does with each submitted item: make the event, enrich it, run processors, encode it."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import quote

from analytics_middleware.admission import MAX_TEXT, admit
from analytics_middleware.classify import classify
from analytics_middleware.context import RequestContext
from analytics_middleware.counters import Counters, logger
from analytics_middleware.enrich.locale import accept_language, framework_locale
from analytics_middleware.enrich.visit import EnrichedEvent, Enricher
from analytics_middleware.event import FROM_REQUEST, Erase, Event, EventType, Identify, Visit
from analytics_middleware.ids import uuid7
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.records import draft_of
from analytics_middleware.outbox.spill import FAILURES
from analytics_middleware.properties import MAX_NAME, MAX_PROPERTIES, clean_name, clean_text
from analytics_middleware.remembering import remembered
from analytics_middleware.request import Request, hostname, site_host
from analytics_middleware.settings import Settings
from analytics_middleware.tracing import trace_id_of
from analytics_middleware.tracking import TrackedEvent, TrackedTraits

R = TypeVar("R")

Submission = RequestContext | TrackedEvent | TrackedTraits | Erase
"""What a request, or a call outside a request, submits to the writer thread."""


class RecordWithFlags(NamedTuple):
    """Traits or an erasure, and the flags of its log entry."""

    record: Identify | Erase
    flags: int = 0


_LOOKED_AT_FOR_PROXIES = 1000
"""How many requests of a process are checked for signs of a proxy that is not trusted."""
_PRIVATE = ("10.", "127.", "192.168.", "172.", "fc", "fd", "::1")

_MAX_METHOD = 32
"""Characters kept of a request's method: clients may send any word."""

# Fields that a tracked event takes from its request if the caller left them empty.
_INHERITED = (*FROM_REQUEST, "client_ip", "action_name")


class Pipeline:
    """Turns submitted items into drafts of log entries. Used by one thread at a time."""

    def __init__(
        self, settings: Settings, counters: Counters, enricher: Enricher, *, keep_address: bool = False
    ) -> None:
        self._counters = counters
        self._keep_address = keep_address
        self._enricher = enricher
        self._exclusions = enricher.exclusions
        self._classify = settings.classify
        self._track_all = settings.track_all
        self._processors = settings.processors
        self._environment = settings.environment
        self._client_ip = enricher.client_ip
        self._behind_proxy = bool(settings.trusted_proxies)
        self._look_for_proxies = 0 if self._behind_proxy else _LOOKED_AT_FOR_PROXIES
        self._proxy_logged = False

    def drafts(self, items: Iterable[Submission]) -> list[Draft]:
        """Return the log entries for *items*. An item that fails is counted, logged and left out."""
        enriched = self._each(self._enrich, items)
        try:
            self._enricher.assign_sessions([each for each in enriched if isinstance(each, EnrichedEvent)])
        except FAILURES as error:
            # Sessions are shared through the database; if it fails, events are kept without one.
            self._counters.log("sessions", logger.warning, "analytics: events without a session: %s", error)
        return self._each(self._draft, enriched)

    def _each(self, step: Callable[[Any], R | None], items: Iterable[Any]) -> list[R]:
        results: list[R] = []
        for item in items:
            try:
                result = step(item)
            except Exception:  # noqa: BLE001 - one bad item must not lose the others
                self._counters.drop("internal_error")
                self._counters.log("pipeline", logger.warning, "analytics: an event could not be made", exc_info=True)
            else:
                if result is not None:
                    results.append(result)
        return results

    def _enrich(self, item: Submission) -> EnrichedEvent | RecordWithFlags | None:
        if isinstance(item, RequestContext):
            event = self._automatic(item)
        elif isinstance(item, TrackedEvent):
            event = self._custom(item)
        elif isinstance(item, TrackedTraits):
            return RecordWithFlags(item.record, self._enricher.flags(_request_of(item.context)))
        else:
            return RecordWithFlags(item)
        if event is None:
            return None
        address = event.client_ip
        context = item if isinstance(item, RequestContext) else item.context
        # A task knows no address, so the hash would make one visitor of all people with the same browser.
        nobody = address is None and context is not None and context.restored
        enriched = self._enricher.enrich(event, event.request, automatic=context is item, nobody=nobody)
        if self._keep_address:
            event.client_ip = address
        return enriched

    def _draft(self, item: EnrichedEvent | RecordWithFlags) -> Draft | None:
        if isinstance(item, RecordWithFlags):
            return draft_of(item.record, flags=item.flags)
        event = self._process(item.event) if self._processors else item.event
        return None if event is None else draft_of(event, item.private, item.flags)

    def _automatic(self, context: RequestContext) -> Event | None:
        if context.excluded or context.staff or (self._exclusions.any_path and self._exclusions.path(context.path)):
            return None
        request = context.facts()
        if self._classify is None:
            kind = classify(
                request,
                event_name=context.event_name,
                action_name=context.action_name,
                track_all=self._track_all,
            )
        else:
            answer = self._classify(request)
            kind = None if answer is None else EventType(answer)
            # As without the hook: a name that the view set makes the event what it is.
            if kind is not None and context.event_name:
                kind = EventType.CUSTOM
            elif kind is EventType.PAGEVIEW and context.action_name:
                kind = EventType.ACTION
        if kind is None:
            return None
        event = self._facts(context, request, kind)
        if self._exclusions.any_visitor and self._exclusions.visitor(request, event.client_ip):
            return None
        event.event_name = context.event_name
        event.action_name = context.action_name or (context.endpoint if kind is EventType.ACTION else None)
        event.status_code = context.status
        event.duration = context.duration
        event.revenue = context.revenue
        if context.properties is not None:
            event.properties = context.properties
        self._add_environment(event)
        return event

    def _custom(self, item: TrackedEvent) -> Event | None:
        event = item.event
        context = item.context
        if context is not None:
            facts = context.given if context.given is not None else self._facts(context, context.facts())
            request = facts.request
            if context.staff or (request is not None and self._exclusions.visitor(request, facts.client_ip)):
                return None
            for field in _INHERITED:
                if getattr(event, field) is None:
                    setattr(event, field, getattr(facts, field))
            event.visit = event.visit if event.visit != _NO_VISIT else facts.visit
            event.request = facts.request
        self._add_environment(event)
        if dropped := admit(event):
            self._counters.add("properties_dropped", dropped)
        return event

    def _add_environment(self, event: Event) -> None:
        if self._environment is None or "environment" in event.properties:
            return
        if len(event.properties) >= MAX_PROPERTIES:
            event.properties.popitem()
            self._counters.add("properties_dropped")
        event.properties["environment"] = self._environment

    def _facts(self, context: RequestContext, request: Request, kind: EventType = EventType.CUSTOM) -> Event:
        """Return an event with all the facts of the request itself."""
        if self._look_for_proxies:
            self._look_for_proxy(request)
        scheme, host = self._asked_for(request)
        url, path, hostname = _location(scheme, host, request.host_fallback, context.path, context.query)
        user_agent = request.header("user-agent")
        referrer = request.header("referer")
        locale = context.locale
        return Event(
            event_id=context.event_id or uuid7(),
            type=kind,
            timestamp=datetime.fromtimestamp(context.entered, UTC),
            client_ip=self._client_ip(request),
            locale=framework_locale(locale) if locale else accept_language(request.header("accept-language")),
            hostname=hostname,
            user_id=_user_id(context),
            anon_id=context.anon_id,
            matched_pattern=context.pattern,
            url=url or None,
            path=path,
            method=context.method[:_MAX_METHOD],
            user_agent=None if user_agent is None else clean_text(user_agent, MAX_TEXT),
            referrer=None if referrer is None else clean_text(referrer, MAX_TEXT),
            visit=Visit(trace_id=trace_id_of(context.trace, request)),
            request=request,
        )

    def _asked_for(self, request: Request) -> tuple[str, str]:
        """Return scheme and host of the URL that the visitor asked for; a trusted proxy that changes them says so."""
        scheme, host = request.scheme, request.host
        if self._behind_proxy and self._client_ip.trusts_peer(request):
            if scheme == "http" and _first(request, "x-forwarded-proto").lower() == "https":
                scheme = "https"
            host = site_host(_first(request, "x-forwarded-host"), host)
        return scheme, host

    def _look_for_proxy(self, request: Request) -> None:
        """Count and log a proxy's header that is not trusted: all visitors seem to have the proxy's address."""
        self._look_for_proxies -= 1
        peer = (request.peer or "").removeprefix("::ffff:")
        # Through a Unix socket there is no peer.
        if (not peer or peer.startswith(_PRIVATE)) and request.header("x-forwarded-for") is not None:
            self._counters.add("proxy_ignored")
            if not self._proxy_logged:
                self._proxy_logged = True
                logger.warning(
                    "analytics: requests come through a proxy, so visitors' addresses are not known: list %s in "
                    "trusted_proxies, or have the server read its header",
                    # Not its address: without a proxy it would be a visitor's.
                    "the proxy's address" if peer else "'unix'",
                )

    def _process(self, event: Event) -> Event | None:
        for processor in self._processors:
            try:
                result: Any = processor(event)
                if result is not None and not isinstance(result, Event):
                    raise TypeError(f"a processor returned {type(result).__name__}; it must return an Event or None")
            except (Exception, SystemExit):  # noqa: BLE001 - application code must not end the thread
                self._counters.drop("processor_error")
                self._counters.log("processor", logger.warning, "analytics: a processor raised", exc_info=True)
                return None
            if result is None:
                self._counters.drop("processor")
                return None
            event = result
        admit(event)
        return event


_NO_VISIT = Event().visit


def _first(request: Request, name: str) -> str:
    """Return what the first proxy of several has written to the header *name*, empty if there is none."""
    return (request.header(name) or "").partition(",")[0].strip()


def _request_of(context: RequestContext | None) -> Request | None:
    if context is None:
        return None
    return context.facts() if context.given is None else context.given.request


def _user_id(context: RequestContext) -> str | None:
    # `set_user` outranks the framework's auth; the empty string means nobody.
    if context.set_user_id is not None:
        return context.set_user_id or None
    user_id = context.user_id
    if user_id is None or (len(user_id) <= MAX_NAME and user_id.isalnum() and user_id.isascii()):
        # The usual case needs no cleaning. The empty string is not alphanumeric.
        return user_id
    # Cleaned as in tracked events, or one user would become two.
    return clean_name(user_id) or None


@remembered(4096)
def _location(scheme: str, host: str, fallback: str, path: str, query: str) -> tuple[str, str, str | None]:
    """Return the URL, the path and the host's name of a request for *path* on *host*.

    The URL is empty if neither is known, as in a task to which only the essential facts of its request were sent.
    """
    host = site_host(host, fallback)
    if not host and not path:
        return "", "", None
    target = quote(path, safe="/!$&'()*+,;=:@~%", errors="replace") if not path.isascii() or " " in path else path
    url = f"{scheme}://{host}{target}?{query}" if query else f"{scheme}://{host}{target}"
    return clean_text(url, MAX_TEXT), clean_text(path, MAX_TEXT), hostname(host)
