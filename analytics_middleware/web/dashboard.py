"""The dashboard: pages as HTML, as JSON at the same address, and their tables as CSV; for authorised readers only."""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from analytics_middleware.analytics import Analytics, check_analytics
from analytics_middleware.counters import logger
from analytics_middleware.store.filters import QuestionError
from analytics_middleware.web.access import Caller, access_of
from analytics_middleware.web.changes import MAX_BODY, Changes, Forms, read_form
from analytics_middleware.web.http import JSON, PRIVATE, Framework, Refusal, WebRequest, WebResponse, refusals
from analytics_middleware.web.links import SHARED, Links, SharedLinks
from analytics_middleware.web.pages import events, funnels, live, overview, paths, pipeline, retention, saved, users
from analytics_middleware.web.pages.erase import ERASE, erased, to_erase
from analytics_middleware.web.pages.scope import COMMON, FILTER, PERIODS, Scope, added_filter, read_scope
from analytics_middleware.web.parameters import Parameter, choice, parse, text
from analytics_middleware.web.saved import saved_of
from analytics_middleware.web.serving import HEADERS, check_method, csv_file, shared_headers, static_file, wants_json
from analytics_middleware.web.share import check_impersonal, shares_of
from analytics_middleware.web.streaming import HEADERS as STREAM
from analytics_middleware.web.streaming import Snapshot, Streams
from analytics_middleware.web.templating import environment, render, static_files

_FORMS: Final[tuple[Parameter, ...]] = (
    choice(
        "format",
        "html, json, csv, or stream (changes as server-sent events). Default: by the Accept header, else html.",
        ("html", "json", "csv", "stream"),
    ),
    text("table", "With format=csv: which table of the page."),
)
_TAKE_FORMS: Final = ("saved", "erase")
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
    shareable: bool = False
    """Whether a share link may open it to strangers: it shows figures and no single user."""
    part: str | None = None
    """The template of the part that is sent again whenever it changes, if the page has one."""


PAGES: Final[tuple[Page, ...]] = (
    Page("", "Overview", overview.overview, overview.PARAMETERS, shareable=True),
    Page("live", "Live", live.live, part="here.html"),
    Page("events", "Events", events.events, events.PARAMETERS),
    Page("funnels", "Funnels", funnels.funnels, funnels.PARAMETERS, shareable=True),
    Page("retention", "Retention", retention.retention, retention.PARAMETERS, shareable=True),
    Page("users", "Users", users.users, users.PARAMETERS),
    Page("paths", "Paths", paths.paths, paths.PARAMETERS, shareable=True),
    Page("pipeline", "Pipeline", pipeline.pipeline),
    Page("saved", "Saved", saved.saved, saved.PARAMETERS),
)
"""Every page, in the order of the navigation."""


