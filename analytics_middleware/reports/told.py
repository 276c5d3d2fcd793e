"""What is known of alerts and who was told, in the database: workers and cron runs never tell the same twice.

A message is claimed in one transaction, sent outside of any, and noted in another. When the process dies in between,
the claim runs out and the message is sent once more: an alert that nobody gets would be worse.
"""

import hashlib
import sqlite3
from typing import NamedTuple

from analytics_middleware.outbox.database import Database

CLAIM = 300.0
"""Seconds after which a message that was to be sent is taken for not sent; more than sending may take."""


class State(NamedTuple):
    """What was found when an alert was last checked."""

    firing: bool
    since: float
    """When that began."""
    checked: float
    value: float | None
    before: float | None


class Told(NamedTuple):
    """What one destination has been told of an alert."""

    fired: float
    """When it was last told that the alert fires; 0 for never."""
    sent: int
    failed: int
    last_error: str | None


class Due(NamedTuple):
    """A message that this process is to send."""

    id: str
    """The same for every attempt."""
    state: State
    told: bool = False
    """Whether the destination may know already that the alert fires."""


class Telling:
    """The state of alerts in *database*. Times are seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def state(self, name: str) -> State | None:
        """Return what was found last, None when it was never checked."""
        with self._database.read() as connection:
            return _state(connection, name)

    def told(self, name: str) -> Told:
        """Return what all destinations together have been told."""
        with self._database.read() as connection:
            fired, sent, failed, error = connection.execute(
                "SELECT max(fired), sum(sent), sum(failed), max(last_error) FROM alert_told WHERE name = ?", (name,)
            ).fetchone()
        return Told(fired or 0.0, sent or 0, failed or 0, error)

    def note(self, name: str, holds: bool | None, value: float | None, before: float | None, at: float) -> State:
        """Write down what was found *at* a time; return what holds now. None (no number) leaves it as it was.

        What another process found later counts, unless it is from before the clock was set back.
        """
        with self._database.write() as connection:
            known = _state(connection, name)
            if known is not None and at < known.checked <= at + CLAIM:
                return known
            was = known is not None and known.firing
            firing = was if holds is None else holds
            since = known.since if known is not None and firing == was else at
            connection.execute(
                "INSERT OR REPLACE INTO alert (name, firing, since, checked, value, before) VALUES (?, ?, ?, ?, ?, ?)",
                (name, firing, since, at, value, before),
            )
        return State(firing, since, at, value, before)

    def claim(self, name: str, destination: str, quiet: float, now: float) -> Due | None:
        """Return the message that *destination* is due, which no other process will send meanwhile; None for none.

        It is told that an alert fires unless it was within the last *quiet* seconds, and that it is over if it was
        told, or may have been told, that it fires.
        """
        with self._database.write() as connection:
            state = _state(connection, name)
            if state is None:
                return None
            row = connection.execute(
                "SELECT firing, fired, claimed_until FROM alert_told WHERE name = ? AND destination = ?",
                (name, destination),
            ).fetchone()
            firing, fired, claimed_until = row or (0, 0.0, 0.0)
            # A clock that was set back must not silence anybody.
            if now < claimed_until <= now + CLAIM:
                return None
            if not firing if not state.firing else 0 <= now - fired < quiet:
                return None
            # From now on it may be told, whatever becomes of this process; then it is owed the end, too.
            connection.execute(
                "INSERT INTO alert_told (name, destination, firing, claimed_until) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name, destination) DO UPDATE SET firing = excluded.firing, "
                "claimed_until = excluded.claimed_until",
                (name, destination, bool(firing) or state.firing, now + CLAIM),
            )
        digest = hashlib.sha256(repr((name, destination, state.firing, state.since, fired)).encode()).hexdigest()
        return Due(f"alr_{digest[:32]}", state, bool(firing))

    def sent(self, name: str, destination: str, due: Due, now: float) -> None:
        """Note that *due* was sent."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE alert_told SET firing = ?, fired = iif(?, ?, fired), claimed_until = 0, sent = sent + 1, "
                "last_error = NULL WHERE name = ? AND destination = ?",
                (due.state.firing, due.state.firing, now, name, destination),
            )

    def failed(self, name: str, destination: str, due: Due, error: str, *, ambiguous: bool) -> None:
        """Note that *due* could not be sent, or is not known to be (*ambiguous*); the next check tries again."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE alert_told SET firing = ?, claimed_until = 0, failed = failed + 1, last_error = ? "
                "WHERE name = ? AND destination = ?",
                (due.told or (ambiguous and due.state.firing), error, name, destination),
            )


def _state(connection: sqlite3.Connection, name: str) -> State | None:
    row = connection.execute(
        "SELECT firing, since, checked, value, before FROM alert WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None else State(bool(row[0]), *row[1:])
