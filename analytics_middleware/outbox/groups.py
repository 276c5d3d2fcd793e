"""Groups that two processes may write: the one that sent them to the worker, and the worker. Each is written once."""

from sqlite3 import Connection
from typing import Final

from analytics_middleware.ids import smallest

_KEPT: Final = 600.0
"""Seconds that a group's id is remembered: longer than a worker hangs before somebody ends it."""


def claim_group(connection: Connection, group_id: str) -> bool:
    """Return whether the group *group_id*, a UUIDv7, was not written before; from now on it was."""
    return connection.execute("INSERT OR IGNORE INTO written_group VALUES (?)", (group_id,)).rowcount == 1


def forget_groups(connection: Connection, now: float) -> None:
    """Forget groups that were sent long before *now*, in seconds since the epoch."""
    connection.execute("DELETE FROM written_group WHERE id < ?", (smallest(now - _KEPT),))
