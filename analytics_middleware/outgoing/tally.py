"""What became of a batch that took several requests, added up into one `DeliveryError`."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

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
        self.texts: list[str] = []

    def failed(self, items: Sequence[T], error: DeliveryError) -> None:
        """Note that sending *items* ended with *error*."""
        self.texts.append(str(error))
        if error.retry_after is not None:
            self.retry_after = max(error.retry_after, self.retry_after or 0.0)
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
        )


def deliver(items: Sequence[T], chunks: Iterable[Sequence[T]], send: Callable[[Sequence[T]], object]) -> None:
    """Call *send* for each of *chunks*, the requests that *items* make, and raise what they add up to.

    A chunk that is refused as a whole is sent in halves until what is at fault stands alone. After a failure that is
    the destination's nothing further is sent.
    """
    tally = Tally[T]()
    waiting = list(chunks)[::-1]
    while waiting:
        chunk = waiting.pop()
        try:
            send(chunk)
        except DeliveryError as error:
            if (error.permanent or error.too_large) and len(chunk) > 1:
                middle = len(chunk) // 2
                waiting += [chunk[middle:], chunk[:middle]]
                continue
            tally.failed(chunk, error)
            if not (error.partial or error.permanent or error.too_large):
                for rest in waiting:
                    tally.wait(rest)
                break
    tally.settle(items)
