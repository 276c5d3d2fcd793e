"""What an outbox is: an append-only log with consumers, each with its own cursor, retries and dead letters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

Kind = Literal["event", "identify", "erase"]

STORE: Final = "store"
"""The store's name among the consumers of the log; no collector may have it."""


class Draft(NamedTuple):
    """A record on its way into the log."""

    kind: Kind
    record_id: str
    timestamp: float
    """Of the event, seconds since the epoch."""
    payload: bytes
    private: bytes | None = None
    """What only some collectors may read and nobody may keep, as JSON; cleared once they have."""
    flags: int = 0
    """What decides who may get it; see `enrich.visit`."""


class Entry(NamedTuple):
    """A record in the log."""

    seq: int
    kind: Kind
    record_id: str
    timestamp: float
    payload: bytes
    private: bytes | None
    flags: int = 0
    attempts: int = 0
    """How often it was sent on its own account; 0 for a first attempt."""


class Retry(NamedTuple):
    """An entry that must wait, apart from the log so that it holds up no other."""

    entry: Entry
    due: float
    """Seconds since the epoch."""
    reason: str


class DeadLetter(NamedTuple):
    """An entry that a destination refused for good."""

    entry: Entry
    reason: str


class Settlement(NamedTuple):
    """What became of a batch; written in one transaction, or not at all."""

    cursor: int | None = None
    """The last sequence number passed; None leaves the cursor (a batch of retries)."""
    settled: Sequence[Entry] = ()
    """Retries that are over, whatever their end."""
    delivered: int = 0
    dropped: Mapping[str, int] = {}
    retries: Sequence[Retry] = ()
    dead: Sequence[DeadLetter] = ()
    error: str | None = None
    """The last thing that went wrong, for people to read."""
    breaker: str | None = None


class Erased(NamedTuple):
    """What an erasure took."""

    log: int
    retry: int
    dead: int
    anonymous_ids: tuple[str, ...]
    """Persistent anonymous ids that were the user's, whose anonymous records went as well."""
    clean: bool
    """Whether nothing of it is left in the database file and its write-ahead log. False: somebody was reading all the
    time; the next time the log is written back does it.
    """


class LeaseLost(Exception):  # noqa: N818 - an event in the protocol between processes, not a fault
    """Another process delivers for this consumer now; nothing of the settlement was written."""


class Outbox(Protocol):
    """The log. Safe from any thread. Counts are of entries of kind ``event``."""

    durable: bool

    def append(self, drafts: Sequence[Draft], counts: Mapping[str, int]) -> int:
        """Write *drafts* and add *counts* in one step; return the last sequence number of the log.

        Returns when the records are as safe as this outbox makes them.
        """
        ...

    def tick(self, consumers: Iterable[str]) -> None:
        """Do what must be done about every second although nothing happens; *consumers* are configured here."""
        ...

    def register(self, consumer: str, *, reads_private: bool = False) -> None:
        """Make *consumer* known; a new one starts at the end of the log.

        What is private of an entry is kept until all consumers that read it have passed.
        """
        ...

    def claim(self, consumer: str) -> int | None:
        """Take or renew the lease on *consumer*; return its epoch, or None while another process holds it."""
        ...

    def release(self, consumer: str) -> None:
        """Give the lease up, so that another process need not wait for its end."""
        ...

    def read(self, consumer: str, limit: int, max_bytes: int) -> list[Entry]:
        """Return the next entries after the cursor, at least one if there is any."""
        ...

    def behind(self, consumer: str) -> int:
        """Return how many entries wait after the cursor, as far as this process knows from its own reads and writes."""
        ...

    def due(self, consumer: str, now: float, limit: int) -> list[Entry]:
        """Return entries whose retry is due."""
        ...

    def next_due(self, consumer: str) -> float | None:
        """Return when the next retry is due, in seconds since the epoch."""
        ...

    def settle(self, consumer: str, epoch: int, settlement: Settlement) -> None:
        """Write what became of a batch. Raises `LeaseLost` when *epoch* is no longer the lease's."""
        ...

    def passed(self, consumer: str, seq: int) -> bool:
        """Whether *consumer* is past *seq*, with nothing up to it waiting for a retry."""
        ...

    def stats(self) -> "OutboxStats":
        """Return all counters, host-wide where the outbox is."""
        ...

    def erase(self, user_id: str, record: Draft, progress: Callable[[int], object] = lambda _: None) -> Erased:
        """Forget *user_id* up to the time of *record*, an erase record, which is written into the log.

        What is forgotten is refused from then on, and counted as ``erased``.
        """
        ...

    def after_fork(self) -> None:
        """Forget what belongs to the parent process."""
        ...

    def close(self) -> None:
        """Release files and memory."""
        ...


class ConsumerStats(NamedTuple):
    """Where a consumer stands. ``accepted == delivered + sum(dropped) + dead + pending``."""

    accepted: int
    delivered: int
    pending: int
    dead: int
    dropped: dict[str, int]
    breaker: str
    last_error: str | None
    oldest_pending: float | None
    """Timestamp of the oldest event not yet delivered, seconds since the epoch."""


class OutboxStats(NamedTuple):
    """The outbox's counters."""

    counts: dict[str, int]
    consumers: dict[str, ConsumerStats]
    bytes_in_use: int = 0
    """Of those that it may take on disk; 0 for one that takes none."""
