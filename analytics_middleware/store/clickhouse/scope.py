"""The SQL of what a question is about: visible events, their owners, and their buckets.

``e`` is the event. Its own id is its owner, unless ids were merged or users erased: then ``p``, joined by the number of
the event's id, gives the owner and the time up to which events are hidden. ``t`` has the traits that the question uses.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from analytics_middleware.store.calendar import Bucket
from analytics_middleware.store.clickhouse.connection import Connection
from analytics_middleware.store.clickhouse.fields import condition
from analytics_middleware.store.clickhouse.rows import storable
from analytics_middleware.store.clickhouse.schema import ANON_HASH, COOKIELESS, NOBODY, USER, USER_HASH, Layout
from analytics_middleware.store.filters import Filter
from analytics_middleware.store.instants import micros
from analytics_middleware.store.parameters import RangeQuestion

AT = "toUnixTimestamp64Micro(e.timestamp)"
"""The time of the event in microseconds."""


class Known(NamedTuple):
    """Whether there are any ties and erasures; without them queries need no join."""

    ties: bool
    erased: bool


class Scope:
    """Builds the SQL of one question, binds its values, and runs it."""

    def __init__(self, connection: Connection, layout: Layout) -> None:
        self._connection = connection
        self.layout = layout
        self._parameters: dict[str, Any] = {}
        self._traits: dict[str, str] = {}
        [counts] = connection.query(
            f"SELECT (SELECT count() FROM {layout.table('ties')}), (SELECT count() FROM {layout.table('erased')})"
        )
        self.known = Known(*(count > 0 for count in counts))

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of *sql*."""
        return self._connection.query(sql, self._parameters)

    def bind(self, kind: str, value: Any) -> str:
        """Return a placeholder of type *kind* that is bound to *value*."""
        name = f"p{len(self._parameters)}"
        self._parameters[name] = value
        return f"{{{name}:{kind}}}"

    def trait(self, key: str) -> str:
        """Return the SQL of a trait of the event's user."""
        return "t." + self._traits.setdefault(key, f"trait{len(self._traits)}")

    @property
    def visitor(self) -> str:
        """The number of the event's owner, 0 for nobody."""
        return "if(p.owner != 0, p.owner, e.actor)" if self.known.ties else "e.actor"

    @property
    def kind(self) -> str:
        """The kind of the event's owner."""
        return f"if(p.owner != 0, {USER}, e.kind)" if self.known.ties else "e.kind"

    @property
    def name(self) -> str:
        """The id of the event's owner."""
        own = "if(e.user_id != '', e.user_id, e.anon_id)"
        return f"if(p.owner != 0, p.name, {own})" if self.known.ties else own

    @property
    def somebody(self) -> str:
        """Whether the event belongs to anybody."""
        return f"e.kind != {NOBODY}"

    @property
    def lasting(self) -> str:
        """Whether the event belongs to somebody recognizable on another day."""
        return f"e.kind < {COOKIELESS}"

    def events(
        self,
        columns: str,
        *,
        bots: bool,
        where: Sequence[Filter] = (),
        event: str = "",
        span: tuple[int, int] | None = None,
        also: Sequence[str] = (),
    ) -> str:
        """Return the SELECT of *columns* of the events in *span*, called *event* unless that is empty.

        *also* are further conditions.
        """
        conditions = list(also)
        if span is not None:
            conditions += [f"e.timestamp >= {self._time(span[0])}", f"e.timestamp < {self._time(span[1])}"]
        if not bots:
            conditions.append("NOT e.bot")
        if event:
            conditions.append(f"e.name = {self.bind('String', storable(event))}")
        conditions += [condition(item, self) for item in where]
        if self.known.erased:
            conditions.append(f"(isNull(p.until) OR {AT} > p.until)")
        filtered = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return f"SELECT {columns} FROM {self.layout.table('events')} AS e FINAL{self._joins()}{filtered}"

    def within(self, columns: str, question: RangeQuestion, event: str = "", also: Sequence[str] = ()) -> str:
        """Return the SELECT of *columns* of the events in the range that *question* is about."""
        span = (micros(question.start), micros(question.end))
        return self.events(columns, bots=question.bots, where=question.where, event=event, span=span, also=also)

    def floor(self, spans: Sequence[Bucket], value: str = AT) -> str:
        """Return the SQL of the beginning of the one of *spans*, which are consecutive, that contains *value*.

        All times are in microseconds.
        """
        return f"roundDown({value}, {self._starts(spans)})"

    def index(self, spans: Sequence[Bucket], start: str) -> str:
        """Return the SQL of the index of the one of *spans* that begins at *start*."""
        starts = self._starts(spans)
        return f"transform({start}, {starts}, range(toUInt32(length({starts}))), toUInt32(0))"

    def _starts(self, spans: Sequence[Bucket]) -> str:
        """Return the SQL of an array of the beginnings of *spans*, built from runs of equal length to keep it short."""
        runs: list[tuple[int, int, int]] = []
        for span in spans:
            start, step = micros(span.start), micros(span.end) - micros(span.start)
            if runs and runs[-1][1] == step:
                runs[-1] = (runs[-1][0], step, runs[-1][2] + 1)
            else:
                runs.append((start, step, 1))
        columns = ", ".join(self.bind("Array(Int64)", list(column)) for column in zip(*runs, strict=True))
        return f"arrayFlatten(arrayMap((a, b, c) -> arrayMap(i -> toInt64(a + i * b), range(toUInt32(c))), {columns}))"

    def person(self, days: Sequence[Bucket]) -> str:
        """Return the SQL of a number that identifies visitors, and cookieless ones on each of *days* separately."""
        each_day = f"sipHash64(e.actor, {self.floor(days)})"
        return f"if(e.kind = {COOKIELESS}, {each_day}, {self.visitor})"

    def first_seen(self, *, bots: bool, also: str = "") -> str:
        """Return the SELECT of each lasting ``visitor`` and the time ``first`` of their first event ever."""
        conditions = [also] if also else []
        if not bots:
            conditions.append("NOT e.bot")
        if self.known.erased:
            conditions.append("(isNull(p.until) OR e.at > p.until)")
        filtered = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        return (
            f"SELECT {self.visitor} AS visitor, min(e.at) AS first FROM {self.layout.table('first_seen')} AS e"
            f"{self._joins(traits=False)}{filtered} GROUP BY visitor"
        )

    def owners(self) -> str:
        """Return the SELECT of each anonymous id and its owner."""
        return (
            "SELECT anon_id, argMin(user_id, (moment, user_id)) AS owner FROM "
            f"({self._valid('SELECT anon_id, user_id, moment FROM', 'ties', 'moment.1')}) GROUP BY anon_id"
        )

    def traits_of(self, users: str) -> str:
        """Return the SELECT of user, key and JSON of the traits of *users*, which is an array."""
        rows = self._valid("SELECT user_id, key, latest FROM", "traits", "latest.1")
        return (
            f"SELECT user_id, key, max(latest).3 FROM ({rows}) WHERE user_id IN {users} "
            "GROUP BY user_id, key ORDER BY user_id, key"
        )

    def all_traits(self) -> str:
        """Return the SELECT of user, key, moment and JSON of everybody's traits."""
        rows = self._valid("SELECT user_id, key, latest FROM", "traits", "latest.1")
        return (
            "SELECT user_id, key, newest.1, newest.2, newest.3 FROM "
            f"(SELECT user_id, key, max(latest) AS newest FROM ({rows}) GROUP BY user_id, key)"
        )

    def all_ties(self) -> str:
        """Return the SELECT of anonymous id, user, and the moments that link them."""
        first = self._valid("SELECT anon_id, user_id, moment FROM", "ties", "moment.1")
        said = self._valid("SELECT anon_id, user_id, at, event_id FROM", "identified", "v.at")
        return (
            f"SELECT anon_id, user_id, least.1 AS at, least.2 AS event_id FROM (SELECT anon_id, user_id, min(moment) "
            f"AS least FROM ({first}) GROUP BY anon_id, user_id) UNION DISTINCT {said}"
        )

    def erased_users(self) -> str:
        """Return the SELECT of each erased user and the time up to which they are erased."""
        return f"SELECT user_id, max(until) FROM {self.layout.table('erased')} GROUP BY user_id"

    def erased_anons(self, columns: str = "DISTINCT v.anon_id, v.user_id") -> str:
        """Return the SELECT of each anonymous id ``v`` that was seen with an erased user ``x`` before the erasure."""
        return (
            f"SELECT {columns} FROM {self.layout.table('ties')} AS v {self.layout.spread}INNER JOIN "
            f"{self.layout.table('erased')} AS x ON v.user_id = x.user_id WHERE v.moment.1 <= x.until"
        )

    def first_dates(self, after: int, limit: int) -> str:
        """Return the SELECT of the first dates of the next *limit* ids with numbers above *after*.

        Columns: number, kind, id, first event, first event that is not a bot's, and whether there is one.
        """
        conditions = [f"e.actor > {self.bind('UInt64', after)}"]
        if self.known.erased:
            conditions.append("(isNull(p.until) OR e.at > p.until)")
        return (
            "SELECT e.actor, any(e.kind), any(e.id), min(e.at), minIf(e.at, NOT e.bot), countIf(NOT e.bot) > 0 "
            f"FROM {self.layout.table('first_seen')} AS e{self._joins(traits=False)} WHERE {' AND '.join(conditions)} "
            f"GROUP BY e.actor ORDER BY e.actor LIMIT {self.bind('UInt32', limit)}"
        )

    def _valid(self, select: str, table: str, at: str) -> str:
        """Add to *select* the *table*, which has a user_id, without erased rows; *at* is the SQL of a row's time."""
        source = f"{select} {self.layout.table(table)} AS v"
        if not self.known.erased:
            return source
        return (
            f"{source} {self.layout.spread}ANY LEFT JOIN (SELECT user_id AS erased_id, toNullable(max(until)) AS until "
            f"FROM {self.layout.table('erased')} GROUP BY user_id) AS x ON v.user_id = x.erased_id "
            f"WHERE isNull(x.until) OR {at} > x.until"
        )

    def _joins(self, *, traits: bool = True) -> str:
        joins = ""
        if self.known.ties or self.known.erased:
            joins += f" {self.layout.spread}ANY LEFT JOIN ({self._people()}) AS p ON e.actor = p.actor"
        if self._traits and traits:
            joins += f" {self.layout.spread}ANY LEFT JOIN ({self._known_traits()}) AS t ON {self.visitor} = t.actor"
        return joins

    def _people(self) -> str:
        nothing = "CAST(NULL, 'Nullable(Int64)')"
        anon, user = ANON_HASH.format("o.anon_id"), USER_HASH.format("o.owner")
        parts = [
            f"SELECT {anon} AS actor, {user} AS owner, o.owner AS name, {nothing} AS until FROM ({self.owners()}) AS o"
        ]
        if self.known.erased:
            hidden = self.erased_anons("v.anon_id AS anon_id, x.until AS until")
            erased = self.layout.table("erased")
            parts.append(f"SELECT {USER_HASH.format('user_id')}, toUInt64(0), '', toNullable(until) FROM {erased}")
            parts.append(f"SELECT {ANON_HASH.format('anon_id')}, toUInt64(0), '', toNullable(until) FROM ({hidden})")
        return (
            "SELECT u.actor AS actor, max(u.owner) AS owner, max(u.name) AS name, max(u.until) AS until "
            f"FROM ({' UNION ALL '.join(parts)}) AS u GROUP BY actor"
        )

    def _known_traits(self) -> str:
        keys = {key: self.bind("String", key) for key in self._traits}
        columns = ", ".join(f"maxIf(latest, key = {bound}) AS {self._traits[key]}" for key, bound in keys.items())
        rows = self._valid("SELECT user_id, key, latest FROM", "traits", "latest.1")
        return (
            f"SELECT {USER_HASH.format('user_id')} AS actor, {columns} FROM ({rows}) "
            f"WHERE key IN ({', '.join(keys.values())}) GROUP BY user_id"
        )

    def _time(self, at: int) -> str:
        return f"fromUnixTimestamp64Micro({self.bind('Int64', at)}, 'UTC')"


def starts(spans: Sequence[Bucket]) -> dict[int, Bucket]:
    """Return *spans* by their beginning in microseconds."""
    return {micros(span.start): span for span in spans}
