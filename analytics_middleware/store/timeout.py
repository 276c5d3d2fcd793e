"""The time limit of a question, checked between its steps."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from analytics_middleware.errors import AnalyticsError

_deadline: ContextVar[tuple[float, float] | None] = ContextVar("deadline", default=None)


class QuestionTimeout(AnalyticsError, TimeoutError):  # noqa: N818 - named like TimeoutError
    """A question took longer than the store allows; the message says how long that is."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"the question took longer than {seconds:g} s; ask about less time or raise the limit")


@contextmanager
def time_limit(seconds: float) -> Generator[None]:
    """Limit the questions asked within the block to *seconds* in all."""
    token = _deadline.set((time.monotonic() + seconds, seconds))
    try:
        yield
    finally:
        _deadline.reset(token)


def check_time() -> None:
    """Raise `QuestionTimeout` if the time is up."""
    limit = _deadline.get()
    if limit is not None and time.monotonic() > limit[0]:
        raise QuestionTimeout(limit[1])
