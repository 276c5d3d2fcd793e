"""Bringing the tables to the version of this program: at the first use of an empty database, else when told to."""

import time

from analytics_middleware.store.clickhouse.connection import ClickHouseError, Connection
from analytics_middleware.store.clickhouse.schema import META, VERSION, Layout, create_database, set_retention, steps

_UNKNOWN = frozenset({60, 81})
"""Codes of ClickHouse: UNKNOWN_TABLE, UNKNOWN_DATABASE."""


def schema_version(connection: Connection, layout: Layout) -> int:
    """Return the version of the tables, 0 when there are none."""
    return int(_read(connection, layout).get("version", "0"))


def migrate(connection: Connection, layout: Layout, retention_days: int | None) -> int:
    """Bring the tables to `VERSION`, and their retention to *retention_days*; return the version they had."""
    known = _read(connection, layout)
    version = int(known.get("version", "0"))
    if version > VERSION:
        raise newer(version)
    if not known:
        connection.command(create_database(layout))
    for statement in steps(layout, version):
        connection.command(statement)
    if version < VERSION:
        _write(connection, layout, "version", str(VERSION))
    _keep_for(connection, layout, retention_days, known)
    return version


def prepare(connection: Connection, layout: Layout, retention_days: int | None) -> None:
    """Make the tables where there are none. Raises `ClickHouseError` when they are of another version."""
    known = _read(connection, layout)
    version = int(known.get("version", "0"))
    if version == 0:
        migrate(connection, layout, retention_days)
    elif version < VERSION:
        raise ClickHouseError(
            f"the tables are of version {version}, this program's of {VERSION}: run 'analytics-middleware migrate'"
        )
    elif version > VERSION:
        raise newer(version)
    elif retention_days is not None:
        # Who says nothing, a command that copies for instance, does not mean for ever.
        _keep_for(connection, layout, retention_days, known)


def newer(version: int) -> ClickHouseError:
    """Return the error that the tables are of a *version* that this program does not know."""
    return ClickHouseError(f"the tables are of version {version}; this program knows {VERSION}: upgrade it")


def _keep_for(connection: Connection, layout: Layout, days: int | None, known: dict[str, str]) -> None:
    """Have the server delete events more than *days* old, None for never, unless it does so already."""
    wanted = "" if days is None else str(days)
    if known.get("retention_days", "") == wanted:
        return
    for statement in set_retention(layout, days):
        connection.command(statement)
    _write(connection, layout, "retention_days", wanted)


def _read(connection: Connection, layout: Layout) -> dict[str, str]:
    try:
        return dict(connection.query(f"SELECT key, argMax(value, written) FROM {layout.table('meta')} GROUP BY key"))
    except ClickHouseError as error:
        if error.code in _UNKNOWN:
            return {}
        raise


def _write(connection: Connection, layout: Layout, key: str, value: str) -> None:
    connection.insert(layout.table("meta"), {"key": [key], "value": [value], "written": [time.time_ns()]}, META.columns)
