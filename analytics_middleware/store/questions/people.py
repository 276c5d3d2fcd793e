"""Questions about individual users and events."""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from analytics_middleware.store.calendar import Bucket
from analytics_middleware.store.filters import QuestionError
from analytics_middleware.store.parameters import (
    MAX_LIMIT,
    EventQuestion,
    RangeQuestion,
    check_choice,
    check_int,
    set_instants,
)
from analytics_middleware.store.questions.counting import ActiveUsers
from analytics_middleware.store.questions.journeys import Funnel
from analytics_middleware.store.questions.returning import (
    STATES,
    Lifecycle,
    LifecycleState,
    Retention,
    RetentionMatrix,
    Stickiness,
)

Countable = ActiveUsers | Funnel | Retention | RetentionMatrix | Lifecycle | Stickiness


class Users(msgspec.Struct, frozen=True, kw_only=True):
    """The users behind one number of another question.

    *cell* selects the number: the index of a funnel's step, an offset of a retention, the *k* of a matrix's cell, the
    state of a lifecycle's point, the number of days of a stickiness; it is omitted for active users. *at* is the time
    of the cohort or point, for the three questions that have them. *limit* None returns all users.
    """

    of: Countable
    cell: int | LifecycleState | None = None
    at: datetime | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.of, Countable):
            raise QuestionError("of", f"{type(self.of).__name__} has no users behind its numbers")
        if isinstance(self.of, (ActiveUsers, Funnel)) and self.of.breakdown is not None:
            raise QuestionError("of", f"breakdown {self.of.breakdown!r} must be left out; filter with where instead")
        self._check_cell()
        if isinstance(self.of, (RetentionMatrix, Lifecycle, Stickiness)):
            if self.at is None:
                raise QuestionError("at", f"must be the time of a point of {type(self.of).__name__}")
            set_instants(self, "at")
        elif self.at is not None:
            raise QuestionError("at", f"{self.at} must be left out for {type(self.of).__name__}")
        if self.limit is not None:
            check_int("limit", self.limit, 1, MAX_LIMIT)

    @property
    def number(self) -> int:
        """`cell` as a number."""
        assert isinstance(self.cell, int)
        return self.cell

    def number_within(self, width: int) -> int:
        """Return `number`; raise `QuestionError` unless it is less than *width*, a cohort's number of cells."""
        if self.number >= width:
            raise QuestionError("cell", f"{self.cell} is beyond the {width} cells of a cohort")
        return self.number

    def place_in(self, spans: Sequence[Bucket]) -> int:
        """Return the index of the one of *spans* that begins `at` that time; raise `QuestionError` if none does."""
        for index, span in enumerate(spans):
            if span.start == self.at:
                return index
        raise QuestionError("at", f"{self.at} is not the beginning of one of the question's periods")

    def _check_cell(self) -> None:
        match self.of:
            case ActiveUsers():
                if self.cell is not None:
                    raise QuestionError("cell", f"{self.cell!r} must be left out for ActiveUsers")
            case Funnel():
                check_int("cell", self.cell, 0, len(self.of.steps) - 1)
            case Retention():
                if self.cell not in self.of.offsets:
                    raise QuestionError("cell", f"{self.cell!r} is not one of offsets {self.of.offsets}")
            case RetentionMatrix():
                check_int("cell", self.cell, 0, 500)
            case Stickiness():
                check_int("cell", self.cell, 1, 31)
            case Lifecycle():
                check_choice("cell", self.cell, STATES)


class UserTimeline(RangeQuestion, frozen=True, kw_only=True):
    """The events, newest first, of the user called *user_id* or the visitor that *anon_id* belongs to."""

    user_id: str | None = None
    anon_id: str | None = None
    limit: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.user_id is None) == (self.anon_id is None):
            raise QuestionError("user_id", f"{self.user_id!r} or anon_id {self.anon_id!r} must be given, one of them")
        check_int("limit", self.limit, 1, MAX_LIMIT)


class Latest(EventQuestion, frozen=True, kw_only=True):
    """The latest events called *event* (``""``: all) of all users, newest first."""

    limit: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_int("limit", self.limit, 1, MAX_LIMIT)


class Traits(msgspec.Struct, frozen=True, kw_only=True):
    """The traits of the user called *user_id*."""

    user_id: str
