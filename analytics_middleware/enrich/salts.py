"""The random salts of cookieless visitor ids: one per day, shared by all workers, destroyed after two days."""

import secrets
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from analytics_middleware.counters import Counters, logger
from analytics_middleware.timezones import zone

_LENGTH = 32
_NOON = 12 * 3600.0


SaltSource = Callable[[date], bytes | None]
"""Returns the salt of a day that several hosts share, None while it is unavailable."""


class SaltRecords(Protocol):
    """Where salts are shared between the processes of a host."""

    def salt(self, day: date, fresh: Callable[[], bytes]) -> bytes:
        """Return the salt of *day*, made by *fresh* if there is none; destroy those of days before the previous one."""
        ...

    def shared(self, day: date, fresh: Callable[[], bytes]) -> bytes:
        """Like `salt`, but raise instead of returning one that other processes don't know."""
        ...

    def forget(self, day: date) -> None:
        """Destroy the salts of days before *day*."""
        ...


class PrivateSalts:
    """Salts of this process alone, for when there is no data directory."""

    def __init__(self) -> None:
        self._salts: dict[date, bytes] = {}
        self._lock = threading.Lock()

    def salt(self, day: date, fresh: Callable[[], bytes]) -> bytes:
        """See `SaltRecords.salt`."""
        with self._lock:
            self._salts = {known: salt for known, salt in self._salts.items() if known >= day - timedelta(days=1)}
            if day not in self._salts:
                self._salts[day] = fresh()
            return self._salts[day]

    shared = salt

    def forget(self, day: date) -> None:
        """See `SaltRecords.forget`."""
        self._salts = {known: salt for known, salt in self._salts.items() if known >= day}


def new_salt() -> bytes:
    """Return a new random salt."""
    return secrets.token_bytes(_LENGTH)


class Salts:
    """The salts of local days, cached for today and yesterday.

    New ones come from *source*, if given. If it has none, the host uses a salt of its own for the whole day, because
    ids that change within a day would count visitors twice; the counter ``salts_apart`` says so.
    """

    def __init__(
        self, records: SaltRecords, timezone: str, counters: Counters, source: SaltSource | None = None
    ) -> None:
        self._records = records
        self._counters = counters
        self._zone = zone(timezone)
        self._source = source
        self._today: tuple[float, float, date] = (0.0, 0.0, date.min)
        self._known: dict[date, bytes] = {}

    def day(self, at: float) -> date:
        """Return the local day of *at*, seconds since the epoch."""
        begin, end, day = self._today
        if not begin <= at < end:
            day = datetime.fromtimestamp(at, self._zone).date()
            begin = datetime(day.year, day.month, day.day, tzinfo=self._zone).astimezone(UTC).timestamp()
            after = day + timedelta(days=1)
            end = datetime(after.year, after.month, after.day, tzinfo=self._zone).astimezone(UTC).timestamp()
            self._today = (begin, end, day)
        return day

    def at(self, at: float) -> tuple[date, float, bytes]:
        """Return the local day of *at*, when it began (both seconds since the epoch), and its salt."""
        begin, end, day = self._today
        if not begin <= at < end:
            day = self.day(at)
            begin = self._today[0]
        return day, begin, self._known.get(day) or self.of(day)

    def forget(self, now: float) -> bool:
        """Destroy the salts of days before yesterday, which no session needs; return whether one was cached here."""
        yesterday = self.day(now) - timedelta(days=1)
        self._records.forget(yesterday)
        kept = {known: each for known, each in self._known.items() if known >= yesterday}
        gone = len(kept) < len(self._known)
        self._known = kept
        return gone

    def prepare(self, now: float) -> None:
        """From noon on, get tomorrow's salt, so that it is here even if the source is down at midnight."""
        tomorrow = self.day(now) + timedelta(days=1)
        if self._source is None or tomorrow in self._known or now - self._today[0] < _NOON:
            return
        salt = self._source(tomorrow)
        if salt is not None:
            self._known[tomorrow] = self._records.salt(tomorrow, lambda: salt)

    def of(self, day: date) -> bytes:
        """Return the salt of *day*."""
        salt = self._known.get(day)
        if salt is None:
            salt = self._records.salt(day, lambda: self._new(day))
            # Two days at most here too: a salt is not destroyed as long as a copy is kept anywhere.
            self._known = {known: each for known, each in self._known.items() if abs((known - day).days) <= 1}
            self._known[day] = salt
        return salt

    def _new(self, day: date) -> bytes:
        if self._source is None:
            return new_salt()
        salt = self._source(day)
        if salt is None:
            self._counters.add("salts_apart")
            self._counters.log("salts", logger.warning, "analytics: no salt for %s; its visitors count apart here", day)
            return new_salt()
        return salt
