"""Sessions: a visitor's events with no gap longer than `session_timeout`, whichever worker saw them."""

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from analytics_middleware.ids import uuid7

_CACHED = 50_000
_FORGET_EVERY = 3600.0
_WRITE_EVERY = 60.0
"""Seconds that the shared record of a session may lag behind its last event."""


class Session(NamedTuple):
    """A visitor's latest session; times are seconds since the epoch."""

    session_id: str
    first: float
    last: float


class SessionRecords(Protocol):
    """Where sessions are shared between the processes of a host."""

    def update(self, sightings: Sequence[tuple[str, float]], timeout: float) -> list[Session]:
        """Add *sightings*, (visitor, seconds since the epoch), and return the session that each belongs to."""
        ...

    def active(self, visitors: Iterable[str], since: float) -> set[str]:
        """Return which of *visitors* have been seen after *since*."""
        ...

    def forget(self, now: float) -> None:
        """Forget sessions that ended long before *now*."""
        ...


class PrivateSessions:
    """Sessions of this process alone, for when there is no data directory."""

    def __init__(self) -> None:
        self._sessions: OrderedDict[str, Session] = OrderedDict()

    def update(self, sightings: Sequence[tuple[str, float]], timeout: float) -> list[Session]:
        """See `SessionRecords.update`."""
        sessions: list[Session] = []
        for visitor, at in sightings:
            known = self._sessions.get(visitor)
            session = follow(known, at, timeout)
            sessions.append(session)
            if known is None or session.last >= known.last:
                self._sessions[visitor] = session
                self._sessions.move_to_end(visitor)
        while len(self._sessions) > _CACHED:
            self._sessions.popitem(last=False)
        return sessions

    def active(self, visitors: Iterable[str], since: float) -> set[str]:
        """See `SessionRecords.active`."""
        return {each for each in visitors if (session := self._sessions.get(each)) is not None and session.last > since}

    def forget(self, now: float) -> None:
        """Do nothing: only the most recent sessions are kept anyway."""


class _Known:
    """A session as this process knows it, up to date as of *written*."""

    __slots__ = ("first", "last", "session_id", "written")

    def __init__(self, session: Session, written: float) -> None:
        self.session_id, self.first, self.last = session
        self.written = written


class Sessions:
    """Gives events their session ids; asks the shared records only if this process can't know."""

    def __init__(self, records: SessionRecords, timeout: float) -> None:
        self._records = records
        self.timeout = timeout
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._forgotten = 0.0

    def assign(self, sightings: Sequence[tuple[str, float]]) -> list[str]:
        """Return the session id of each (visitor, seconds since the epoch), in order."""
        certain = self.timeout - _WRITE_EVERY
        ids: list[str] = [""] * len(sightings)
        asked: list[int] = []
        for index, (visitor, at) in enumerate(sightings):
            known = self._known.get(visitor)
            if known is not None and known.first <= at <= known.last + certain and at < known.written + _WRITE_EVERY:
                ids[index] = known.session_id
                if at > known.last:
                    known.last = at
                continue
            asked.append(index)
        if asked:
            sessions = self._records.update([sightings[index] for index in asked], self.timeout)
            for index, session in zip(asked, sessions, strict=True):
                visitor, at = sightings[index]
                ids[index] = session.session_id
                self._known[visitor] = _Known(session, max(session.last, at))
                self._known.move_to_end(visitor)
            while len(self._known) > _CACHED:
                self._known.popitem(last=False)
        return ids

    def forget(self, now: float) -> None:
        """Forget sessions that ended long before *now*; may be called often, works once an hour."""
        if now >= self._forgotten + _FORGET_EVERY or now < self._forgotten:
            self._forgotten = now
            self._records.forget(now)

    def active(self, visitors: Iterable[str], at: float) -> set[str]:
        """Return which of *visitors* have a session that has not ended at *at*."""
        return self._records.active(visitors, at - self.timeout)


def follow(session: Session | None, at: float, timeout: float) -> Session:
    """Return the visitor's session after a sighting at *at*: the same one if no gap is longer than *timeout*."""
    if session is None or at > session.last + timeout:
        return Session(uuid7(at), at, at)
    if at < session.first - timeout:
        # A late event from before: it gets a session of its own, which does not end the present one.
        return Session(uuid7(at), at, at)
    return Session(session.session_id, min(session.first, at), max(session.last, at))
