"""The state of alerts and of their messages, in the database, so that several processes never send the same one.

A message is claimed in one transaction, sent outside of any, and recorded as sent in another. If the process dies in
between, the claim expires and the message is sent once more: an alert that nobody gets would be worse.
"""

import hashlib
import sqlite3
from typing import NamedTuple

from analytics_middleware.outbox.database import Database

CLAIM = 300.0
"""Seconds after which a claimed message is taken as not sent. Sending always takes less."""


class AlertState(NamedTuple):
    """The result of an alert's last check."""

    firing: bool
    since: float
    """When it began to fire, or stopped."""
    checked: float
    value: float | None
    before: float | None


class AlertMessages(NamedTuple):
    """The messages sent about an alert."""

    fired: float
    """When the last message that it fires was sent; 0 for never."""
    sent: int
    failed: int
    last_error: str | None


class DueMessage(NamedTuple):
    """A message that this process is to send."""

    id: str
    """The same id for every attempt."""
    state: AlertState
    may_know: bool = False
    """Whether the destination may already know that the alert fires."""


class AlertStates:
    """The state of alerts in *database*. Times are seconds since the epoch."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def state(self, name: str) -> AlertState | None:
        """Return the result of the last check, or None if there was none."""
        with self._database.read() as connection:
            return _state(connection, name)

    def messages(self, name: str) -> AlertMessages:
        """Return what was sent to all destinations together."""
        with self._database.read() as connection:
            fired, sent, failed, error = connection.execute(
                "SELECT max(fired), sum(sent), sum(failed), max(last_error) FROM alert_told WHERE name = ?", (name,)
            ).fetchone()
        return AlertMessages(fired or 0.0, sent or 0, failed or 0, error)

    def record(self, name: str, holds: bool | None, value: float | None, before: float | None, at: float) -> AlertState:
        """Record the result of a check *at* a time and return the state. If *holds* is None (no number), it stays.

        A later result of another process wins, unless it is from before the clock was set back.
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
        return AlertState(firing, since, at, value, before)

    def claim(self, name: str, destination: str, quiet: float, now: float) -> DueMessage | None:
        """Claim and return the message that *destination* is due, or None. No other process sends it meanwhile.

        A message that the alert fires is due unless one was sent in the last *quiet* seconds. A message that it is over
        is due if one that it fires was sent, or may have been.
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
            # A claim further in the future than CLAIM is from before the clock was set back, and doesn't count.
            if now < claimed_until <= now + CLAIM:
                return None
            if not firing if not state.firing else 0 <= now - fired < quiet:
                return None
            # Recorded before sending: should this process die after it, the message that it is over is still due.
            connection.execute(
                "INSERT INTO alert_told (name, destination, firing, claimed_until) VALUES (?, ?, ?, ?) "
                "ON CONFLICT (name, destination) DO UPDATE SET firing = excluded.firing, "
                "claimed_until = excluded.claimed_until",
                (name, destination, bool(firing) or state.firing, now + CLAIM),
            )
        digest = hashlib.sha256(repr((name, destination, state.firing, state.since, fired)).encode()).hexdigest()
        return DueMessage(f"alr_{digest[:32]}", state, bool(firing))

    def sent(self, name: str, destination: str, due: DueMessage, now: float) -> None:
        """Record that *due* was sent."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE alert_told SET firing = ?, fired = iif(?, ?, fired), claimed_until = 0, sent = sent + 1, "
                "last_error = NULL WHERE name = ? AND destination = ?",
                (due.state.firing, due.state.firing, now, name, destination),
            )

    def failed(self, name: str, destination: str, due: DueMessage, error: str, *, ambiguous: bool) -> None:
        """Record that *due* was not sent, or may not have been (*ambiguous*). The next check tries again."""
        with self._database.write() as connection:
            connection.execute(
                "UPDATE alert_told SET firing = ?, claimed_until = 0, failed = failed + 1, last_error = ? "
                "WHERE name = ? AND destination = ?",
                (due.may_know or (ambiguous and due.state.firing), error, name, destination),
            )


def _state(connection: sqlite3.Connection, name: str) -> AlertState | None:
    row = connection.execute(
        "SELECT firing, since, checked, value, before FROM alert WHERE name = ?", (name,)
    ).fetchone()
    return None if row is None else AlertState(bool(row[0]), *row[1:])
