"""The random salts of cookieless visitor ids: one a day, shared by all workers, destroyed after two."""

import secrets
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

_LENGTH = 32


class SaltRecords(Protocol):
    """Where salts are shared between the processes of a host."""

    def salt(self, day: date, fresh: bytes) -> bytes:
        """Return the salt of *day*, which becomes *fresh* if it has none; forget those of days before the last."""
        ...

    def forget(self, day: date) -> None:
        """Destroy the salts of days before *day*."""
        ...


class PrivateSalts:
    """Salts of this process alone, for when there is no data directory."""

    def __init__(self) -> None:
        self._salts: dict[date, bytes] = {}

    def salt(self, day: date, fresh: bytes) -> bytes:
        """See `SaltRecords.salt`."""
        self._salts = {known: salt for known, salt in self._salts.items() if known >= day - timedelta(days=1)}
        return self._salts.setdefault(day, fresh)

    def forget(self, day: date) -> None:
        """See `SaltRecords.forget`."""
        self._salts = {known: salt for known, salt in self._salts.items() if known >= day}


class Salts:
    """The salt of each local day, remembered for today and yesterday."""

    def __init__(
        self, records: SaltRecords, timezone: str, random: Callable[[int], bytes] = secrets.token_bytes
    ) -> None:
        self._records = records
        self._zone = ZoneInfo(timezone)
        self._random = random
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

    def seconds_into_day(self, at: float) -> float:
        """Return how long the local day of *at* has lasted."""
        self.day(at)
        return at - self._today[0]

    def forget(self, now: float) -> bool:
        """Destroy what no session needs any more at *now*: salts of days before yesterday; return if one was here."""
        yesterday = self.day(now) - timedelta(days=1)
        self._records.forget(yesterday)
        kept = {known: each for known, each in self._known.items() if known >= yesterday}
        gone = len(kept) < len(self._known)
        self._known = kept
        return gone

    def of(self, day: date) -> bytes:
        """Return the salt of *day*."""
        salt = self._known.get(day)
        if salt is None:
            salt = self._records.salt(day, self._random(_LENGTH))
            # Two days at most, here too: a salt that is kept anywhere is not destroyed.
            self._known = {known: each for known, each in self._known.items() if abs((known - day).days) <= 1}
            self._known[day] = salt
        return salt
