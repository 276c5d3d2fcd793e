"""What became of a batch that took several requests, added up into one `DeliveryError`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event, Identify

Item = Event | Identify
"""What is delivered; both have an ``event_id``."""

T = TypeVar("T", bound=Item)


class Tally(Generic[T]):
    """Adds up what was refused, what must be sent again and what may have arrived; the rest was delivered."""

    def __init__(self) -> None:
        self.rejected: dict[str, str] = {}
        self.again: set[str] = set()
        self.uncertain: set[str] = set()
        self.retry_after: float | None = None
        self.pause = False
        self.texts: list[str] = []

    def failed(self, items: Sequence[T], error: DeliveryError) -> None:
        """Note that sending *items* ended with *error*."""
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
        """Note ids that were refused for good, with the reason."""
        self.rejected.update(reasons)
        self.texts += list(reasons.values())[:1]

    def wait(self, items: Iterable[T]) -> None:
        """Note that *items* were not sent."""
        self.again.update(item.event_id for item in items)

    def settle(self, items: Sequence[T]) -> None:
        """Raise what the sum means for *items*, the whole batch; return when all were delivered.

        A batch of which nothing arrived failed as a whole: delivery then waits for the destination instead of
        counting attempts against events.
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
    """What became of one request; no error is a success."""

    error: DeliveryError | None


def attempt(send: Callable[[Sequence[T]], object], chunk: Sequence[T]) -> Result:
    """Return what became of *chunk* when it was given to *send*. Never raises."""
    try:
        send(chunk)
    except DeliveryError as error:
        return Result(error)
    except Exception as error:  # noqa: BLE001 - a fault of ours with these events must not send the others twice
        return Result(DeliveryError(f"{type(error).__name__}: {error}", retry=[item.event_id for item in chunk]))
    return Result(None)


Runner = Callable[[Sequence[Sequence[T]]], Sequence[Result | None]]
"""Sends each of some chunks; None for those that were not begun because the destination seems down."""


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
    """Whether *result* says that further requests would fail too."""
    error = result.error
    return error is not None and not (error.partial or error.permanent or error.too_large)


def deliver(items: Sequence[T], chunks: Sequence[Sequence[T]], run: "Runner[T]") -> None:
    """Send *chunks*, the requests that *items* make, with *run* and raise what they add up to.

    A chunk that is refused as a whole is sent in halves until what is at fault stands alone. After a failure that is
    the destination's nothing further is sent.
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
