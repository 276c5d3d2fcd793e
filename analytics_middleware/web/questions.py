"""The questions as routes: the table that queries are read by and that the OpenAPI document is made from."""

import dataclasses
from collections.abc import Callable
from typing import Any, Final

from analytics_middleware.properties import Scalar
from analytics_middleware.store import questions as q
from analytics_middleware.store import results as r
from analytics_middleware.store.calendar import UNITS
from analytics_middleware.store.filters import QuestionError
from analytics_middleware.store.insights import Insights
from analytics_middleware.web.parameters import Parameter, choice, filters, flag, span, text, timestamp, when, whole

Asked = dict[str, Any]

FROM = when(
    "from",
    "Beginning of the range; a date is that day's beginning in tz. Default: seven days, today included.",
    "start",
)
TO = when("to", "End of the range, which is not part of it. Default: the end of today.", "end")
TZ = text("tz", "IANA time zone of days and buckets. Default: the timezone setting.")
WHERE = filters("where")
BOTS = flag("bots", "Count page views of bots, too.")
EVENT = text("event", "Name of the event; empty for all.")
LIMIT = whole("limit", "How many at most.", 1, q.MAX_LIMIT)
BREAKDOWN = text("breakdown", "A field; the answer is then a list of groups, one per value.")
GROUPS = whole("breakdown_limit", "How many of its values; the rest are one group. Default: 10.", 1, 1000)
BUCKET = choice("bucket", "Length of a bucket.", UNITS)
TIMEOUT = span("timeout", "Time without an event after which a session ends. Default: 30m.")
PERIOD = choice("period", "Length of a period.", q.PERIODS)
STEP = text("step", "Names of the events, one after the other.", "steps", repeated=True, required=True)
WINDOW = span("window", "Time within which all steps must follow the first: 30m, 24h, 7d.")
ORDER = choice(
    "order", "ordered: other events may lie between the steps; strict: none may; any: in any order.", q.ORDERS
)
OFFSETS = whole("offset", "Number of days after.", 0, 3660, "offsets", repeated=True)
COHORT = text("event", "Name of the event that makes a user a newcomer. Default: any.")
RETURN = text("return_event", "Name of the event that counts as coming back. Default: any.")
FIELD = text("field", "The field, such as matched_pattern, source or country.", required=True)
FIRST = text("event", "Name of the event to begin at.", required=True)
DIRECTION = choice("direction", "Whether the sequences come after the event or before it.", ("after", "before"))
PERIODS = whole("periods", "Number of cells of each cohort. Default: the number of cohorts.", 1, 500)
WITHIN = choice("within", "Whether days are counted per week or per month.", ("week", "month"))

RANGE: Final = (FROM, TO, TZ, WHERE, BOTS)
_UNUSED: Final = "Accepted, as by every question, but has no effect here."
_UNUSED_TO = when("to", _UNUSED, "")
_UNUSED_FROM = when("from", _UNUSED, "")


@dataclasses.dataclass(frozen=True, slots=True)
class Question:
    """A route and the question it asks."""

    path: str
    about: str
    parameters: tuple[Parameter, ...]
    answer: Any
    """The type of the answer."""
    ask: Callable[[Insights, Asked], Any]
    grouped: Any = None
    """The type of the answer when there is a breakdown."""


def _question(
    path: str, ask: Callable[..., Any], about: str, own: tuple[Parameter, ...], answer: Any, *, grouped: Any = None
) -> Question:
    common = (*RANGE, BREAKDOWN, GROUPS) if grouped is not None else RANGE
    return Question(path, about, (*own, *common), answer, lambda insights, asked: ask(insights, **asked), grouped)


def _top(insights: Insights, **asked: Any) -> list[r.Count]:
    if "prop" in asked:
        return insights.top_properties(asked.pop("event", ""), asked.pop("prop"), **asked)
    if asked.pop("event", ""):
        raise QuestionError("event", "may be given only together with property")
    return insights.top_events(**asked)


_COUNTABLE: Final[dict[str, tuple[type, tuple[str, ...]]]] = {
    "active": (q.ActiveUsers, ("event",)),
    "funnel": (q.Funnel, ("steps", "window", "order")),
    "retention": (q.Retention, ("offsets",)),
    "retention-matrix": (q.RetentionMatrix, ("period", "event", "return_event", "periods")),
    "lifecycle": (q.Lifecycle, ("period",)),
    "stickiness": (q.Stickiness, ("within",)),
}


def _users(insights: Insights, **asked: Any) -> list[r.UserRow]:
    kind, own = _COUNTABLE[asked.pop("of")]
    cell: Any = asked.pop("cell", None)
    if cell is not None and kind is not q.Lifecycle:
        if not (cell.isascii() and cell.isdigit() and len(cell) <= 5):
            raise QuestionError("cell", f"{cell!r:.100} is not a whole number")
        cell = int(cell)
    at, limit = asked.pop("at", None), asked.pop("limit", 100)
    start, end, tz = (asked.pop(key, None) for key in ("start", "end", "tz"))
    scope = insights.range(start, end, tz, asked.pop("where", ()), asked.pop("bots", False))
    if kind is q.Retention:
        del scope["end"]
    if kind is q.Funnel:
        asked.setdefault("steps", [])
    for key in asked:
        if key not in own:
            raise QuestionError(key, f"is no parameter of {kind.__name__}")
    return insights.users(kind(**scope, **asked), cell, at, limit)


