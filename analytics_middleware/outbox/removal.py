"""Events lost with a database that was removed while in use; the process that notices first counts them."""

from collections.abc import Mapping
from sqlite3 import Connection

from analytics_middleware.outbox.counting import count, counter_value, pending_events

_REMOVED = "removed"
"""The reason under which events are counted whose database was removed."""


def take_lost(connection: Connection) -> dict[str, int]:
    """Return how many events wait for each consumer of the removed database and were not counted by any process yet.

    They stay in that database: somebody may have moved its directory and bring it back.
    """
    lost: dict[str, int] = {}
    for name, cursor in connection.execute("SELECT name, cursor FROM consumer").fetchall():
        taken = f"{name}/{_REMOVED}"
        lost[name] = max(0, pending_events(connection, name, cursor)[0] - counter_value(connection, taken))
        count(connection, {taken: lost[name]})
    return lost


def count_lost(connection: Connection, lost: Mapping[str, int]) -> None:
    """Count the *lost* events of the removed database in the present one."""
    counts = {f"dropped.{_REMOVED}": max(lost.values(), default=0)}
    for name, events in lost.items():
        # Move the baseline too, since the lost events were accepted in the other database.
        if connection.execute("UPDATE consumer SET baseline = baseline - ? WHERE name = ?", (events, name)).rowcount:
            counts[f"{name}/dropped.{_REMOVED}"] = events
    count(connection, counts)
