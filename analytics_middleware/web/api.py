"""The REST API: its routes, who may use them, and how wrong requests are answered."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any, Final

import msgspec

from analytics_middleware.analytics import Analytics, check_analytics
from analytics_middleware.counters import logger
from analytics_middleware.store.filters import QuestionError
from analytics_middleware.store.hub import RECORDS
from analytics_middleware.web import ingest, openapi, records, snippet
from analytics_middleware.web.access import access_of
from analytics_middleware.web.http import PRIVATE, Framework, Refusal, WebRequest, WebResponse, json_response, refusals
from analytics_middleware.web.parameters import Parameter, parse, renamed, text
from analytics_middleware.web.questions import QUESTIONS, Question
from analytics_middleware.web.saving import RESOURCES, Saving

Handler = Callable[[WebRequest], WebResponse]

KEY: Final = text("key", "The write key, for sendBeacon, which can't send the header X-Analytics-Key.")
TOKEN: Final = text("token", "The token of the login URL in the server's log.", required=True)

_BODY_TYPES = frozenset({"", "application/json", "text/plain"})
_ANSWER_HEADERS = (("content-type", "application/json"), *PRIVATE)
_SAVED = frozenset(each.path for each in RESOURCES)
_to_json = msgspec.json.Encoder().encode


@dataclasses.dataclass(frozen=True, slots=True)
class Route:
    """What answers one method of one path."""

    handle: Handler
    parameters: tuple[Parameter, ...] = ()


class API:
    """Answers requests for *analytics*; runners and adapters call it."""

    def __init__(self, analytics: Analytics, framework: Framework | None = None) -> None:
        self._analytics = check_analytics(analytics)
        self._access = access_of(analytics, framework)
        self._ingest = ingest.Ingest(analytics, self._access)
        hub = records.Hub(analytics)
        saving = Saving(analytics, self._access)
        self._max_body = analytics.settings.api_max_body
        self.mount = analytics.settings.api_path
        self.routes: Mapping[str, Mapping[str, Route]] = {
            "/events": {"POST": Route(partial(self._write, self._ingest.events), (KEY,))},
            "/identify": {"POST": Route(partial(self._write, self._ingest.identify), (KEY,))},
            RECORDS: {"POST": Route(partial(self._take_over, hub.records))},
            "/salts": {"POST": Route(partial(self._take_over, hub.salts))},
            **{each.path: {"GET": Route(partial(self._ask, each), each.parameters)} for each in QUESTIONS},
            **{
                each.path: {
                    "GET": Route(partial(saving.list, each)),
                    "POST": Route(partial(saving.save, each)),
                    "DELETE": Route(partial(saving.delete, each), (each.key,)),
                }
                for each in RESOURCES
            },
            "/login": {"GET": Route(self._login, (TOKEN,))},
            "/openapi.json": {"GET": Route(self._document)},
            "/analytics.js": {"GET": Route(lambda request: snippet.serve(request.facts))},
        }
        """Every path below the mount, and what answers each method."""

    def body_limit(self, request: WebRequest) -> int:
        """Return the most bytes the body of *request* may have: for other hosts, enough for any event in their log."""
        if request.path == RECORDS and self._access.is_host(request):
            return max(self._max_body, records.MAX_BODY)
        return self._max_body

    def __call__(self, request: WebRequest) -> WebResponse:
        """Answer *request*."""
        try:
            with refusals():
                response = self._route(request)
        except Refusal as refusal:
            response = refusal.response()
        except Exception:  # noqa: BLE001 - the details are for the log, not for whoever asked
            self._analytics.counters.log("api", logger.error, "analytics: the API failed", exc_info=True)
            response = Refusal(500, "internal", "this failed; the server's log says why").response()
        self._access.origins.mark(request.facts, response)
        if request.facts.method == "POST" and response.status >= 400 and request.path not in _SAVED:
            self._analytics.counters.add("ingest_refused")
        return response

    def _route(self, request: WebRequest) -> WebResponse:
        if request.refusal is not None:
            raise request.refusal
        methods = self.routes.get(request.path)
        if methods is None:
            raise Refusal(404, "not_found", "there is nothing here; openapi.json lists what there is")
        allowed = [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]
        method = request.facts.method
        if method == "OPTIONS":
            return self._access.origins.preflight(request.facts, allowed)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            allow = ("allow", ", ".join(allowed))
            raise Refusal(405, "method", f"{method[:20]} is not possible here", headers=[allow])
        return route.handle(request)

    def _ask(self, question: Question, request: WebRequest) -> WebResponse:
        # Checked first, so that only readers learn what is wrong with their question.
        self._access.check_reader(request)
        asked = parse(request.facts.query, question.parameters)
        try:
            data = question.ask(self._analytics.insights, asked)
        except QuestionError as error:
            raise renamed(error, question.parameters) from None
        return WebResponse(200, _to_json({"data": data}), list(_ANSWER_HEADERS))

    def _write(self, take: Callable[..., ingest.Accepted], request: WebRequest) -> WebResponse:
        key = request.facts.header("x-analytics-key") or parse(request.facts.query, (KEY,)).get("key")
        caller = self._access.check_writer(request, key)
        kind = request.content_type.partition(";")[0].strip().lower()
        if kind not in _BODY_TYPES:
            raise Refusal(415, "content_type", "send JSON as application/json or text/plain", "content-type")
        return json_response(take(request, caller), 202)

    def _take_over(self, take: Callable[[bytes], Any], request: WebRequest) -> WebResponse:
        self._access.check_host(request)
        parse(request.facts.query, ())
        return json_response(take(request.body))

    def _login(self, request: WebRequest) -> WebResponse:
        cookie = self._access.sign_in(request, parse(request.facts.query, (TOKEN,))["token"])
        headers = [cookie, ("referrer-policy", "no-referrer")]
        return json_response({"data": {"signed_in": True}}, headers=headers)

    def _document(self, request: WebRequest) -> WebResponse:
        parse(request.facts.query, ())
        return json_response({**self._openapi, "servers": [{"url": request.mount or "/"}]})

    @cached_property
    def _openapi(self) -> dict[str, Any]:
        return openapi.document(self._max_body)
