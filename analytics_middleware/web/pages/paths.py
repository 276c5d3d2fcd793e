"""*Paths*: what people do after an event, or before it."""

import dataclasses
from typing import Any, Final, Literal

from analytics_middleware.analytics import Analytics
from analytics_middleware.web.pages.scope import Scope
from analytics_middleware.web.parameters import Parameter, choice, text, whole
from analytics_middleware.web.tables import Table, table

PARAMETERS: Final[tuple[Parameter, ...]] = (
    text("event", "Name of the event to begin at. Default: the most frequent one."),
    choice("direction", "Whether the sequences come after the event or before it.", ("after", "before")),
    whole("depth", "Number of events in a sequence.", 1, 10),
)
_OFFERED: Final = 40
_PATHS: Final = 25


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Sequence:
    """Events in order of time, fewer if sessions ended there, and in how many sessions they came in that order."""

    events: tuple[str, ...]
    count: int
    share: float
    """The fraction of the sequences shown."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Paths:
    """The page."""

    scope: Scope
    event: str
    direction: Literal["after", "before"]
    depth: int
    paths: tuple[Sequence, ...]
    events: tuple[str, ...]
    tables: dict[str, Table]


def paths(analytics: Analytics, scope: Scope, asked: dict[str, Any], rows: int) -> Paths:
    """Return the page."""
    insights = analytics.insights
    names = tuple(each.key for each in insights.top_events(limit=_OFFERED, **scope.asked))
    event: str = asked.get("event") or (names[0] if names else "")
    direction: Literal["after", "before"] = asked.get("direction", "after")
    depth: int = asked.get("depth", 3)
    found = insights.paths(event, direction, depth, limit=max(_PATHS, rows), **scope.asked) if event else []
    total = sum(each.count for each in found)
    return Paths(
        scope=scope,
        event=event,
        direction=direction,
        depth=depth,
        paths=tuple(Sequence(events=tuple(e.events), count=e.count, share=e.count / total) for e in found),
        events=names,
        tables={
            "paths": table("paths", "Paths", ("Path", "Sessions"), [(" → ".join(e.events), e.count) for e in found])
        },
    )
