"""Makes names, texts and properties fit a destination's limits, and counts what was cut.

The rules are the same for all destinations: texts lose their end, properties beyond the destination's limit are left
out, the last ones first, and of two keys that become equal the first is kept. Nothing is random, so a retry sends
exactly what the first attempt sent.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from analytics_middleware.counters import Counters
from analytics_middleware.enrich.referrer import referring_host, utm_parameters
from analytics_middleware.event import Event
from analytics_middleware.properties import Scalar


class Fit:
    """Cuts what is too long, and counts each kind of cut in *cut*."""

    def __init__(self, cut: Counters) -> None:
        self._cut = cut

    def text(self, what: str, text: str, limit: int) -> str:
        """Return the first *limit* characters of *text*."""
        if len(text) <= limit:
            return text
        self._cut.add(what)
        return text[:limit]

    def utf8(self, what: str, text: str, limit: int) -> str:
        """Return as many whole characters of *text* as fit into *limit* bytes of UTF-8."""
        if len(text) * 4 <= limit or len(data := text.encode()) <= limit:
            return text
        self._cut.add(what)
        return data[:limit].decode("utf-8", "ignore")

    def url(self, what: str, url: str, limit: int) -> str:
        """Return *url* in at most *limit* bytes: without query and fragment if it is too long, then without its end."""
        if len(url.encode()) <= limit:
            return url
        self._cut.add(what)
        return url.partition("#")[0].partition("?")[0].encode()[:limit].decode("utf-8", "ignore")

    def properties(
        self,
        properties: Mapping[str, Any],
        count: int,
        key: Callable[[str], str],
        value: Callable[[Any], Any] = lambda value: value,
    ) -> dict[str, Any]:
        """Return at most *count* of *properties*, with each name passed through *key* and each value through *value*.

        A property is left out if its value becomes None or its name empty.
        """
        fitted: dict[str, Any] = {}
        for name, given in properties.items():
            if given is None or (made := value(given)) is None:
                continue
            if not (short := key(name)) or short in fitted:
                self._cut.add("property_name")
            elif len(fitted) >= count:
                self._cut.add("properties")
            else:
                fitted[short] = made
        return fitted

    def within(self, limit: int, kept: dict[str, Any], names: Iterable[str], made: Callable[[], bytes]) -> bytes:
        """Return what *made* encodes, in at most *limit* bytes: *names* are deleted from *kept*, the last one first."""
        part = made()
        for name in reversed([name for name in names if name in kept]):
            if len(part) <= limit:
                break
            del kept[name]
            self._cut.add("properties")
            part = made()
        return part


def facts(event: Event, *, without: Collection[str] = ()) -> dict[str, Scalar]:
    """Return the event's own fields as properties, for destinations that take any property.

    *without* names those that the destination has fields of its own for. All have such fields for ``url``,
    ``referrer``, ``user_agent`` and ``client_ip``, so these are never included.
    """
    visit = event.visit
    known: dict[str, Scalar] = {
        "type": event.type.value,
        "action_name": event.action_name,
        "path": event.path,
        "hostname": event.hostname,
        "route": event.matched_pattern,
        "method": event.method,
        "status_code": event.status_code,
        "duration_ms": None if event.duration is None else round(event.duration * 1000, 3),
        "locale": event.locale,
        "channel": visit.channel,
        "source": visit.source,
        "medium": visit.medium,
        "campaign": visit.campaign,
        "trace_id": visit.trace_id,
    }
    return {key: value for key, value in known.items() if value is not None and key not in without}


def money(event: Event) -> dict[str, Any]:
    """Return revenue in major units and its currency, by the names that most destinations use."""
    return {} if event.revenue is None else {"revenue": event.revenue.amount, "currency": event.revenue.currency}


def campaign(event: Event, prefix: str) -> dict[str, str]:
    """Return the event's campaign, by UTM's names with *prefix*: the UTM parameters of its URL, as written.

    What a referrer or a click id tells is no campaign: a destination would take it for parameters that nobody set.
    """
    visit = event.visit
    written = utm_parameters(event.url)
    if not written and visit.campaign is None:
        return {}
    known = {
        "source": visit.source,
        "medium": visit.medium,
        "campaign": visit.campaign,
        "term": visit.term,
        "content": visit.content,
        **written,
    }
    return {f"{prefix}{name}": value for name, value in known.items() if value is not None}


def web_properties(event: Event) -> dict[str, Any]:
    """Return the properties that Mixpanel and PostHog give the same names."""
    visit = event.visit
    known: dict[str, Any] = {
        "$current_url": event.url,
        "$referrer": event.referrer,
        "$referring_domain": referring_host(event.referrer),
        "$browser": visit.browser,
        "$browser_version": visit.browser_version,
        "$os": visit.os,
    }
    named = {key: value for key, value in known.items() if value is not None}
    return {**named, **campaign(event, "utm_"), **money(event)}


def query_of(url: str | None) -> str:
    """Return the query of *url* without its question mark, even if the URL is malformed."""
    return (url or "").partition("#")[0].partition("?")[2]


def user_agent(event: Event) -> str | None:
    """Return the visitor's user agent, from the event or else from the request's header."""
    if event.user_agent or event.request is None:
        return event.user_agent
    return event.request.header("user-agent")


def header_value(text: str) -> str:
    """Return *text* as the value of a header, without control characters and characters beyond Latin-1."""
    text = text.encode("latin-1", "replace").decode("latin-1")
    return "".join(char if char >= " " and char != "\x7f" else " " for char in text).strip()
