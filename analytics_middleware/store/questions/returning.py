"""Questions about who came back, and when."""

from datetime import datetime
from typing import Final, Literal, get_args

from analytics_middleware.store.filters import QuestionError
from analytics_middleware.store.parameters import (
    SHORTEST,
    Question,
    RangeQuestion,
    check_choice,
    check_event,
    check_int,
    set_field,
    set_instants,
)

Period = Literal["day", "week", "month"]
LifecycleState = Literal["new", "returning", "resurrecting", "dormant"]

PERIODS: Final[tuple[str, ...]] = get_args(Period)
STATES: Final[tuple[LifecycleState, ...]] = get_args(LifecycleState)


class Retention(Question, frozen=True, kw_only=True):
    """How many newcomers of the local day of *start* have an event the given numbers of calendar days later."""

    start: datetime
    offsets: tuple[int, ...] = (0, 1, 7)

    def __post_init__(self) -> None:
        super().__post_init__()
        set_instants(self, "start")
        set_field(self, "offsets", tuple(self.offsets))
        if not 1 <= len(self.offsets) <= 366:
            raise QuestionError("offsets", f"must be 1 to 366 numbers of days, not {len(self.offsets)}")
        for offset in self.offsets:
            check_int("offsets", offset, 0, 3660)


class RetentionMatrix(RangeQuestion, frozen=True, kw_only=True):
    """Cohorts by the period of their first ever *event* (None: any), and who had a *return_event* in later ones.

    There is a cohort for every period that the range touches. *periods* is the number of cells of each, by default the
    number of cohorts.
    """

    period: Period = "week"
    event: str | None = None
    return_event: str | None = None
    periods: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("period", self.period, PERIODS)
        check_event("event", self.event or "")
        check_event("return_event", self.return_event or "")
        if (self.end - self.start).days > 500 * SHORTEST[self.period]:
            raise QuestionError("period", f"{self.period!r} makes more than 500 cohorts of this range")
        if self.periods is not None:
            check_int("periods", self.periods, 1, 500)


class Lifecycle(RangeQuestion, frozen=True, kw_only=True):
    """New, returning, resurrecting and dormant users of every period that the range touches."""

    period: Period = "day"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("period", self.period, PERIODS)


class Stickiness(RangeQuestion, frozen=True, kw_only=True):
    """On how many days of each week or month in the range users were active."""

    within: Literal["week", "month"] = "week"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("within", self.within, ("week", "month"))
