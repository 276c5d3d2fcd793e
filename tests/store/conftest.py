"""Every store the conformance cases run over."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from analytics_middleware.event import Event, Identify
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.records import draft_of
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import DuckDBStore, Insights, MemoryStore, Record, Store

from .clickhouse_engine import Fresh, TwoShards

NOW = datetime(2025, 3, 12, 12, tzinfo=UTC)  # a Wednesday


def drafts(records: Sequence[Record]) -> list[Draft]:
    """The log entries of *records*, as the writer makes them."""
    return [draft_of(record) for record in records]


def damaged() -> list[Draft]:
    """An event and who somebody is, both not UTF-8 as JSON must be."""
    return [
        draft._replace(payload=draft.payload.replace(b"ann", b"a\xff\xfe"))
        for draft in drafts([Event(event_name="a", user_id="ann", timestamp=NOW), Identify(user_id="ann")])
    ]


def seal(store: DuckDBStore) -> None:
    """Seal what is in the log, however little it is."""
    while store.sealer.step(hurry=True) == 0.0:
        pass


class LoggedStore(DuckDBStore):
    """A store that gets its records through the log, where they stay unsealed unless told otherwise."""

    def __init__(self, path: Path, *, seal: bool = False, compact: bool = False, **options: Any) -> None:
        self.outbox = SqliteOutbox(path)
        self.outbox.register("store")
        super().__init__(self.outbox, **options)
        self.seal, self.compact = seal, compact

    def apply(self, records: Sequence[Record]) -> None:
        self.outbox.append(drafts(records), {})
        if self.compact:
            assert self.maintain()
        elif self.seal:
            seal(self)

    def close(self) -> None:
        super().close()
        self.outbox.close()


class AppliedStore(DuckDBStore):
    """A store that is given records directly."""

    def __init__(self, path: Path) -> None:
        self.outbox = SqliteOutbox(path)
        super().__init__(self.outbox)

    def close(self) -> None:
        super().close()
        self.outbox.close()


STORES: dict[str, Callable[[Path], Store]] = {
    "memory": lambda path: MemoryStore(),
    "duckdb-unsealed": LoggedStore,
    "duckdb-sealed": lambda path: LoggedStore(path, seal=True),
    "duckdb-compacted": lambda path: LoggedStore(path, compact=True),
    "duckdb-applied": AppliedStore,
    "clickhouse": lambda path: Fresh(),
    "clickhouse-shards": lambda path: TwoShards(),
}


@pytest.fixture(params=sorted(STORES))
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    store = STORES[request.param](tmp_path)
    yield store
    store.close()


@pytest.fixture
def ask(store: Store) -> Insights:
    """The questions, asked at noon of 12 March 2025."""
    return Insights(store, clock=lambda: NOW)
