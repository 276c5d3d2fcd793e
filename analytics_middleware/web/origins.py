"""Which pages may talk to the API: same-origin ones and the allow-list, by what browsers say of where they are.

Browsers send `Origin` with every cross-origin request that is not a mere GET, and `Sec-Fetch-Site` with all of them
(on trustworthy connections); no page can forge either. What sends neither is no browser, and has no cookies to abuse.
https://fetch.spec.whatwg.org/#origin-header, https://www.w3.org/TR/fetch-metadata/
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from analytics_middleware.request import Request, hostname
from analytics_middleware.web.http import Refusal, WebResponse

_OWN = frozenset({"same-origin", "none"})


class Origins:
    """The origins of *allowed* and the site's own."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)

    def check(self, request: Request, *, navigation: bool = False) -> None:
        """Raise `Refusal` when a page of another origin makes this request; with *navigation*, links may lead here."""
        origin = request.header("origin")
        if origin in self._allowed:
            return
        site = request.header("sec-fetch-site")
        if site is not None:
            if site in _OWN or (navigation and request.header("sec-fetch-mode") == "navigate"):
                return
        elif origin is None or _host(origin) == request.host.lower():
            # Behind a proxy that speaks TLS, the scheme here may differ from the browser's.
            return
        raise Refusal(403, "origin", f"pages of {origin or site or 'other sites'} may not do this: see allowed_origins")

    def check_own(self, request: Request) -> None:
        """Raise `Refusal` unless a page of this very site makes this request, as a browser says of every POST.

        What forms may do is for them alone: the allow-list does not count, nor does another host of the same site. A
        form that says nothing of where it stands is refused, too: browsers that can't say have been gone since 2020.
        """
        site, origin = request.header("sec-fetch-site"), request.header("origin")
        own = origin is not None and _host(origin) == request.host.lower() if site is None else site == "same-origin"
        if not own:
            raise Refusal(
                403, "origin", f"only pages of {request.host:.100} may do this, not {origin or site or 'others'}"
            )

    def allowed_host(self, request: Request) -> str | None:
        """Return the host of the page that sent *request*, if it is another origin's that is allowed."""
        origin = request.header("origin")
        return hostname(urlsplit(origin).netloc) if origin is not None and origin in self._allowed else None

    def preflight(self, request: Request, methods: Iterable[str]) -> WebResponse:
        """Return the answer to an OPTIONS request: what the route can do, and whether the asking page may."""
        response = WebResponse(204, headers=[("allow", ", ".join(methods))])
        if request.header("origin") in self._allowed:
            response.headers += [
                ("access-control-allow-methods", ", ".join(methods)),
                ("access-control-allow-headers", "authorization, content-type, x-analytics-key"),
                ("access-control-max-age", "7200"),
            ]
        return response

    def mark(self, request: Request, response: WebResponse) -> None:
        """Let an allowed page read *response*. Cookies are never part of it: no Access-Control-Allow-Credentials."""
        response.headers.append(("vary", "Origin, Cookie, Authorization"))
        origin = request.header("origin")
        if origin is not None and origin in self._allowed:
            response.headers.append(("access-control-allow-origin", origin))


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
