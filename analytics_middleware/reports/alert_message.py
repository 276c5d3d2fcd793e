"""An alert as text and as HTML."""

import dataclasses
import math
from datetime import UTC, datetime

from analytics_middleware.reports.alert import Alert, change
from analytics_middleware.reports.alert_states import DueMessage
from analytics_middleware.reports.message import Message, html, one_line
from analytics_middleware.web import formats


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class AlertData:
    """The content of a message, for programs."""

    name: str
    state: str
    """``firing``, ``resolved`` or ``test``."""
    value: float | None
    before: float | None
    condition: str
    threshold: float
    window_seconds: float
    question: str
    since: datetime


def alert_message(alert: Alert, due: DueMessage, tz: str, *, test: bool = False) -> Message:
    """Return the message that is *due*, or one marked as a *test*. Raises `MissingExtraError` without Jinja2."""
    state = due.state
    word = "Test" if test else "Firing" if state.firing else "Resolved"
    name = one_line(alert.name)
    lines = [
        f"{_number(state.value)}{_beside(state.value, state.before)}; the condition is: {alert.words}",
        f"Looked at: {one_line(alert.source, 500)}, over {formats.seconds(alert.window.total_seconds())}",
        f"Since {formats.moment(datetime.fromtimestamp(state.since, UTC), tz)} ({tz})",
    ]
    data = AlertData(
        name=alert.name,
        state=word.lower(),
        value=state.value,
        before=state.before,
        condition=alert.condition,
        threshold=alert.threshold,
        window_seconds=alert.window.total_seconds(),
        question=alert.source,
        since=datetime.fromtimestamp(state.since, UTC),
    )
    return Message(
        id=due.id,
        kind="analytics.alert",
        subject=one_line(f"{word}: {name}"),
        text="\n".join([f"{word}: {name}", *lines]) + "\n",
        html=html("alert.html", word=word, name=name, firing=state.firing, lines=lines),
        data=data,
    )


def _number(value: float | None) -> str:
    if value is None:
        return "no number"
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.4g}"


def _beside(value: float | None, before: float | None) -> str:
    if value is None or before is None:
        return ""
    moved = change(value, before)
    said = "" if math.isinf(moved) else f" ({moved:+.0f}%)"
    return f", {_number(before)} before{said}"
