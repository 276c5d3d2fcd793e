"""The outbox port: an append-only log with consumers, each with its own cursor, retries and dead letters."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, Literal, NamedTuple, Protocol

Kind = Literal["event", "identify", "erase"]

STORE: Final = "store"
"""The store's name among the consumers of the log; collectors can't use it."""


class Draft(NamedTuple):
    """A record to be written into the log."""

    kind: Kind
    record_id: str
    timestamp: float
    """The record's time in seconds since the epoch."""
    payload: bytes
    private: bytes | None = None
    """JSON that only some collectors may read and nobody may keep; cleared once they have read it."""
    flags: int = 0
    """Flags that determine which collectors may get it; see `enrich.visit`."""


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
    """How often it was sent individually; 0 for a first attempt."""


class Retry(NamedTuple):
    """An entry to be retried, kept outside the log so that it doesn't delay others."""

    entry: Entry
    due: float
    """When to retry, in seconds since the epoch."""
    reason: str


class DeadLetter(NamedTuple):
    """An entry that a destination permanently refused."""

    entry: Entry
    reason: str


class Settlement(NamedTuple):
    """The outcome of a batch, written in a single transaction."""

    cursor: int | None = None
    """The last sequence number of the batch; None leaves the cursor unchanged (a batch of retries)."""
    settled: Sequence[Entry] = ()
    """Retries that are finished, whatever their outcome."""
    delivered: int = 0
    dropped: Mapping[str, int] = {}
    retries: Sequence[Retry] = ()
    dead: Sequence[DeadLetter] = ()
    error: str | None = None
    """The latest error, for people to read."""
    breaker: str | None = None


class Erased(NamedTuple):
    """What an erasure deleted."""

    log: int
    retry: int
    dead: int
    anonymous_ids: tuple[str, ...]
    """The user's persistent anonymous ids; their anonymous records were erased too."""
    clean: bool
    """Whether the data is also gone from the database file and its write-ahead log. False if somebody was reading all
    the time; the next complete checkpoint finishes the job.
    """


class LeaseLost(Exception):  # noqa: N818 - part of the protocol between processes, not an error
    """Another process now delivers for this consumer; nothing of the settlement was written."""


class Outbox(Protocol):
    """The log. Safe to use from any thread. All counts refer to entries of kind ``event``."""

    durable: bool

    def append(self, drafts: Sequence[Draft], counts: Mapping[str, int], group: str | None = None) -> int:
        """Write *drafts* and add *counts* in one step; return the last sequence number of the log.

        Returns when the records are as safe as this outbox makes them. With the id *group*, a UUIDv7, nothing is
        written if another process has written that group.
        """
        ...

    def tick(self, consumers: Iterable[str]) -> None:
        """Do periodic work; call it about every second. *consumers* are those configured in this process."""
        ...

    def register(self, consumer: str, *, reads_private: bool = False) -> None:
        """Register *consumer*; a new one starts at the end of the log.

        Private data of an entry is kept until all consumers that read it have passed the entry.
        """
        ...

    def claim(self, consumer: str) -> int | None:
        """Take or renew the lease on *consumer*; return its epoch, or None while another process holds it."""
        ...

    def release(self, consumer: str) -> None:
        """Give up the lease, so that another process need not wait until it ends."""
        ...

    def read(self, consumer: str, limit: int, max_bytes: int) -> list[Entry]:
        """Return the next entries after the cursor, at least one if there is any."""
        ...

    def behind(self, consumer: str) -> int:
        """Return how many entries wait after the cursor, judging by this process's own reads and writes."""
        ...

    def due(self, consumer: str, now: float, limit: int) -> list[Entry]:
        """Return entries whose retry is due."""
        ...

    def next_due(self, consumer: str) -> float | None:
        """Return when the next retry is due, in seconds since the epoch."""
        ...

    def settle(self, consumer: str, epoch: int, settlement: Settlement) -> None:
        """Write the outcome of a batch. Raises `LeaseLost` if *epoch* is not the lease's any more."""
        ...

    def passed(self, consumer: str, seq: int) -> bool:
        """Whether *consumer* has passed *seq*, and no entry up to it waits for a retry."""
        ...

    def stats(self) -> "OutboxStats":
        """Return all counters, of the whole host if it shares the outbox."""
        ...

    def erase(self, user_id: str, record: Draft, progress: Callable[[int], object] = lambda _: None) -> Erased:
        """Forget *user_id* up to the time of *record*, an erase record, which is appended to the log.

        Erased records that arrive later are refused and counted as ``erased``.
        """
        ...

    def after_fork(self) -> None:
        """Forget everything that belongs to the parent process."""
        ...

    def close(self) -> None:
        """Release files and memory."""
        ...


class ConsumerStats(NamedTuple):
    """The state of a consumer. ``accepted == delivered + sum(dropped) + dead + pending``."""

    accepted: int
    delivered: int
    pending: int
    dead: int
    dropped: dict[str, int]
    breaker: str
    last_error: str | None
    oldest_pending: float | None
    """Timestamp of the oldest undelivered event, in seconds since the epoch."""


class OutboxStats(NamedTuple):
    """The outbox's counters."""

    counts: dict[str, int]
    consumers: dict[str, ConsumerStats]
    bytes_in_use: int = 0
    """Maximum size on disk, in bytes; 0 for an outbox that uses none."""
