"""The outcome of a batch that took several requests, summed up in one `DeliveryError`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event, Identify

Item = Event | Identify
"""The type of what is delivered; it has an ``event_id``."""

T = TypeVar("T", bound=Item)


class Tally(Generic[T]):
    """Sums up which items were refused, must be retried or may have arrived; the rest were delivered."""

    def __init__(self) -> None:
        self.rejected: dict[str, str] = {}
        self.again: set[str] = set()
        self.uncertain: set[str] = set()
        self.retry_after: float | None = None
        self.pause = False
        self.texts: list[str] = []

    def failed(self, items: Sequence[T], error: DeliveryError) -> None:
        """Record that sending *items* failed with *error*."""
        self.texts.append(str(error))
        if error.retry_after is not None:
            self.retry_after = max(error.retry_after, self.retry_after or 0.0)
            self.pause = self.pause or error.pause or not error.partial
        ids = [item.event_id for item in items]
        if error.partial:
            self.rejected.update(error.rejected)
            self.again |= error.retry
            self.uncertain |= error.uncertain
        elif error.permanent or error.too_large:
            self.rejected.update(dict.fromkeys(ids, str(error)))
        elif error.ambiguous:
            self.uncertain.update(ids)
        else:
            self.again.update(ids)

    def reject(self, reasons: Mapping[str, str]) -> None:
        """Record ids that were permanently refused, with the reason."""
        self.rejected.update(reasons)
        self.texts += list(reasons.values())[:1]

    def wait(self, items: Iterable[T]) -> None:
        """Record that *items* were not sent."""
        self.again.update(item.event_id for item in items)

    def settle(self, items: Sequence[T]) -> None:
        """Raise the error that sums up the outcome of *items*, the whole batch; return if all were delivered.

        If nothing arrived, the batch failed as a whole: delivery then waits for the destination and counts no attempts
        against events.
        """
        if not (self.rejected or self.again or self.uncertain):
            return
        text = self.texts[0] if self.texts else "not sent"
        ids = {item.event_id for item in items}
        if ids <= self.again:
            raise DeliveryError(text, retry_after=self.retry_after)
        if ids <= self.uncertain:
            raise DeliveryError(text, retry_after=self.retry_after, ambiguous=True)
        raise DeliveryError(
            text,
            rejected=self.rejected,
            retry=self.again,
            uncertain=self.uncertain,
            retry_after=self.retry_after,
            pause=self.pause,
        )


class Result(NamedTuple):
    """The outcome of one request; no error means success."""

    error: DeliveryError | None


def attempt(send: Callable[[Sequence[T]], object], chunk: Sequence[T]) -> Result:
    """Return the outcome of sending *chunk* with *send*. Never raises."""
    try:
        send(chunk)
    except DeliveryError as error:
        return Result(error)
    except Exception as error:  # noqa: BLE001 - our own error with these events must not make others be sent twice
        return Result(DeliveryError(f"{type(error).__name__}: {error}", retry=[item.event_id for item in chunk]))
    return Result(None)


Runner = Callable[[Sequence[Sequence[T]]], Sequence[Result | None]]
"""Sends each of some chunks; None for those not sent because the destination seems down."""


def one_by_one(send: Callable[[Sequence[T]], object]) -> "Runner[T]":
    """Return a runner that sends one chunk after the other."""

    def run(chunks: Sequence[Sequence[T]]) -> Sequence[Result | None]:
        results: list[Result | None] = [None] * len(chunks)
        for index, chunk in enumerate(chunks):
            result = results[index] = attempt(send, chunk)
            if is_down(result):
                break
        return results

    return run


def is_down(result: Result) -> bool:
    """Whether *result* suggests that further requests would fail too."""
    error = result.error
    return error is not None and not (error.partial or error.permanent or error.too_large)


def deliver(items: Sequence[T], chunks: Sequence[Sequence[T]], run: "Runner[T]") -> None:
    """Send the *chunks* of *items* with *run*; raise the error that sums up the outcome.

    A chunk that is refused as a whole is halved repeatedly until the culprits are found. After a failure of the
    destination nothing more is sent.
    """
    tally = Tally[T]()
    waiting: list[Sequence[T]] = list(chunks)
    while waiting:
        halves: list[Sequence[T]] = []
        down = False
        for chunk, result in zip(waiting, run(waiting), strict=True):
            if result is None:
                tally.wait(chunk)
                continue
            down = down or is_down(result)
            error = result.error
            if error is not None and (error.permanent or error.too_large) and len(chunk) > 1:
                middle = len(chunk) // 2
                halves += [chunk[:middle], chunk[middle:]]
            elif error is not None:
                tally.failed(chunk, error)
        if down:
            for chunk in halves:
                tally.wait(chunk)
            break
        waiting = halves
    tally.settle(items)
