"""*Users*: a list of them; for one, what is known and what they did."""

import dataclasses
from typing import Any, Final

from analytics_middleware.analytics import Analytics
from analytics_middleware.properties import Scalar
from analytics_middleware.store.filters import as_text
from analytics_middleware.store.questions import ActiveUsers
from analytics_middleware.store.results import TimelineEvent, UserRow
from analytics_middleware.web.pages.scope import Scope, Span
from analytics_middleware.web.pages.series import active
from analytics_middleware.web.parameters import Parameter, text
from analytics_middleware.web.tables import Table, table

PARAMETERS: Final[tuple[Parameter, ...]] = (
    text("user_id", "Show what this user did."),
    text("anon_id", "Or show the user whom this anonymous id belongs to."),
)
_SHOWN: Final = 50
_EVENTS: Final = 60


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Users:
    """The page: a list, or one user."""

    scope: Scope
    total: int
    """How many were active, including cookieless visitors."""
    rows: tuple[UserRow, ...]
    """Those seen last, latest first."""
    user: UserRow | None
    asked: str
    """The id that was asked for, if any."""
    traits: dict[str, Scalar]
    timeline: tuple[TimelineEvent, ...]
    more: bool
    """Whether the user did more than the timeline lists."""
    tables: dict[str, Table]


def users(analytics: Analytics, scope: Scope, asked: dict[str, Any], rows: int) -> Users:
    """Return the page."""
    wanted: dict[str, Any] = {name: asked[name] for name in ("user_id", "anon_id") if asked.get(name)}
    return _one(analytics, scope, wanted, rows) if wanted else _all(analytics, scope, rows)


def _all(analytics: Analytics, scope: Scope, rows: int) -> Users:
    insights = analytics.insights
    shown = tuple(insights.users(ActiveUsers(**scope.asked), limit=max(_SHOWN, rows)))
    cells = [
        (_id(each), each.user_id is not None, each.first_seen, each.last_seen, _pairs(each.traits)) for each in shown
    ]
    columns = ("User", "Known", "First seen", "Last seen", "Traits")
    return Users(
        scope=scope,
        total=active(insights, scope, Span(start=scope.start, end=scope.end)),
        rows=shown,
        user=None,
        asked="",
        traits={},
        timeline=(),
        more=False,
        tables={"users": table("users", "Users", columns, cells)},
    )


def _one(analytics: Analytics, scope: Scope, wanted: dict[str, Any], rows: int) -> Users:
    most = max(_EVENTS, rows)
    found = analytics.insights.timeline(**wanted, **scope.asked, limit=most + 1)
    user, events = found.user, tuple(found.events[:most])
    cells = [
        (each.time, each.name, each.path, each.status_code, _pairs(each.properties), each.revenue, each.currency)
        for each in events
    ]
    columns = ("Time", "Event", "Path", "Status", "Properties", "Revenue (minor units)", "Currency")
    return Users(
        scope=scope,
        total=int(user is not None),
        rows=(),
        user=user,
        asked=next(iter(wanted.values())),
        traits={} if user is None else dict(user.traits),
        timeline=events,
        more=len(found.events) > most,
        tables={"timeline": table("timeline", "Timeline", columns, cells)},
    )


def _id(row: UserRow) -> str:
    return row.user_id or row.anon_id or ""


def _pairs(values: dict[str, Any]) -> str:
    texts = {name: as_text(value) for name, value in values.items()}
    return ", ".join(f"{name}={text}" for name, text in texts.items() if text is not None)
