"""Saved things such as funnels and filters, by kind and key, in the outbox database or in one process's memory."""

import threading
from collections.abc import Mapping
from typing import Protocol

from analytics_middleware.outbox.database import Database


class Shelf(Protocol):
    """A store of values by kind and key. Safe to use from any thread."""

    def all(self, kind: str) -> Mapping[str, bytes]:
        """Return all values of a *kind*, by key."""
        ...

    def get(self, kind: str, key: str) -> bytes | None:
        """Return the value of *key*, None if there is none."""
        ...

    def put(self, kind: str, key: str, value: bytes, most: int, *, instead_of: str | None = None) -> bool:
        """Set *key* to *value* and remove the key *instead_of*; return False if there is no room.

        There is room for *most* values of a kind.
        """
        ...

    def remove(self, kind: str, key: str) -> bool:
        """Remove *key*; return whether it was there."""
        ...


class SharedShelf:
    """See `Shelf`. Shared by all workers of a host."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, kind: str) -> Mapping[str, bytes]:
        """See `Shelf.all`."""
        with self._database.read() as connection:
            return dict(connection.execute("SELECT key, value FROM shelf WHERE kind = ?", (kind,)).fetchall())

    def get(self, kind: str, key: str) -> bytes | None:
        """See `Shelf.get`."""
        with self._database.read() as connection:
            row = connection.execute("SELECT value FROM shelf WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return None if row is None else bytes(row[0])

    def put(self, kind: str, key: str, value: bytes, most: int, *, instead_of: str | None = None) -> bool:
        """See `Shelf.put`."""
        with self._database.write() as connection:
            others = "SELECT count(*) FROM shelf WHERE kind = ? AND key NOT IN (?, ?)"
            (count,) = connection.execute(others, (kind, key, key if instead_of is None else instead_of)).fetchone()
            if count >= most:
                return False
            if instead_of is not None:
                connection.execute("DELETE FROM shelf WHERE kind = ? AND key = ?", (kind, instead_of))
            connection.execute("INSERT OR REPLACE INTO shelf (kind, key, value) VALUES (?, ?, ?)", (kind, key, value))
        return True

    def remove(self, kind: str, key: str) -> bool:
        """See `Shelf.remove`."""
        with self._database.write() as connection:
            return bool(connection.execute("DELETE FROM shelf WHERE kind = ? AND key = ?", (kind, key)).rowcount)


class PrivateShelf:
    """See `Shelf`. Lost when the process ends."""

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, bytes]] = {}
        self._lock = threading.Lock()

    def all(self, kind: str) -> Mapping[str, bytes]:
        """See `Shelf.all`."""
        with self._lock:
            return dict(self._kept.get(kind, {}))

    def get(self, kind: str, key: str) -> bytes | None:
        """See `Shelf.get`."""
        with self._lock:
            return self._kept.get(kind, {}).get(key)

    def put(self, kind: str, key: str, value: bytes, most: int, *, instead_of: str | None = None) -> bool:
        """See `Shelf.put`."""
        with self._lock:
            kept = self._kept.setdefault(kind, {})
            if len(kept.keys() - {key, instead_of}) >= most:
                return False
            if instead_of is not None:
                kept.pop(instead_of, None)
            kept[key] = value
        return True

    def remove(self, kind: str, key: str) -> bool:
        """See `Shelf.remove`."""
        with self._lock:
            return self._kept.get(kind, {}).pop(key, None) is not None
