"""Questions about sequences of events."""

from datetime import timedelta
from typing import Final, Literal, get_args

from analytics_middleware.store.filters import QuestionError
from analytics_middleware.store.parameters import (
    MAX_LIMIT,
    SESSION_TIMEOUT,
    RangeQuestion,
    check_breakdown,
    check_choice,
    check_int,
    check_span,
    set_field,
)

FunnelOrder = Literal["ordered", "strict", "any"]

ORDERS: Final[tuple[str, ...]] = get_args(FunnelOrder)
MAX_STEPS: Final = 20


class Funnel(RangeQuestion, frozen=True, kw_only=True):
    """How many users did *steps* (event names) one after the other."""

    steps: tuple[str, ...]
    window: timedelta | None = None
    order: FunnelOrder = "ordered"
    breakdown: str | None = None
    breakdown_limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        steps: object = self.steps
        if isinstance(steps, str):
            raise QuestionError("steps", f"{self.steps!r} must be a list of event names")
        set_field(self, "steps", tuple(self.steps))
        if not 1 <= len(self.steps) <= MAX_STEPS:
            raise QuestionError("steps", f"must be 1 to {MAX_STEPS} event names, not {len(self.steps)}")
        for step in self.steps:
            if not step or not isinstance(step, str):
                raise QuestionError("steps", f"{step!r} must be an event's name")
        if self.window is not None:
            check_span("window", self.window)
        check_choice("order", self.order, ORDERS)
        check_breakdown(self.breakdown, self.breakdown_limit)


class Paths(RangeQuestion, frozen=True, kw_only=True):
    """The most frequent sequences of *depth* event names after, or before, a session's first *event*."""

    event: str
    direction: Literal["after", "before"] = "after"
    depth: int = 3
    limit: int = 10
    timeout: timedelta = SESSION_TIMEOUT

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.event or not isinstance(self.event, str):
            raise QuestionError("event", f"{self.event!r} must be an event's name")
        check_choice("direction", self.direction, ("after", "before"))
        check_int("depth", self.depth, 1, 20)
        check_int("limit", self.limit, 1, MAX_LIMIT)
        check_span("timeout", self.timeout)


class Sessions(RangeQuestion, frozen=True, kw_only=True):
    """The sessions that begin in the range; with filters, those with at least one event that passes them."""

    timeout: timedelta = SESSION_TIMEOUT
    limit: int = 10
    breakdown: str | None = None
    breakdown_limit: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span("timeout", self.timeout)
        check_int("limit", self.limit, 1, MAX_LIMIT)
        check_breakdown(self.breakdown, self.breakdown_limit)