class Dashboard:
    """Answers requests for pages about what *analytics* has recorded; runners and adapters mount it.

    Raises `MissingExtraError` when the extra ``dashboard`` is not installed.
    """

    def __init__(self, analytics: Analytics, framework: Framework | None = None) -> None:
        environment()
        self._analytics = check_analytics(analytics)
        self.mount = analytics.settings.dashboard_path
        self._access = access_of(analytics, framework, entrance=self.mount)
        self._pages = {page.name: page for page in PAGES}
        self._shares = shares_of(analytics)
        self._changes = Changes(saved_of(analytics), self._shares, self._check_shareable)
        self._streams = Streams(analytics.counters, lambda: analytics.closed)
        self._shared_headers = shared_headers(analytics.settings.frame_ancestors)

    def body_limit(self, request: WebRequest) -> int:
        """Return the most bytes that a form may have."""
        return MAX_BODY

    def __call__(self, request: WebRequest) -> WebResponse:
        """Answer *request*."""
        path = request.path.strip("/")
        shared = path.startswith(SHARED)
        try:
            if request.refusal is not None:
                raise request.refusal
            if path.startswith("static/"):
                return static_file(request, path.removeprefix("static/"))
            with refusals():
                response = self._shared(request, path.removeprefix(SHARED)) if shared else self._route(request, path)
        except Refusal as refusal:
            response = self._refused(request, refusal)
        except Exception:  # noqa: BLE001 - the details are for the log, not for whoever asked
            self._analytics.counters.log("dashboard", logger.error, "analytics: the dashboard failed", exc_info=True)
            response = self._refused(request, Refusal(500, "internal", "This failed; the server's log says why."))
        response.headers += self._shared_headers if shared else HEADERS
        return response

    def _route(self, request: WebRequest, path: str) -> WebResponse:
        check_method(request, "GET", "HEAD", *(["POST"] if path in _TAKE_FORMS else []))
        if path == "login":
            return self._login(request)
        if path == "erase" or request.facts.method == "POST":
            return self._change(request, path)
        page = self._pages.get(path)
        # Checked first, so that strangers don't learn which pages there are.
        caller = self._access.check_reader(request)
        if page is None:
            raise Refusal(404, "not_found", "There is no such page.")
        return self._answer(request, page, caller)

    def _answer(self, request: WebRequest, page: Page, caller: Caller) -> WebResponse:
        # Forms also send fields that were left empty. A value itself may end in "=".
        parts = request.facts.query.split("&")
        query = "&".join(part for part in parts if part.partition("=")[1:] != ("=", ""))
        asked = parse(query, (*page.parameters, *COMMON, *FILTER, *_FORMS))
        found = saved_of(self._analytics)
        scope = read_scope(self._analytics.insights, asked)
        scope = dataclasses.replace(scope, annotations=tuple(found.annotations(scope.first, scope.last)))
        links = Links(request.mount, page.name, parse_qsl(query), scope.where)
        made = added_filter(asked)
        if made is not None:
            return WebResponse(303, headers=[("location", links.also(made))])
        return self._show(request, page, scope, asked, links, caller)

    def _shared(self, request: WebRequest, token: str) -> WebResponse:
        """Answer with the page that *token* opens, as it was shared."""
        check_method(request, "GET", "HEAD")
        self._access.limit(request)
        share = self._shares.open(token)
        page = None if share is None else self._pages.get(share.page)
        if share is None or page is None or not page.shareable:
            raise Refusal(410, "expired", "This link has expired or was revoked, or it is incomplete.")
        asked = {**parse(share.query, (*page.parameters, *COMMON)), **parse(request.facts.query, _FORMS)}
        scope = read_scope(self._analytics.insights, asked)
        return self._show(request, page, scope, asked, SharedLinks(request.mount, token, scope.where))

    def _show(
        self,
        request: WebRequest,
        page: Page,
        scope: Scope,
        asked: dict[str, Any],
        links: Links,
        caller: Caller = Caller.STRANGER,
    ) -> WebResponse:
        form = asked.get("format") or ("json" if wants_json(request) else "html")
        if form == "stream":
            return self._streamed(request, page, asked, links)
        view = page.view(self._analytics, scope, asked, _CSV_ROWS if form == "csv" else _ROWS)
        if form == "json":
            return WebResponse(200, _to_json({"data": view}), [("content-type", JSON)])
        if form == "csv":
            return csv_file(page.name or "overview", view.tables, asked.get("table"), scope)
        values = {"view": view, "scope": scope, "page": page, "links": links, "streams": request.streams}
        if not links.fixed:
            values |= self._saved_values(request, links, self._access.may_change(request, caller))
        return self._html(request, f"{page.name or 'overview'}.html", values)

    def _streamed(self, request: WebRequest, page: Page, asked: dict[str, Any], links: Links) -> WebResponse:
        template = page.part
        if template is None or not request.streams:
            raise QuestionError("format", "'stream' is for the live page under ASGI; ask for html every few seconds")

        def snapshot() -> Snapshot:
            scope = read_scope(self._analytics.insights, asked)
            view = page.view(self._analytics, scope, asked, _ROWS)
            values = {"view": view, "scope": scope, "page": page, "links": links, "streams": True}
            return Snapshot(view.news, render(template, values).decode())

        return WebResponse(200, self._streams.open(links.same(), snapshot), list(STREAM))

    def _saved_values(self, request: WebRequest, links: Links, may_change: bool) -> dict[str, Any]:
        found = saved_of(self._analytics)
        back = links.same(made=None).removeprefix(f"{request.mount}/")
        return {
            "saved": {"funnels": found.funnels(), "filters": found.filters()},
            "forms": self._forms(request, back) if may_change else None,
            "token": self._shares.token if may_change else None,
        }

    def _forms(self, request: WebRequest, back: str) -> Forms:
        return Forms(self._access.framework.form_fields(request.native), back)

    def _check_shareable(self, name: str, query: str) -> None:
        page = self._pages.get(name)
        if page is None or not page.shareable:
            raise QuestionError("page", f"{name!r:.100} is not a page that can be shared")
        asked = parse(query, (*page.parameters, *COMMON))
        check_impersonal(read_scope(self._analytics.insights, asked).where, asked.get("breakdown"))

    def _change(self, request: WebRequest, path: str) -> WebResponse:
        """Show or process the form that erases a user, or process one that changes what is saved."""
        self._access.check_changer(request)
        if path == "saved":
            return WebResponse(303, headers=[("location", f"{request.mount}/{self._changes(read_form(request))}")])
        values: dict[str, Any] = {
            "forms": self._forms(request, ""),
            "action": f"{request.mount}/erase",
            "home": f"{request.mount}/users",
        }
        if request.facts.method == "POST":
            values |= erased(self._analytics, dict(read_form(request)))
        else:
            values |= to_erase(self._analytics, parse(request.facts.query, ERASE))
        return self._html(request, "erase.html", values)

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
            "forms": None,
            "saved": None,
            **values,
        }
        return WebResponse(status, render(template, values), [("content-type", "text/html; charset=utf-8"), *headers])

    def _login(self, request: WebRequest) -> WebResponse:
        token: str = parse(request.facts.query, (text("token", "From the server's log."),)).get("token", "")
        return WebResponse(303, headers=[("location", f"{request.mount}/"), self._access.sign_in(request, token)])

    def _refused(self, request: WebRequest, refusal: Refusal) -> WebResponse:
        if wants_json(request) or "format=json" in request.facts.query:
            response = refusal.response()
            # The headers of every page are added later and include these.
            response.headers = [pair for pair in response.headers if pair not in PRIVATE]
            return response
        sign_in = self._access.sign_in_url(request) if refusal.status == 401 else None
        values = {"status": refusal.status, "message": str(refusal), "home": f"{request.mount}/", "sign_in": sign_in}
        return self._html(request, "refused.html", values, refusal.status, refusal.headers)
