"""Builds the outbox, store and feed that the settings ask for, and imports only what they need."""

from typing import TYPE_CHECKING

from analytics_middleware.delivery.runner import Feed
from analytics_middleware.outbox.base import Outbox
from analytics_middleware.outbox.memory import MemoryOutbox
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.settings import Settings

if TYPE_CHECKING:
    from analytics_middleware.store.base import Store
    from analytics_middleware.store.hub import HubStore


def build_outbox(settings: Settings) -> Outbox:
    """Return the outbox that *settings* ask for; nothing is opened yet."""
    if settings.data_dir is None:
        return MemoryOutbox(settings.max_pending)
    return SqliteOutbox(settings.data_dir, max_pending=settings.max_pending, max_bytes=settings.max_bytes)


def build_hub(settings: Settings) -> "HubStore | None":
    """Return the client of the hub that *settings* name, if any. Raises `ConfigurationError`."""
    if settings.store in (None, "default"):
        return None
    # Imported here because most applications have no hub.
    from analytics_middleware.store.hub import HubStore

    if isinstance(settings.store, str):
        return HubStore(settings.store, settings.store_key)
    return settings.store if isinstance(settings.store, HubStore) else None


def build_store(settings: Settings, outbox: Outbox) -> "Store | None":
    """Return the store that *settings* ask for.

    It is None for a data directory without the extra `insights`; `Analytics.insights` then says so.
    """
    if settings.store is None:
        return None
    if settings.store != "default":
        from analytics_middleware.store.base import Store

        if isinstance(settings.store, Store):
            return settings.store
        from analytics_middleware.store.clickhouse import ClickHouseStore

        return ClickHouseStore(settings.store, retention_days=settings.retention_days)
    # Imported here because an application that only forwards events never needs it.
    if isinstance(outbox, SqliteOutbox):
        try:
            from analytics_middleware.store.duckdb import DuckDBStore
            from analytics_middleware.store.sealing import SealingPace
        except ImportError:
            return None
        pace = SealingPace()
        # Seal before so many events wait that the log drops some, or a hub refuses them (at half of `max_pending`).
        pace = pace._replace(seal_events=max(1, min(pace.seal_events, settings.max_pending // 4)))
        return DuckDBStore(outbox, retention_days=settings.retention_days, pace=pace)
    from analytics_middleware.store.memory import MemoryStore

    return MemoryStore()


def build_feed(store: "Store | None", outbox: Outbox) -> Feed | None:
    """Return what feeds *store* from the log: its own feed if it has one, else a `StoreFeed`."""
    if store is None:
        return None
    from analytics_middleware.store.feed import StoreFeed

    return store.feed or StoreFeed(store, outbox)
