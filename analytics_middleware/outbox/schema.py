"""The tables in the data directory's database, and the migrations from each version to the next.

A migration only adds, so that processes of the previous version can keep writing during a rolling deploy. One that
can't must raise the reader version; older processes then keep their events in memory and log an error.
"""

import sqlite3
from typing import Final

from analytics_middleware.errors import AnalyticsError

_STEPS: Final[tuple[tuple[str, ...], ...]] = (
    (
        """
        CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID
        """,
        # AUTOINCREMENT: numbers are never reused, even after the log was emptied.
        """
        CREATE TABLE log (
            seq INTEGER PRIMARY KEY AUTOINCREMENT,
            kind TEXT NOT NULL,
            record_id TEXT NOT NULL,
            timestamp REAL NOT NULL,
            payload BLOB NOT NULL,
            private BLOB,
            flags INTEGER NOT NULL DEFAULT 0
        )
        """,
        """
        CREATE TABLE consumer (
            name TEXT PRIMARY KEY,
            cursor INTEGER NOT NULL,
            baseline INTEGER NOT NULL,
            epoch INTEGER NOT NULL DEFAULT 0,
            holder TEXT NOT NULL DEFAULT '',
            boot TEXT NOT NULL DEFAULT '',
            lease_until REAL NOT NULL DEFAULT 0,
            seen REAL NOT NULL,
            reads_private INTEGER NOT NULL DEFAULT 0,
            breaker TEXT NOT NULL DEFAULT 'closed',
            last_error TEXT
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE retry (
            consumer TEXT NOT NULL,
            seq INTEGER NOT NULL,
            due REAL NOT NULL,
            attempts INTEGER NOT NULL,
            reason TEXT NOT NULL,
            kind TEXT NOT NULL,
            record_id TEXT NOT NULL,
            timestamp REAL NOT NULL,
            payload BLOB NOT NULL,
            private BLOB,
            flags INTEGER NOT NULL DEFAULT 0,
            PRIMARY KEY (consumer, seq)
        )
        """,
        "CREATE INDEX retry_due ON retry (consumer, due)",
        """
        CREATE TABLE dead (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            consumer TEXT NOT NULL,
            seq INTEGER NOT NULL,
            at REAL NOT NULL,
            reason TEXT NOT NULL,
            kind TEXT NOT NULL,
            record_id TEXT NOT NULL,
            timestamp REAL NOT NULL,
            payload BLOB NOT NULL,
            flags INTEGER NOT NULL DEFAULT 0
        )
        """,
        "CREATE INDEX dead_consumer ON dead (consumer, id)",
        "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
        "CREATE TABLE salt (day TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE session (
            visitor TEXT PRIMARY KEY,
            session_id TEXT NOT NULL,
            first REAL NOT NULL,
            last REAL NOT NULL
        ) WITHOUT ROWID
        """,
        # Users and ids whose events up to a time are refused, even if they arrive again.
        """
        CREATE TABLE tombstone (
            kind TEXT NOT NULL,
            id TEXT NOT NULL,
            until REAL NOT NULL,
            PRIMARY KEY (kind, id)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX tombstone_until ON tombstone (until)",
        # Readers that are not consumers: entries after their cursor are not pruned until the time *until*.
        "CREATE TABLE reader (name TEXT PRIMARY KEY, cursor INTEGER NOT NULL, until REAL NOT NULL) WITHOUT ROWID",
        "INSERT INTO meta VALUES ('reader_version', 1)",
    ),
    # The catalogue of the embedded store: its files, ties between ids, traits, and erasures.
    (
        "CREATE TABLE store_state (key TEXT PRIMARY KEY, value) WITHOUT ROWID",
        "INSERT INTO store_state VALUES ('version', 0), ('actors', NULL), ('horizon', 0), ('erased', 0)",
        """
        CREATE TABLE store_segment (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            file TEXT NOT NULL UNIQUE,
            month TEXT,
            tier INTEGER NOT NULL,
            rows INTEGER NOT NULL,
            bytes INTEGER NOT NULL,
            min_time INTEGER NOT NULL,
            max_time INTEGER NOT NULL
        )
        """,
        "CREATE TABLE store_garbage (file TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE store_tie (
            anon_id TEXT NOT NULL,
            user_id TEXT NOT NULL,
            at INTEGER NOT NULL,
            event_id TEXT NOT NULL,
            identified TEXT NOT NULL,
            PRIMARY KEY (anon_id, user_id)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX store_tie_user ON store_tie (user_id)",
        "CREATE TABLE store_changed (anon_id TEXT PRIMARY KEY, version INTEGER NOT NULL) WITHOUT ROWID",
        """
        CREATE TABLE store_trait (
            user_id TEXT NOT NULL,
            key TEXT NOT NULL,
            at INTEGER NOT NULL,
            event_id TEXT NOT NULL,
            value TEXT NOT NULL,
            PRIMARY KEY (user_id, key)
        ) WITHOUT ROWID
        """,
        "CREATE INDEX store_trait_key ON store_trait (key)",
        """
        CREATE TABLE store_erased_user (user_id TEXT PRIMARY KEY, until INTEGER NOT NULL) WITHOUT ROWID
        """,
        """
        CREATE TABLE store_erased_anon (
            anon_id TEXT NOT NULL, user_id TEXT NOT NULL, PRIMARY KEY (anon_id, user_id)
        ) WITHOUT ROWID
        """,
    ),
    # What people save: funnels, filters, annotations, share links.
    (
        """
        CREATE TABLE shelf (
            kind TEXT NOT NULL,
            key TEXT NOT NULL,
            value BLOB NOT NULL,
            PRIMARY KEY (kind, key)
        ) WITHOUT ROWID
        """,
    ),
    # When a consumer was first configured, and the spans of earlier events it has been given.
    (
        "ALTER TABLE consumer ADD COLUMN registered REAL",
        """
        CREATE TABLE replayed (
            consumer TEXT NOT NULL,
            start INTEGER NOT NULL,
            stop INTEGER NOT NULL,
            PRIMARY KEY (consumer, start)
        ) WITHOUT ROWID
        """,
    ),
    # The result of the last check of each alert, and what each destination was told.
    (
        """
        CREATE TABLE alert (
            name TEXT PRIMARY KEY,
            firing INTEGER NOT NULL,
            since REAL NOT NULL,
            checked REAL NOT NULL,
            value REAL,
            before REAL
        ) WITHOUT ROWID
        """,
        """
        CREATE TABLE alert_told (
            name TEXT NOT NULL,
            destination TEXT NOT NULL,
            firing INTEGER NOT NULL DEFAULT 0,
            fired REAL NOT NULL DEFAULT 0,
            claimed_until REAL NOT NULL DEFAULT 0,
            sent INTEGER NOT NULL DEFAULT 0,
            failed INTEGER NOT NULL DEFAULT 0,
            last_error TEXT,
            PRIMARY KEY (name, destination)
        ) WITHOUT ROWID
        """,
    ),
    # The groups sent to a worker that are already in the log.
    ("CREATE TABLE written_group (id TEXT PRIMARY KEY) WITHOUT ROWID",),
)
VERSION: Final = len(_STEPS)


class IncompatibleDatabaseError(AnalyticsError):
    """A newer version wrote the database, and this version can't work with it."""


def migrate(connection: sqlite3.Connection) -> None:
    """Migrate the database to `VERSION`. The caller must hold the lock between processes.

    Raises `IncompatibleDatabaseError` if the database requires a newer version.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version >= VERSION:
        (reader,) = connection.execute("SELECT value FROM meta WHERE key = 'reader_version'").fetchone()
        if reader > VERSION:
            raise IncompatibleDatabaseError(
                f"the analytics database has version {version} and asks for at least {reader}; "
                f"this release knows {VERSION}: finish the deploy or upgrade"
            )
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in _STEPS[version:]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {VERSION}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
