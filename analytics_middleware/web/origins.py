"""Which pages may call the API: those of the same origin and of the allow-list, as browsers' headers tell.

Browsers send `Origin` with every cross-origin request except plain GETs, and `Sec-Fetch-Site` with all requests (on
trustworthy connections). No page can forge either. A client that sends neither is no browser, so no page can abuse
its cookies.
https://fetch.spec.whatwg.org/#origin-header, https://www.w3.org/TR/fetch-metadata/
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from analytics_middleware.request import Request, hostname
from analytics_middleware.web.http import Refusal, WebResponse

_OWN = frozenset({"same-origin", "none"})


class Origins:
    """Lets in pages of the *allowed* origins and of the site's own."""

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(allowed)

    def check(self, request: Request, *, navigation: bool = False) -> None:
        """Raise `Refusal` if a page of another origin makes this request; with *navigation*, links may lead here."""
        origin = request.header("origin")
        if origin in self._allowed:
            return
        site = request.header("sec-fetch-site")
        if site is not None:
            if site in _OWN or (navigation and request.header("sec-fetch-mode") == "navigate"):
                return
        elif origin is None or _host(origin) == request.host.lower():
            # The schemes are not compared: behind a proxy with TLS, ours may differ from the browser's.
            return
        raise Refusal(403, "origin", f"pages of {origin or site or 'other sites'} may not do this: see allowed_origins")

    def check_own(self, request: Request) -> None:
        """Raise `Refusal` unless a page of this very origin makes this request, as browsers tell with every POST.

        Neither the allow-list nor other hosts of the same site count here. A request without both headers is refused,
        too: browsers that don't send them have been gone since 2020.
        """
        site, origin = request.header("sec-fetch-site"), request.header("origin")
        own = origin is not None and _host(origin) == request.host.lower() if site is None else site == "same-origin"
        if not own:
            raise Refusal(
                403, "origin", f"only pages of {request.host:.100} may do this, not {origin or site or 'others'}"
            )

    def allowed_host(self, request: Request) -> str | None:
        """Return the host name of the page that sent *request*, if its origin is on the allow-list."""
        origin = request.header("origin")
        return hostname(urlsplit(origin).netloc) if origin is not None and origin in self._allowed else None

    def preflight(self, request: Request, methods: Iterable[str]) -> WebResponse:
        """Return the answer to an OPTIONS request: the route's *methods*, and whether the page may use them."""
        response = WebResponse(204, headers=[("allow", ", ".join(methods))])
        if request.header("origin") in self._allowed:
            response.headers += [
                ("access-control-allow-methods", ", ".join(methods)),
                ("access-control-allow-headers", "authorization, content-type, x-analytics-key"),
                ("access-control-max-age", "7200"),
            ]
        return response

    def mark(self, request: Request, response: WebResponse) -> None:
        """Let an allowed page read *response*; never with cookies: there is no Access-Control-Allow-Credentials."""
        response.headers.append(("vary", "Origin, Cookie, Authorization"))
        origin = request.header("origin")
        if origin is not None and origin in self._allowed:
            response.headers.append(("access-control-allow-origin", origin))


def _host(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None
