"""The ClickHouse store, for data that outgrows one machine. Contains all SQL in that dialect."""

from analytics_middleware.store.clickhouse.connection import ClickHouseError
from analytics_middleware.store.clickhouse.store import ClickHouseStore

__all__ = ["ClickHouseError", "ClickHouseStore"]
