"""Groups that two processes may write; this makes sure that each is written only once.

They are the sending process and the worker, or one that ends during a transaction and one that finds its leftovers.
"""

from sqlite3 import Connection
from typing import Final

from analytics_middleware.ids import smallest

_KEPT: Final = 600.0
"""Seconds that a group's id is remembered: longer than a hanging worker survives."""


def claim_group(connection: Connection, group_id: str, instead_of: str = "") -> bool:
    """Mark the group *group_id*, a UUIDv7, as written; return whether it was not before.

    *instead_of* is a group that nobody will write again.
    """
    if instead_of:
        connection.execute("DELETE FROM written_group WHERE id = ?", (instead_of,))
    return connection.execute("INSERT OR IGNORE INTO written_group VALUES (?)", (group_id,)).rowcount == 1


def forget_groups(connection: Connection, now: float) -> None:
    """Forget groups sent long before *now*, in seconds since the epoch."""
    connection.execute("DELETE FROM written_group WHERE id < ?", (smallest(now - _KEPT),))
