"""The store on ClickHouse: for when one machine is outgrown. All SQL of that dialect is here."""

from analytics_middleware.store.clickhouse.connection import ClickHouseError
from analytics_middleware.store.clickhouse.store import ClickHouseStore

__all__ = ["ClickHouseError", "ClickHouseStore"]
