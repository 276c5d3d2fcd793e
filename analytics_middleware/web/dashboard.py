"""The dashboard: pages as HTML, as JSON at the same address, and their tables as CSV; closed to strangers."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from analytics_middleware.analytics import Analytics
from analytics_middleware.counters import logger
from analytics_middleware.errors import AnalyticsError
from analytics_middleware.store.filters import QuestionError
from analytics_middleware.web.access import access_of
from analytics_middleware.web.http import JSON, PRIVATE, Framework, Refusal, WebRequest, WebResponse
from analytics_middleware.web.links import Links
from analytics_middleware.web.pages import events, funnels, live, overview, paths, pipeline, retention, users
from analytics_middleware.web.pages.scope import COMMON, FILTER, PERIODS, Scope, added_filter, read_scope
from analytics_middleware.web.parameters import Parameter, ParameterError, choice, parse, text
from analytics_middleware.web.tables import Table, csv_of
from analytics_middleware.web.templating import environment, render, static_files

CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
_HEADERS: Final = (
    ("content-security-policy", CSP),
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    *PRIVATE,
)
_FORMS: Final[tuple[Parameter, ...]] = (
    choice("format", "html, json or csv. Default: by the Accept header, else html.", ("html", "json", "csv")),
    text("table", "With format=csv: which table of the page."),
)
_ROWS: Final = 10
_CSV_ROWS: Final = 1000
_THEMES: Final = ("dark", "light")

_to_json = msgspec.json.Encoder(enc_hook=str).encode


@dataclasses.dataclass(frozen=True, slots=True)
class Page:
    """One page."""

    name: str
    """Its path below the mount."""
    title: str
    view: Callable[[Analytics, Scope, dict[str, Any], int], Any]
    parameters: tuple[Parameter, ...] = ()


PAGES: Final[tuple[Page, ...]] = (
    Page("", "Overview", overview.overview, overview.PARAMETERS),
    Page("live", "Live", live.live),
    Page("events", "Events", events.events, events.PARAMETERS),
    Page("funnels", "Funnels", funnels.funnels, funnels.PARAMETERS),
    Page("retention", "Retention", retention.retention, retention.PARAMETERS),
    Page("users", "Users", users.users, users.PARAMETERS),
    Page("paths", "Paths", paths.paths, paths.PARAMETERS),
    Page("pipeline", "Pipeline", pipeline.pipeline),
)
"""Every page, in the order of the navigation."""


class Dashboard:
    """Answers requests for pages about what *analytics* has recorded; runners and adapters mount it.

    Raises `MissingExtraError` when the extra ``dashboard`` is not installed.
    """

    max_body = 0

    def __init__(self, analytics: Analytics, framework: Framework | None = None) -> None:
        environment()
        self._analytics = analytics
        self.mount = analytics.settings.dashboard_path
        self._access = access_of(analytics, framework, entrance=self.mount)
        self._pages = {page.name: page for page in PAGES}

    def __call__(self, request: WebRequest) -> WebResponse:
        """Answer *request*."""
        try:
            response = self._route(request)
        except Refusal as refusal:
            response = self._refused(request, refusal)
        except Exception:  # noqa: BLE001 - whatever it is, its details are for the log
            self._analytics.counters.log("dashboard", logger.error, "analytics: the dashboard failed", exc_info=True)
            response = self._refused(request, Refusal(500, "internal", "This failed; the server's log says why."))
        response.headers.append(("vary", "Accept, Cookie, Authorization"))
        return response

    def _route(self, request: WebRequest) -> WebResponse:
        method, path = request.facts.method, request.path.strip("/")
        if method not in ("GET", "HEAD"):
            raise Refusal(405, "method", f"{method[:20]} is not possible here.", headers=[("allow", "GET, HEAD")])
        if path.startswith("static/"):
            return _static(path.removeprefix("static/"))
        if path == "login":
            return self._login(request)
        page = self._pages.get(path)
        # Strangers are not told which addresses there are.
        self._access.check_reader(request)
        if page is None:
            raise Refusal(404, "not_found", "There is no such page.")
        try:
            return self._answer(request, page)
        except (QuestionError, ParameterError) as error:
            raise Refusal(400, "invalid", str(error), error.field) from None
        except AnalyticsError as error:
            # No store, or its extra is not installed.
            raise Refusal(503, "unavailable", str(error)) from None

    def _answer(self, request: WebRequest, page: Page) -> WebResponse:
        # Forms send the fields that were left empty, too.
        query = "&".join(part for part in request.facts.query.split("&") if not part.endswith("="))
        asked = parse(query, (*page.parameters, *COMMON, *FILTER, *_FORMS))
        form = asked.get("format") or ("json" if _wants_json(request) else "html")
        scope = read_scope(self._analytics.insights, asked)
        links = Links(request.mount, page.name, parse_qsl(query), scope.where)
        made = added_filter(asked)
        if made is not None:
            return WebResponse(303, headers=[("location", links.also(made)), *_HEADERS])
        view = page.view(self._analytics, scope, asked, _CSV_ROWS if form == "csv" else _ROWS)
        if form == "json":
            return WebResponse(200, _to_json({"data": view}), [("content-type", JSON), *_HEADERS])
        if form == "csv":
            return _csv(page, view.tables, asked.get("table"), scope)
        values = {"view": view, "scope": scope, "page": page, "links": links}
        return self._html(request, f"{page.name or 'overview'}.html", values)

    def _html(
        self,
        request: WebRequest,
        template: str,
        values: dict[str, Any],
        status: int = 200,
        headers: Iterable[tuple[str, str]] = (),
    ) -> WebResponse:
        theme = request.facts.cookie("analytics_theme")
        files = static_files()
        values = {
            "pages": PAGES,
            "periods": PERIODS,
            "theme": theme if theme in _THEMES else None,
            "css": f"{request.mount}/static/dashboard.css?v={files['dashboard.css'][2]}",
            "js": f"{request.mount}/static/dashboard.js?v={files['dashboard.js'][2]}",
            "durable": self._analytics.settings.data_dir is not None,
            **values,
        }
        return WebResponse(
            status, render(template, values), [("content-type", "text/html; charset=utf-8"), *headers, *_HEADERS]
        )

    def _login(self, request: WebRequest) -> WebResponse:
        token: str = parse(request.facts.query, (text("token", "From the server's log."),)).get("token", "")
        # A HEAD request is somebody's preview of a link, and must not spend it.
        usable = self._access.by_login and request.facts.method == "GET"
        cookie = self._access.login.exchange(token) if usable else None
        if cookie is None:
            raise Refusal(401, "token", "This login URL was used, has expired, or never was one.", "token")
        headers = [("location", f"{request.mount}/"), self._access.login.set_cookie(cookie, request.facts)]
        return WebResponse(303, headers=[*headers, *_HEADERS])

    def _refused(self, request: WebRequest, refusal: Refusal) -> WebResponse:
        if _wants_json(request) or "format=json" in request.facts.query:
            response = refusal.response()
            response.headers.append(("content-security-policy", CSP))
            return response
        values = {"status": refusal.status, "message": str(refusal), "home": f"{request.mount}/"}
        return self._html(request, "refused.html", values, refusal.status, refusal.headers)


def _static(name: str) -> WebResponse:
    found = static_files().get(name)
    if found is None:
        raise Refusal(404, "not_found", "There is no such file.")
    content, kind, _ = found
    # Pages ask for it by its version, so it never changes.
    cached = ("cache-control", "public, max-age=31536000, immutable")
    return WebResponse(200, content, [("content-type", kind), cached, ("x-content-type-options", "nosniff")])


def _csv(page: Page, tables: dict[str, Table], name: str | None, scope: Scope) -> WebResponse:
    found = tables.get(name or "") or (next(iter(tables.values()), None) if name is None else None)
    if found is None:
        raise ParameterError("table", f"{name!r:.100} is not one of {', '.join(tables)}")
    file = f"{page.name or 'overview'}-{found.name}-{scope.first}-{scope.last}.csv"
    headers = [("content-type", "text/csv; charset=utf-8"), ("content-disposition", f'attachment; filename="{file}"')]
    return WebResponse(200, csv_of(found), [*headers, *_HEADERS])


def _wants_json(request: WebRequest) -> bool:
    accept = request.facts.header("accept") or ""
    return "application/json" in accept and "text/html" not in accept
