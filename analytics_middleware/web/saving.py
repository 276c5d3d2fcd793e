"""What people save, over REST: readers may list it, those who may change things save and delete it."""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

import msgspec

from analytics_middleware.analytics import Analytics
from analytics_middleware.web.access import Access
from analytics_middleware.web.body import decoded
from analytics_middleware.web.http import Refusal, WebRequest, WebResponse, json_response
from analytics_middleware.web.parameters import Parameter, parse, text
from analytics_middleware.web.saved import Annotation, Named, Saved, SavedFilter, SavedFunnel, saved_of


@dataclasses.dataclass(frozen=True, slots=True)
class Resource:
    """One kind of thing that people save."""

    path: str
    many: str
    """The name of several of them, for the documentation."""
    one: str
    type: type[Named | Annotation]
    key: Parameter
    """The parameter that says which one to delete."""
    list: Callable[[Saved], Any]
    save: Callable[[Saved, Any], Any]


def _save(saved: Saved, what: Named) -> Named:
    saved.save(what)
    return what


_NAME: Final = text("name", "Its name.", required=True)

RESOURCES: Final[tuple[Resource, ...]] = (
    Resource("/saved-funnels", "saved funnels", "funnel", SavedFunnel, _NAME, Saved.funnels, _save),
    Resource("/saved-filters", "saved filters", "filter", SavedFilter, _NAME, Saved.filters, _save),
    Resource(
        "/annotations",
        "annotations of days",
        "annotation",
        Annotation,
        text("id", "Its id.", required=True),
        Saved.annotations,
        Saved.annotate,
    ),
)
"""All kinds of things that people save."""


class Saving:
    """Answers requests to list, save and delete."""

    def __init__(self, analytics: Analytics, access: Access) -> None:
        self._analytics = analytics
        self._access = access

    def list(self, resource: Resource, request: WebRequest) -> WebResponse:
        """Answer with everything of one kind."""
        self._access.check_reader(request)
        parse(request.facts.query, ())
        return json_response({"data": resource.list(saved_of(self._analytics))})

    def save(self, resource: Resource, request: WebRequest) -> WebResponse:
        """Save what is in the body, in place of what has the same name."""
        self._access.check_changer(request)
        parse(request.facts.query, ())
        what = decoded(request.body, msgspec.json.Decoder(resource.type))
        return json_response({"data": resource.save(saved_of(self._analytics), what)})

    def delete(self, resource: Resource, request: WebRequest) -> WebResponse:
        """Delete what the query names."""
        self._access.check_changer(request)
        key: str = parse(request.facts.query, (resource.key,))[resource.key.name]
        if not saved_of(self._analytics).delete(resource.type, key):
            raise Refusal(404, "not_found", f"there is no such {resource.one}", resource.key.name)
        return json_response({"data": {"deleted": True}})
