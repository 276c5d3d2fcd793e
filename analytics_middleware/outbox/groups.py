"""Groups that both the sending process and the worker may write; this makes sure that each is written only once."""

from sqlite3 import Connection
from typing import Final

from analytics_middleware.ids import smallest

_KEPT: Final = 600.0
"""Seconds that a group's id is remembered: longer than a hanging worker survives."""


def claim_group(connection: Connection, group_id: str) -> bool:
    """Mark the group *group_id*, a UUIDv7, as written; return whether it was not before."""
    return connection.execute("INSERT OR IGNORE INTO written_group VALUES (?)", (group_id,)).rowcount == 1


def forget_groups(connection: Connection, now: float) -> None:
    """Forget groups sent long before *now*, in seconds since the epoch."""
    connection.execute("DELETE FROM written_group WHERE id < ?", (smallest(now - _KEPT),))
