"""ClickHouse itself in this process (chDB): stores on one server, and on a cluster of two shards.

A process has one engine. The shards are two addresses of it that the engine takes for itself, so it plans and runs
distributed queries and inserts without a network. Both find the same local tables, and each sees only those rows in
them that its number says. Without ZooKeeper or Keeper tables can't be replicated, nor DDL be sent around: of the
statements for clusters those two words are left out.
"""

import itertools
from pathlib import Path
from typing import Any

from analytics_middleware.store import ClickHouseStore
from analytics_middleware.store.clickhouse.connection import Columns, Connection
from analytics_middleware.store.clickhouse.schema import TABLES, VERSION, Layout, steps

CLUSTER = "two"
_CONFIG = Path(__file__).with_name("two_shards.xml")
_numbers = itertools.count()
_kept: list[Connection] = []
"""A connection that keeps the engine alive."""


def address(database: str, cluster: str | None = None) -> str:
    """Return the address of *database* in this process's engine."""
    option = f"&cluster={cluster}" if cluster else ""
    return f"chdb://memory?database={database}&config_file={_CONFIG}{option}"


class Fresh(ClickHouseStore):
    """A store in a database of its own, which goes when the store is closed."""

    def __init__(self, cluster: str | None = None, **options: Any) -> None:
        super().__init__(address(f"test_{next(_numbers)}", cluster), **options)
        if not _kept:
            keeper = Connection(self.address, 60)
            keeper.query("SELECT 1")
            _kept.append(keeper)
        # A thread more for a handful of rows takes longer than they do.
        self._connection.command("SET max_threads = 1")

    def close(self) -> None:
        self._connection.command(f"DROP DATABASE IF EXISTS `{self.address.database}` SYNC")
        super().close()


class Twice(Connection):
    """A connection over which every block arrives twice."""

    def insert(self, table: str, columns: Columns, types: Any) -> None:
        super().insert(table, columns, types)
        super().insert(table, columns, types)


class WithoutKeeper(Layout):
    on_cluster = ""


class TwoShards(Fresh):
    """A store on two shards, on which every block arrives twice."""

    _connection_type = Twice
    _layout_type = WithoutKeeper

    def __init__(self, **options: Any) -> None:
        super().__init__(CLUSTER, **options)
        database = self.address.database
        self._connection.command(f"CREATE DATABASE `{database}`")
        for statement in steps(self._layout, 0):
            self._connection.command(statement.replace("ENGINE = Replicated", "ENGINE = "))
        self._connection.insert(
            self._layout.table("meta"),
            {"key": ["version"], "value": [str(VERSION)], "written": [1]},
            TABLES[-1].columns,
        )
        mine = ", ".join(f"'{database}.{table.name}_local': '{_here(table.shard)}'" for table in TABLES)
        self._connection.command(f"SET additional_table_filters = {{{mine}}}")


def _here(shard: str) -> str:
    return f"({shard}) % 2 = shardNum() - 1".replace("'", "\\'")
