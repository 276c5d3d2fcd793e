"""The rule that decides which requests become events, the same for every framework.

A GET for a document is a page view, a request that changes something is an action, and a request that its view has
named is always an event. Nobody sees the responses to HEAD requests and prefetches, so names set there don't count.
"""

from analytics_middleware.event import EventType
from analytics_middleware.request import HeaderNames, Request

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HTML = ("text/html", "application/xhtml+xml")
# Sec-Purpose is today's header (Fetch, "prefetch" or "prefetch;prerender"), then come its forerunners, and what scripts
# send that load the link under the pointer: Turbo ("prefetch") and htmx ("true").
_PREFETCH = ("sec-purpose", "purpose", "x-purpose", "x-moz", "x-sec-purpose", "hx-preloaded")
_FOR_NOBODY = ("prefetch", "true")
_PREFETCH_HEADERS = HeaderNames(*_PREFETCH)
_FRAGMENT = ("hx-request", "turbo-frame")
_FRAGMENT_HEADERS = HeaderNames(*_FRAGMENT)
_RARE_HEADERS = HeaderNames(*_PREFETCH, *_FRAGMENT)


def classify(request: Request, *, event_name: str | None, action_name: str | None, track_all: bool) -> EventType | None:
    """Return the type of the automatic event that *request* makes, or None if it makes none."""
    method = request.method
    if method == "OPTIONS":
        return None
    # Most requests have none of these headers, so one check comes first.
    rare = request.has_any(_RARE_HEADERS)
    for_nobody = method == "HEAD" or (rare and _is_prefetch(request))
    if not for_nobody:
        if event_name:
            return EventType.CUSTOM
        if action_name or method in _UNSAFE:
            return EventType.ACTION
        if method == "GET" and not (rare and request.has_any(_FRAGMENT_HEADERS)) and _is_document(request):
            return EventType.PAGEVIEW
    return EventType.ACTION if track_all else None


def is_navigation(request: Request) -> bool:
    """Whether a browser requests a document to show, not a prefetch, a fragment, an asset or a script's request."""
    if request.method in ("HEAD", "OPTIONS") or _is_prefetch(request) or request.has_any(_FRAGMENT_HEADERS):
        return False
    destination = request.header("sec-fetch-dest")
    return _accepts_html(request) if destination is None else destination.strip().lower() == "document"


def is_answer_to_navigation(request: Request) -> bool:
    """Whether the response to *request* is a document for a browser to show, or a redirect to one."""
    status = request.status or 0
    if 300 <= status < 400:
        return status != 304 and is_navigation(request)
    return (
        200 <= status < 300
        and request.method not in ("HEAD", "OPTIONS")
        and not _is_prefetch(request)
        and not request.has_any(_FRAGMENT_HEADERS)
        and _is_document(request)
    )


def _is_prefetch(request: Request) -> bool:
    if not request.has_any(_PREFETCH_HEADERS):
        return False
    return any((request.header(name) or "").strip().lower().startswith(_FOR_NOBODY) for name in _PREFETCH)


def _is_document(request: Request) -> bool:
    """Whether *request* asked for a whole document and got one; callers have excluded fragments."""
    destination = request.header("sec-fetch-dest")
    if destination is not None and destination.strip().lower() != "document":
        return False
    status = request.status or 0
    if 200 <= status < 300:
        # Some frameworks give a 204 the content type of a page.
        return status not in (204, 205) and request.content_type.startswith(_HTML)
    if status == 304 or status >= 400:
        return destination is not None or _accepts_html(request)
    return False


def _accepts_html(request: Request) -> bool:
    accept = request.header("accept")
    return accept is not None and "text/html" in accept.lower()
