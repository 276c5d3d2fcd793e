"""Counters of what happened to events, and logging that repeats the same problem at most once a minute."""

import logging
import threading
import time
from collections.abc import Callable, Mapping

logger = logging.getLogger("analytics_middleware")

REASONS: Mapping[str, str] = {
    "queue_full": "the writer thread could not keep up; the newest request was dropped",
    "processor": "a processor returned None",
    "processor_error": "a processor raised; the event was dropped, as that processor may be what removes secrets",
    "internal_error": "an error inside analytics; please report it",
    "overflow": "a collector fell too far behind (max_pending, max_bytes); the oldest were dropped",
    "overflow_memory": "the disk could not be written and memory was full",
    "removed": "the data directory's database was removed or replaced while events waited in it",
    "exit": "the process ended before an in-memory event was delivered",
    "debug": "debug is on and the collector sends to a third party",
    "consent": "the visitor objects (DNT, Sec-GPC), or has not consented and the collector requires it",
    "bot": "a bot's page view, and the collector does not want bots",
    "stale": "older than the collector's maximum age",
    "sampled": "its visitor is not in the collector's sample",
    "ambiguous": "may have arrived (time-out after sending) and the destination does not deduplicate",
    "retired": "its collector has not been configured for a week",
    "erased": "its user was erased on request",
    "forwarded": "recorded by another host, sent here for the store; that host delivers it to its own collectors",
    "purged": "a dead letter that was purged",
    "refused": "the store takes no events from the future, of erased users, or older than retention_days",
    "undecodable": "written by an incompatible version",
}
"""Why an event was dropped. Every drop is counted under one of these."""

NOTES: Mapping[str, str] = {
    "accepted": "events in the log",
    "late_helper": "a helper called after its event was handed off; nothing was changed",
    "internal_errors": "something inside analytics, or a hook such as get_user_id, raised in a request and was caught",
    "bad_argument": "a helper called with an argument it can't use; nothing was changed",
    "properties_dropped": "properties beyond the 64th",
    "proxy_ignored": "requests that seem to come through a proxy while none is trusted; the first of each process",
    "identity_ignored": "user ids and traits sent by somebody who may not claim them; the rest was kept",
    "ingest_refused": "requests with events that the API refused with an error; nothing of them was kept",
    "salts_apart": "days on which this host's cookieless visitors are counted separately: the hub gave it no salt",
    "streams_refused": "live pages beyond the connections that a process holds; they poll every few seconds instead",
    "streams_slow": "live pages disconnected because they did not read what they were sent",
    "rate_limited": "requests to the API beyond an address's limit; nothing of them was kept",
}
"""The other counters."""

_LOG_EVERY = 60.0


class Counters:
    """Thread-safe counts by name, since the last `take`."""

    def __init__(self) -> None:
        # Reentrant: the garbage collector may run a finaliser here that records an event.
        self._lock = threading.RLock()
        self._counts: dict[str, int] = {}
        self._logged: dict[str, float] = {}

    def add(self, name: str, count: int = 1) -> None:
        """Add *count* to the counter *name*."""
        with self._lock:
            self._counts[name] = self._counts.get(name, 0) + count

    def drop(self, reason: str, count: int = 1) -> None:
        """Count events lost for *reason*, one of `REASONS`."""
        self.add(f"dropped.{reason}", count)

    def take(self) -> dict[str, int]:
        """Return all counts and reset them."""
        with self._lock:
            counts, self._counts = self._counts, {}
        return counts

    def give_back(self, counts: Mapping[str, int]) -> None:
        """Add *counts* that were taken but could not be stored."""
        for name, count in counts.items():
            self.add(name, count)

    def peek(self) -> dict[str, int]:
        """Return all counts since the last `take`."""
        with self._lock:
            return dict(self._counts)

    def log(self, key: str, write: Callable[..., None], message: str, *args: object, exc_info: bool = False) -> None:
        """Log *message* unless the same *key* was logged within the last minute."""
        now = time.monotonic()
        with self._lock:
            if now - self._logged.get(key, -_LOG_EVERY) < _LOG_EVERY:
                return
            self._logged[key] = now
        write(message, *args, exc_info=exc_info)
