"""`sql`: one SELECT statement over the view ``events``, run by a DuckDB without access to files or network."""

import json
import threading
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, cast

from analytics_middleware.errors import AnalyticsError
from analytics_middleware.outbox.database import Database
from analytics_middleware.store._arrays import duckdb, pa, pyarrow_dataset
from analytics_middleware.store.columns import COLUMNS, SCHEMA, table_of
from analytics_middleware.store.point import read_point
from analytics_middleware.store.segments import Segments
from analytics_middleware.store.tail import Tail
from analytics_middleware.store.timeout import QuestionTimeout

_VIEW: Final = "events"
_TABLE_FUNCTIONS: Final = frozenset({"generate_series", "range", "unnest"})
_FORBIDDEN: Final = frozenset({"current_setting", "getenv", "getvariable", "write_log"})
"""Scalar functions that read settings or the environment, or write a log."""
_MAX_QUERY: Final = 100_000


class SqlError(AnalyticsError, ValueError):
    """A query that is not a single SELECT statement over ``events``, or that fails."""


class Rows(NamedTuple):
    """The rows of a query. *truncated* says whether there were more than requested."""

    columns: list[str]
    rows: list[tuple[Any, ...]]
    truncated: bool


def run_sql(
    query: str,
    database: Database,
    segments: Segments,
    *,
    max_rows: int,
    timeout: float,
    memory_limit: str,
    threads: int,
    now: int,
) -> Rows:
    """Return the rows of *query* over all events, sealed or not."""
    temporary = segments.directory.parent / "duckdb_temporary"
    connection = duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "allow_community_extensions": False,
            "python_enable_replacements": False,
            "memory_limit": memory_limit,
            "threads": threads,
            "temp_directory": str(temporary),
        },
    )
    try:
        check(connection, query)
        _define_events(connection, database, segments, now)
        connection.execute("SET lock_configuration = true")
        return _fetch(connection, query, max_rows, timeout)
    except duckdb.Error as error:
        raise SqlError(f"sql: {error}") from error
    finally:
        connection.close()


def _fetch(connection: Any, query: str, max_rows: int, timeout: float) -> Rows:
    timer = threading.Timer(timeout, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        cursor = connection.execute(query)
        columns = [column[0] for column in cursor.description]
        rows = cursor.fetchmany(max_rows + 1)
    except duckdb.InterruptException as error:
        raise QuestionTimeout(timeout) from error
    finally:
        timer.cancel()
        # A thread that still refers to the connection when Python exits makes DuckDB report leaks on standard error.
        timer.join()
    return Rows(columns, rows[:max_rows], len(rows) > max_rows)


def check(connection: Any, query: str) -> None:
    """Raise `SqlError` unless *query* is one SELECT statement that names no table except ``events`` and its own.

    DuckDB's own parser analyses the query.
    """
    if len(query) > _MAX_QUERY:
        raise SqlError(f"sql: a query has at most {_MAX_QUERY} characters, not {len(query)}")
    statements = connection.extract_statements(query)
    if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
        raise SqlError("sql: the query must be exactly one SELECT statement")
    [(text,)] = connection.execute("SELECT json_serialize_sql(?)", [statements[0].query]).fetchall()
    tree = json.loads(text)
    if tree.get("error"):
        raise SqlError(f"sql: {tree.get('error_message', 'the query can not be checked')}")
    nodes = list(_nodes(tree))
    known = {_VIEW} | {entry["key"].lower() for node in nodes for entry in _ctes(node)}
    for node in nodes:
        kind = node.get("type")
        if kind == "BASE_TABLE":
            name = node.get("table_name", "")
            if node.get("schema_name") or node.get("catalog_name") or name.lower() not in known:
                raise SqlError(f"sql: there is no table {name!r}, only {_VIEW!r}")
        elif kind == "TABLE_FUNCTION":
            name = node.get("function", {}).get("function_name", "")
            if name.lower() not in _TABLE_FUNCTIONS:
                raise SqlError(f"sql: the function {name!r} is not allowed")
        elif str(node.get("function_name", "")).lower() in _FORBIDDEN:
            raise SqlError(f"sql: the function {node['function_name']!r} is not allowed")
        elif kind in ("SHOW_REF", "PIVOT"):
            raise SqlError("sql: DESCRIBE, SHOW, SUMMARIZE and PIVOT are not allowed")


def _ctes(node: dict[str, Any]) -> list[dict[str, Any]]:
    named: dict[str, Any] = node.get("cte_map") or {}
    entries: list[dict[str, Any]] = named.get("map", [])
    return entries


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object in *tree*."""
    waiting: list[Any] = [tree]
    while waiting:
        item: Any = waiting.pop()
        if isinstance(item, dict):
            node = cast("dict[str, Any]", item)
            yield node
            waiting.extend(node.values())
        elif isinstance(item, list):
            waiting.extend(cast("list[Any]", item))


def _define_events(connection: Any, database: Database, segments: Segments, now: int) -> None:
    """Create the view. Arrow reads the files, so DuckDB only sees rows."""
    with database.read() as reading:
        point = read_point(reading, segments, now)
    state, tail = point
    connection.register("unsealed", table_of(tail.surviving()))
    columns = ", ".join(COLUMNS)
    query = f"SELECT {columns} FROM unsealed"  # noqa: S608 - our own names of columns
    if state.segments:
        files = [str(segments.path(segment.file)) for segment in state.segments]
        connection.register("sealed", pyarrow_dataset().dataset(files, schema=SCHEMA, format="parquet"))
        query += f" UNION ALL SELECT {columns} FROM sealed WHERE epoch_us(timestamp) >= {int(state.horizon)}"  # noqa: S608
        if point.has_erased:
            connection.register("erased", _erased(tail))
            query += (
                " AND NOT EXISTS (SELECT 1 FROM erased WHERE epoch_us(timestamp) <= until AND CASE WHEN erased.is_user "
                "THEN user_id = erased.id ELSE user_id IS NULL AND anon_id = erased.id END)"
            )
    connection.execute(f"CREATE VIEW {_VIEW} AS {query}")


def _erased(tail: Tail) -> Any:
    people = tail.identities
    users = list(people.erased_users.items())
    anons = [(anon_id, people.gone_until(None, anon_id)) for anon_id in people.erased_anons]
    both = [*((True, *item) for item in users), *((False, *item) for item in anons)]
    return pa.table(
        {
            "is_user": pa.array([item[0] for item in both], pa.bool_()),
            "id": pa.array([item[1] for item in both], pa.string()),
            "until": pa.array([item[2] for item in both], pa.int64()),
        }
    )
