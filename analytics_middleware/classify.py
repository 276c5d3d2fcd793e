"""The rule that says which requests are events, the same for every framework.

A GET for a document is a page view, a request that changes something is an action, and what a view named is an
event whatever else it is. HEAD requests and prefetches run the view for nobody: names set there don't count.
"""

from analytics_middleware.event import EventType
from analytics_middleware.request import Request

_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_HTML = ("text/html", "application/xhtml+xml")


def classify(request: Request, *, event_name: str | None, action_name: str | None, track_all: bool) -> EventType | None:
    """Return the type of the automatic event that *request* makes, or None if it makes none."""
    method = request.method
    if method == "OPTIONS":
        return None
    for_nobody = method == "HEAD" or _is_prefetch(request)
    if not for_nobody:
        if event_name:
            return EventType.CUSTOM
        if action_name or method in _UNSAFE:
            return EventType.ACTION
        if method == "GET" and _is_document(request):
            return EventType.PAGEVIEW
    return EventType.ACTION if track_all else None


def _is_prefetch(request: Request) -> bool:
    # Sec-Purpose is today's header (Fetch, "prefetch" or "prefetch;prerender"); the others are its forerunners.
    for name in ("sec-purpose", "purpose", "x-purpose", "x-moz"):
        value = request.header(name)
        if value is not None and "prefetch" in value.lower():
            return True
    return False


def _is_document(request: Request) -> bool:
    if request.header("hx-request") is not None or request.header("turbo-frame") is not None:
        return False
    destination = request.header("sec-fetch-dest")
    if destination is not None and destination.strip().lower() != "document":
        return False
    status = request.status or 0
    if 200 <= status < 300:
        # Some frameworks give a 204 the content type of a page, others none.
        return status not in (204, 205) and request.content_type.startswith(_HTML)
    if status == 304 or status >= 400:
        return destination is not None or _accepts_html(request)
    return False


def _accepts_html(request: Request) -> bool:
    accept = request.header("accept")
    return accept is not None and "text/html" in accept.lower()
