"""The tables, for one server and for a cluster, and their versions.

On a cluster every table consists of two: ``events_local`` on each shard, replicated, and ``events``, distributed over
all shards. The key that identifies a row determines its shard, so rows that replace or complete each other meet.
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
"""The number of an id; a user and a visitor with the same id have different numbers."""

TEXTS: Final = tuple(
    sorted((EVENT_FIELDS | VISIT_FIELDS) - {"type", "user_id", "anon_id", "duration", "status_code", *VISIT_FACTS})
)
"""Optional text fields."""
_MANY: Final = frozenset({"url", "referrer", "session_id", "trace_id"})
"""Text fields whose values seldom repeat."""

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
"""Ids are empty for nobody. *properties* is the original JSON; *texts* has each value in the form questions compare,
*numbers* the numeric ones."""


@dataclass(frozen=True)
class Table:
    """One table: its columns, its engine, and the key that determines a row's shard."""

    name: str
    columns: Mapping[str, str]
    engine: str
    order: str
    shard: str
    computed: str = ""
    partition: str = ""

    def statements(self, layout: "Layout") -> list[str]:
        """Return the DDL for one server or for all hosts of a cluster."""
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
    """The location of the tables: their database, and their cluster, if any."""

    database: str
    cluster: str | None = None

    def table(self, name: str) -> str:
        """Return the name of table *name* for queries and inserts."""
        return f"`{self.database}`.`{name}`"

    def local(self, name: str) -> str:
        """Return the name of the local part of table *name* on one host."""
        return f"`{self.database}`.`{name}_local`" if self.cluster else self.table(name)

    @property
    def on_cluster(self) -> str:
        """The clause that runs a statement on all hosts."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    @property
    def spread(self) -> str:
        """The keyword that evaluates the right side of a JOIN or IN once for all shards."""
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
"""Events, unique per day, identity and event id; a repeated insert replaces its row."""
TAKEN: Final = Table(
    "taken",
    {"event_id": "String", "timestamp": "DateTime64(6, 'UTC')"},
    "ReplacingMergeTree",
    order="event_id",
    shard="sipHash64(event_id)",
    partition="toYYYYMM(timestamp)",
)
"""The ids of known events: they identify an event that arrives again with another time or identity."""
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
"""When two ids were first seen together since the user's last erasure, which was at *since* (0: none)."""
IDENTIFIED: Final = Table(
    "identified",
    {"user_id": "String", "anon_id": "String", "at": "Int64", "event_id": "String"},
    "ReplacingMergeTree",
    order="(user_id, anon_id, at, event_id)",
    shard="sipHash64(user_id)",
)
"""The identifies that link two ids."""
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
"""The latest value of each trait: its moment, JSON, text, and number or NaN."""
ERASED: Final = Table(
    "erased",
    {"user_id": "String", "until": "SimpleAggregateFunction(max, Int64)"},
    "AggregatingMergeTree",
    order="user_id",
    shard="sipHash64(user_id)",
)
"""Users erased up to a given time."""
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
"""When each id that is not cookieless had its first event; unaffected by `retention_days`."""
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
"""The statements from each version to the next; all can be run again."""
VERSION: Final = len(MIGRATIONS)


def create_database(layout: Layout) -> str:
    """Return the statement that creates the database."""
    return f"CREATE DATABASE IF NOT EXISTS `{layout.database}`{layout.on_cluster}"


def steps(layout: Layout, version: int) -> list[str]:
    """Return the statements that migrate from *version* to `VERSION`."""
    return [statement for migration in MIGRATIONS[version:] for statement in migration(layout)]


def set_retention(layout: Layout, days: int | None) -> list[str]:
    """Return the statements that make the server delete events after *days* days, or never for None."""
    made: list[str] = []
    for table in (EVENTS, TAKEN):
        change = "REMOVE TTL" if days is None else f"MODIFY TTL toDate(timestamp) + toIntervalDay({days:d})"
        made.append(f"ALTER TABLE {layout.local(table.name)}{layout.on_cluster} {change}")
    return made
