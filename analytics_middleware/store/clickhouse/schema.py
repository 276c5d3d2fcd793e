"""The tables, for one server and for a cluster, and the versions they have been through.

On a cluster every table is two: ``events_local`` on each shard, replicated, and ``events``, which knows all shards.
Rows are put on a shard by what identifies them, so rows that replace or complete one another meet on one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from analytics_middleware.event import VISIT_FACTS
from analytics_middleware.store.filters import EVENT_FIELDS, VISIT_FIELDS

USER, ANON, COOKIELESS, NOBODY = 0, 1, 2, 3
"""Kinds of visitors."""

USER_HASH: Final = "sipHash64('u', {})"
ANON_HASH: Final = "sipHash64('a', {})"
"""The number of an id: those of users and of visitors are two kinds of thing."""

TEXTS: Final = tuple(
    sorted((EVENT_FIELDS | VISIT_FIELDS) - {"type", "user_id", "anon_id", "duration", "status_code", *VISIT_FACTS})
)
"""Fields that are texts or absent."""
_MANY: Final = frozenset({"url", "referrer", "session_id", "trace_id"})
"""Texts of which most occur once."""

_LOW = "LowCardinality(String)"
_MOMENT = "Tuple(Int64, String)"

EVENT_TYPES: Final[Mapping[str, str]] = {
    "event_id": "String",
    "timestamp": "DateTime64(6, 'UTC')",
    "kind": "UInt8",
    "user_id": "String",
    "anon_id": "String",
    "bot": "Bool",
    "type": _LOW,
    "name": _LOW,
    **{name: "Nullable(String)" if name in _MANY else "LowCardinality(Nullable(String))" for name in TEXTS},
    **dict.fromkeys(VISIT_FACTS, "Bool"),
    "duration": "Nullable(Float64)",
    "status_code": "Nullable(Int64)",
    "currency": "LowCardinality(Nullable(String))",
    "revenue_minor": "Int64",
    "revenue": "Nullable(Float64)",
    "properties": "String",
    "texts": f"Map({_LOW}, String)",
    "numbers": f"Map({_LOW}, Float64)",
}
"""Ids are empty for nobody. *properties* is JSON as it came; *texts* has each value as questions compare it, *numbers*
those that are numbers."""


@dataclass(frozen=True)
class Table:
    """One table: its columns, the engine that keeps it, and what puts a row on a shard."""

    name: str
    columns: Mapping[str, str]
    engine: str
    order: str
    shard: str
    computed: str = ""
    partition: str = ""

    def statements(self, layout: "Layout") -> list[str]:
        """Return the DDL for one server, or for every host of a cluster."""
        body = ", ".join(f"`{name}` {kind}" for name, kind in self.columns.items()) + self.computed
        partition = f" PARTITION BY {self.partition}" if self.partition else ""
        replicated = "Replicated" if layout.cluster else ""
        own = f"CREATE TABLE IF NOT EXISTS {layout.local(self.name)}{layout.on_cluster} ({body})"
        made = [f"{own} ENGINE = {replicated}{self.engine}{partition} ORDER BY {self.order}"]
        if layout.cluster:
            made.append(
                f"CREATE TABLE IF NOT EXISTS {layout.table(self.name)}{layout.on_cluster} "
                f"AS {layout.local(self.name)} ENGINE = "
                f"Distributed(`{layout.cluster}`, `{layout.database}`, `{self.name}_local`, {self.shard})"
            )
        return made


@dataclass(frozen=True)
class Layout:
    """Where the tables are: in which database, on which cluster, if any."""

    database: str
    cluster: str | None = None

    def table(self, name: str) -> str:
        """Return what table *name* is called in questions and inserts."""
        return f"`{self.database}`.`{name}`"

    def local(self, name: str) -> str:
        """Return what the part of table *name* on one host is called."""
        return f"`{self.database}`.`{name}_local`" if self.cluster else self.table(name)

    @property
    def on_cluster(self) -> str:
        """What makes a statement one for all hosts."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    @property
    def spread(self) -> str:
        """What makes a join or an IN one whose right side is worked out once, for all shards."""
        return "GLOBAL " if self.cluster else ""


_ACTOR = (
    f", actor UInt64 DEFAULT multiIf(user_id != '', {USER_HASH.format('user_id')}, "
    f"anon_id != '', {ANON_HASH.format('anon_id')}, toUInt64(0))"
)

