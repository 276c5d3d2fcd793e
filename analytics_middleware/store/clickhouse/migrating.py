"""Bringing the tables to this program's version: at first use of an empty database, otherwise only on request."""

import time

from analytics_middleware.store.clickhouse.connection import ClickHouseError, Columns, Connection
from analytics_middleware.store.clickhouse.schema import META, VERSION, Layout, create_database, set_retention, steps

_UNKNOWN = frozenset({60, 81})
"""ClickHouse error codes: UNKNOWN_TABLE, UNKNOWN_DATABASE."""
_VERSION, _RETENTION = "version", "retention_days"


def pending(connection: Connection, layout: Layout, retention_days: int | None) -> list[str]:
    """Return the statements that bring the tables to `VERSION` and set the retention to *retention_days*."""
    return _pending(layout, _read(connection, layout), retention_days)


def migrate(connection: Connection, layout: Layout, retention_days: int | None) -> tuple[int, int]:
    """Run the pending statements; return the version of the tables before (0 for none) and after."""
    known = _read(connection, layout)
    for statement in _pending(layout, known, retention_days):
        connection.command(statement)
    _write(connection, layout, {_VERSION: str(VERSION), _RETENTION: _text(retention_days)})
    return _version(known), VERSION


def prepare(connection: Connection, layout: Layout, retention_days: int | None) -> None:
    """Create the tables if there are none. Raises `ClickHouseError` if they have another version."""
    known = _read(connection, layout)
    version = _version(known)
    if 0 < version < VERSION:
        raise ClickHouseError(
            f"the tables are of version {version}, this program's of {VERSION}: run 'analytics-middleware migrate'"
        )
    # No retention given, as by a command that copies, means no change; it does not mean keeping events forever.
    changed = retention_days is not None and known.get(_RETENTION, "") != _text(retention_days)
    if version == 0 or changed:
        migrate(connection, layout, retention_days)
    elif version > VERSION:
        _pending(layout, known, retention_days)


def _pending(layout: Layout, known: dict[str, str], retention_days: int | None) -> list[str]:
    version = _version(known)
    if version > VERSION:
        raise ClickHouseError(f"the tables are of version {version}; this program knows {VERSION}: upgrade it")
    statements = [] if version else [create_database(layout)]
    statements += steps(layout, version)
    if known.get(_RETENTION, "") != _text(retention_days):
        statements += set_retention(layout, retention_days)
    return statements


def _version(known: dict[str, str]) -> int:
    return int(known.get(_VERSION, "0"))


def _text(days: int | None) -> str:
    return "" if days is None else str(days)


def _read(connection: Connection, layout: Layout) -> dict[str, str]:
    try:
        return dict(connection.query(f"SELECT key, argMax(value, written) FROM {layout.table('meta')} GROUP BY key"))
    except ClickHouseError as error:
        if error.code in _UNKNOWN:
            return {}
        raise


def _write(connection: Connection, layout: Layout, values: dict[str, str]) -> None:
    now = time.time_ns()
    columns: Columns = {"key": list(values), "value": list(values.values()), "written": [now] * len(values)}
    connection.insert(layout.table("meta"), columns, META.columns)
