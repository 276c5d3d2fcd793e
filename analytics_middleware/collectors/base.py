"""What a collector is, and base classes to write one in a few lines."""

from collections.abc import Callable, Collection, Coroutine, Sequence
from typing import Any, Protocol, runtime_checkable

from analytics_middleware.event import Event


@runtime_checkable
class Collector(Protocol):
    """A destination. Delivery calls it from one thread at a time.

    *collect* is called for each event of a batch, then *flush*; the batch counts as delivered when *flush*
    returns. Both may raise `DeliveryError` to say what became of which event; any other exception means that the
    whole batch failed for now.

    A collector may also have these methods:

    - ``identify(user_id, traits)``, or ``take_identify(record)`` for the whole record with its id;
    - ``declines(event)``, which returns the reason for not wanting an event, one of `counters.REASONS`, or None;
    - ``probe(event)``, which sends one event at once and returns what the destination answered, for
      ``collectors test``.

    Its options are the class attributes of `CollectorOptions`, each with a careful default.
    """

    name: str

    def start(self) -> None:
        """Called once, before the first event, in the delivering thread."""
        ...

    def collect(self, event: Event) -> None:
        """Take one event."""
        ...

    def flush(self) -> None:
        """Deliver the events taken since the last call."""
        ...

    def close(self) -> None:
        """Release what `start` acquired."""
        ...


class CollectorOptions:
    """What delivery knows of a collector; set as class attributes or on the instance."""

    needs: Collection[str] = ()
    """Request headers and cookies it reads, such as ``"header:user-agent"``, ``"cookie:_ga"``, and ``"client_ip"``."""
    third_party: bool = True
    """Whether events leave the site's own systems. In debug such collectors only log what they would send."""
    debug_sends: bool = False
    """Whether to send to a third party even in debug."""
    requires_consent: bool = False
    """Whether it gets only events whose visitor has consented."""
    dedupes: bool = False
    """Whether it recognises an event_id that it has seen before, so that an ambiguous time-out may be retried."""
    bots: bool = False
    """Whether it wants bots' page views too."""
    max_age: float | None = None
    """Age in seconds above which an event is no longer sent; None for no limit."""
    max_batch: int = 100
    """Most events in a batch."""
    max_bytes: int = 1_000_000
    """Most bytes in a batch, measured as events are encoded in the log."""
    linger: float = 0.5
    """Seconds to wait for a batch to fill."""
    accepts_history: bool = True
    """Whether it keeps the time of old events, so that events from before it was configured can be replayed to it."""
    history_note: str = ""
    """Why it can't take old events, or how old they may be; for people to read."""


def option(collector: Collector, name: str) -> Any:
    """Return *collector*'s option *name*, one of `CollectorOptions`, or the default if it does not set it."""
    return getattr(collector, name, getattr(CollectorOptions, name))


class BaseCollector(CollectorOptions):
    """A collector that needs no start, flush or close."""

    name: str = ""

    def start(self) -> None:
        """Nothing to acquire."""

    def collect(self, event: Event) -> None:
        """Take one event; to be overridden."""
        raise TypeError(f"{type(self).__name__} must define collect(event)")

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Nothing to release."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r}>"


class BatchCollector(BaseCollector):
    """A collector that sends a whole batch at once: define ``send(events)``."""

    def __init__(self) -> None:
        self._batch: list[Event] = []

    def start(self) -> None:
        """Start with an empty batch: what was taken before a fork, the parent process sends."""
        self._batch = []

    def send(self, events: Sequence[Event]) -> None:
        """Deliver *events*; to be overridden. Raise `DeliveryError` for what was not delivered."""
        raise TypeError(f"{type(self).__name__} must define send(events)")

    def collect(self, event: Event) -> None:
        """Keep *event* for the next `flush`."""
        self._batch.append(event)

    def flush(self) -> None:
        """Send the batch. It is dropped even if sending fails: delivery passes the events in again."""
        batch, self._batch = self._batch, []
        if batch:
            self.send(batch)


class CallableCollector(BaseCollector):
    """A plain callable ``f(event)`` as a collector. It counts as first-party and sees ``client_ip``."""

    third_party = False
    needs: Collection[str] = ("client_ip",)
    bots = True
    linger = 0.0

    def __init__(self, function: Callable[[Event], object], name: str | None = None) -> None:
        self._function = function
        self.name = name or str(getattr(function, "__name__", type(function).__name__)).strip("<>")

    def collect(self, event: Event) -> None:
        """Call the function. Raises `TypeError` if it only returns a coroutine, which nobody here would await."""
        answer = self._function(event)
        if isinstance(answer, Coroutine):
            answer.close()
            raise TypeError(f"{self.name} returned a coroutine; a collector must do its work before it returns")