EVENTS: Final = Table(
    "events",
    EVENT_TYPES,
    "ReplacingMergeTree",
    order="(toDate(timestamp), actor, event_id)",
    shard="if(actor = 0, sipHash64(event_id), actor)",
    computed=_ACTOR,
    partition="toYYYYMM(timestamp)",
)
"""Each event once for its day and its own identity, which a repeated insert has again."""
TAKEN: Final = Table(
    "taken",
    {"event_id": "String", "timestamp": "DateTime64(6, 'UTC')"},
    "ReplacingMergeTree",
    order="event_id",
    shard="sipHash64(event_id)",
    partition="toYYYYMM(timestamp)",
)
"""The ids of events: one that comes again with another time or identity is known by it."""
TIES: Final = Table(
    "ties",
    {
        "anon_id": "String",
        "user_id": "String",
        "since": "Int64",
        "moment": f"SimpleAggregateFunction(min, {_MOMENT})",
    },
    "AggregatingMergeTree",
    order="(anon_id, user_id, since)",
    shard="sipHash64(anon_id)",
)
"""When two ids were seen together first, after the erasure of the user at *since*, if there was one."""
IDENTIFIED: Final = Table(
    "identified",
    {"user_id": "String", "anon_id": "String", "at": "Int64", "event_id": "String"},
    "ReplacingMergeTree",
    order="(user_id, anon_id, at, event_id)",
    shard="sipHash64(user_id)",
)
"""Which identify said that two ids belong together."""
TRAITS: Final = Table(
    "traits",
    {
        "user_id": "String",
        "key": _LOW,
        "latest": "SimpleAggregateFunction(max, Tuple(Int64, String, String, String, Float64))",
    },
    "AggregatingMergeTree",
    order="(user_id, key)",
    shard="sipHash64(user_id)",
)
"""Of each trait the latest value: its moment, JSON, text, and number or NaN."""
ERASED: Final = Table(
    "erased",
    {"user_id": "String", "until": "SimpleAggregateFunction(max, Int64)"},
    "AggregatingMergeTree",
    order="user_id",
    shard="sipHash64(user_id)",
)
"""Users of whom nothing up to a time is to be known."""
FIRST_SEEN: Final = Table(
    "first_seen",
    {
        "kind": "UInt8",
        "id": "String",
        "bot": "Bool",
        "since": "Int64",
        "at": "SimpleAggregateFunction(min, Int64)",
    },
    "AggregatingMergeTree",
    order="(actor, kind, id, bot, since)",
    shard="actor",
    computed=f", actor UInt64 DEFAULT if(kind = {USER}, {USER_HASH.format('id')}, {ANON_HASH.format('id')})",
)
"""When an id, other than a cookieless one, had its first event; what `retention_days` takes away stays here."""
META: Final = Table(
    "meta",
    {"key": "String", "value": "String", "written": "UInt64"},
    "ReplacingMergeTree(written)",
    order="key",
    shard="sipHash64(key)",
)
"""The schema's version, and the retention that the tables are set to."""

TABLES: Final = (EVENTS, TAKEN, TIES, IDENTIFIED, TRAITS, ERASED, FIRST_SEEN, META)


def _first(layout: Layout) -> list[str]:
    return [statement for table in TABLES for statement in table.statements(layout)]


MIGRATIONS: Final[tuple[Callable[[Layout], list[str]], ...]] = (_first,)
"""What leads from each version to the next; every statement may be run again."""
VERSION: Final = len(MIGRATIONS)


def create_database(layout: Layout) -> str:
    """Return the statement that makes the database."""
    return f"CREATE DATABASE IF NOT EXISTS `{layout.database}`{layout.on_cluster}"


def steps(layout: Layout, version: int) -> list[str]:
    """Return the statements that lead from *version* to `VERSION`."""
    return [statement for migration in MIGRATIONS[version:] for statement in migration(layout)]


def set_retention(layout: Layout, days: int | None) -> list[str]:
    """Return the statements that have events more than *days* old deleted by the server, or none."""
    made: list[str] = []
    for table in (EVENTS, TAKEN):
        change = "REMOVE TTL" if days is None else f"MODIFY TTL toDate(timestamp) + toIntervalDay({days:d})"
        made.append(f"ALTER TABLE {layout.local(table.name)}{layout.on_cluster} {change}")
    return made