OF = choice("of", "The question.", tuple(_COUNTABLE), required=True)
CELL = text("cell", "Which number: a funnel's step from 0, an offset, a cell, a lifecycle's state, a number of days.")
AT = timestamp("at", "Time of the cohort or point.")
SHOWN = whole("limit", "How many at most. Default: 100.", 1, q.MAX_LIMIT)
_STEPS = dataclasses.replace(STEP, required=False)

QUESTIONS: Final[tuple[Question, ...]] = (
    _question(
        "/volume",
        Insights.volume,
        "Events per hour, day, week or month.",
        (EVENT, BUCKET),
        list[r.VolumePoint],
        grouped=list[r.Group[list[r.VolumePoint]]],
    ),
    _question(
        "/top",
        _top,
        "The most frequent events; with property, its most frequent values.",
        (EVENT, text("property", "Name of a property.", "prop"), LIMIT),
        list[r.Count],
    ),
    _question(
        "/property-names",
        Insights.property_names,
        "The names of the properties that most events have.",
        (EVENT, SHOWN),
        list[r.Count],
    ),
    _question(
        "/values",
        Insights.top_values,
        "The values of any field with the most users: pages, sources, countries, devices.",
        (FIELD, EVENT, LIMIT, flag("errors", "Count page views answered with an error, too.")),
        list[r.ValueCount],
    ),
    _question(
        "/overview",
        Insights.overview,
        "Visitors, page views, sessions, bounce rate and duration of the whole range.",
        (TIMEOUT,),
        r.Totals,
    ),
    _question(
        "/trend",
        Insights.trend,
        "Visitors, page views, sessions and bounce rate per hour, day, week or month.",
        (BUCKET, TIMEOUT),
        list[r.TrendPoint],
    ),
    _question(
        "/active",
        Insights.active_users,
        "How many distinct users were active.",
        (EVENT,),
        r.Active,
        grouped=list[r.Group[r.Active]],
    ),
    Question(
        "/dashboard",
        "Events of the last days, users of today and of the last seven days, top events.",
        (whole("days", "Local days, today included.", 1, 3660), TZ, WHERE, BOTS, _UNUSED_FROM, _UNUSED_TO),
        r.Dashboard,
        lambda insights, asked: insights.dashboard_summary(**asked),
    ),
    _question(
        "/funnel",
        Insights.funnel,
        "How many users did one step after the other.",
        (STEP, WINDOW, ORDER),
        list[r.FunnelStep],
        grouped=list[r.Group[list[r.FunnelStep]]],
    ),
    Question(
        "/retention",
        "How many of the newcomers on the day of from came back the given numbers of days later.",
        (OFFSETS, FROM, TZ, WHERE, BOTS, _UNUSED_TO),
        list[r.RetentionRow],
        lambda insights, asked: insights.retention(**asked),
    ),
    _question(
        "/retention-matrix",
        Insights.retention_matrix,
        "Cohorts by their first period, and how many came back in each later one.",
        (PERIOD, COHORT, RETURN, PERIODS),
        r.Matrix,
    ),
    _question(
        "/paths",
        Insights.paths,
        "The most frequent sequences of events after, or before, an event.",
        (FIRST, DIRECTION, whole("depth", "Number of events in a sequence.", 1, 20), LIMIT, TIMEOUT),
        list[r.Path],
    ),
    _question(
        "/lifecycle",
        Insights.lifecycle,
        "New, returning, resurrecting and dormant users per period.",
        (PERIOD,),
        list[r.LifecyclePoint],
    ),
    _question(
        "/stickiness",
        Insights.stickiness,
        "How many users were active on exactly one, two, … days of a week or month.",
        (WITHIN,),
        list[r.StickinessPoint],
    ),
    _question(
        "/sessions",
        Insights.sessions,
        "Sessions: bounces, durations, entry and exit pages.",
        (LIMIT, TIMEOUT),
        r.SessionSummary,
        grouped=list[r.Group[r.SessionSummary]],
    ),
    _question(
        "/revenue",
        Insights.revenue,
        "Revenue per currency, in minor units, in total and per bucket.",
        (EVENT, BUCKET),
        list[r.RevenueTotal],
        grouped=list[r.Group[list[r.RevenueTotal]]],
    ),
    _question(
        "/users",
        _users,
        "The users behind one number of another question, with that question's parameters.",
        (OF, CELL, AT, SHOWN, EVENT, _STEPS, WINDOW, ORDER, OFFSETS, PERIOD, RETURN, PERIODS, WITHIN),
        list[r.UserRow],
    ),
    _question(
        "/timeline",
        Insights.timeline,
        "What one user did, newest first.",
        (text("user_id", "The user."), text("anon_id", "Or one of the user's anonymous ids."), LIMIT),
        r.Timeline,
    ),
    _question(
        "/latest",
        Insights.latest,
        "The latest events of everybody, newest first.",
        (EVENT, SHOWN),
        list[r.LatestEvent],
    ),
    Question(
        "/traits",
        "What is known of one user.",
        (text("user_id", "The user.", required=True),),
        dict[str, Scalar],
        lambda insights, asked: insights.traits(**asked),
    ),
)
"""Every question of the REST API."""
