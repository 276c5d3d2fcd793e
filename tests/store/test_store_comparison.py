"""DuckDBStore against MemoryStore: the same answers to every question on random streams, whatever happens to files."""

import os
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from analytics_middleware.event import Erase, Event, EventType, Identify, Visit
from analytics_middleware.money import Money
from analytics_middleware.store import (
    COOKIELESS_PREFIX,
    ActiveUsers,
    Funnel,
    Insights,
    Lifecycle,
    MemoryStore,
    Retention,
    RetentionMatrix,
    Stickiness,
)
from analytics_middleware.store.columns import events_of, table_of

from .clickhouse_engine import Fresh, TwoShards
from .conftest import LoggedStore, drafts, seal

EXAMPLES = int(os.environ.get("ANALYTICS_COMPARISONS", "60"))
CLICKHOUSE_EXAMPLES = int(os.environ.get("ANALYTICS_CLICKHOUSE_COMPARISONS", "2"))
ZONES = ["UTC", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/St_Johns"]
# Clocks go forward in New York and St John's on the 9th of March 2025, back on Lord Howe on the 6th of April.
NOW = datetime(2025, 4, 8, 12, tzinfo=UTC)
BASES = [
    datetime(2025, 3, 9, 6, 30, tzinfo=UTC),
    datetime(2025, 4, 5, 14, tzinfo=UTC),
    datetime(2025, 4, 7, tzinfo=UTC),
]
START, END = datetime(2025, 3, 8, tzinfo=UTC), datetime(2025, 4, 8, 13, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="module")
def small_portions():
    """Have the few events of these streams shared out among threads as millions are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("analytics_middleware.store._base._BATCH", 2)
        patch.setattr("analytics_middleware.store._np_rows._PORTION", 5)
        patch.setattr("analytics_middleware.store._np_funnel._PORTION", 2)
        patch.setattr("analytics_middleware.store._np_funnel._LONGEST", 4)
        patch.setattr("analytics_middleware.store._np_funnel._SAMPLED", 1)
        yield


offsets = st.one_of(
    st.integers(0, 3).map(lambda hours: timedelta(hours=hours)),
    st.sampled_from([0, 29, 30, 31, 60]).map(lambda minutes: timedelta(minutes=minutes)),
    st.integers(0, 3).map(lambda days: timedelta(days=days, microseconds=days)),
)
moments = st.builds(lambda base, offset: base + offset, st.sampled_from(BASES), offsets)
users = st.sampled_from(["ann", "bob", "cy"])
anons = st.sampled_from(["k", "l", "ann", COOKIELESS_PREFIX + "x", COOKIELESS_PREFIX + "y"])
ids = st.sampled_from("abcdef")
values = st.sampled_from([49, 49.0, "49", True, "true", 0.5, None, "", "é", 1e22, -0.0])
money = st.builds(Money.from_minor, st.integers(-500, 900), st.sampled_from(["EUR", "JPY"]))
visits = st.builds(
    Visit,
    is_bot=st.sampled_from([False, False, False, True]),
    opted_out=st.booleans(),
    country=st.sampled_from([None, "GB", "FR", "other"]),
)
events = st.builds(
    Event,
    event_id=ids,
    type=st.sampled_from(EventType),
    event_name=st.sampled_from(["a", "b", "c", None]),
    action_name=st.sampled_from([None, "save"]),
    timestamp=moments,
    user_id=st.none() | users,
    anon_id=st.none() | anons,
    path=st.sampled_from([None, "/", "/x", "/y"]),
    status_code=st.sampled_from([None, 200, 404]),
    duration=st.sampled_from([None, 0.5, 1.0, 2.25]),
    properties=st.dictionaries(st.sampled_from(["p", "q.r", "näme"]), values, max_size=2),
    revenue=st.none() | money,
    visit=visits,
)
identifies = st.builds(
    Identify,
    event_id=ids,
    timestamp=moments,
    user_id=users,
    anon_id=st.none() | anons,
    traits=st.dictionaries(st.sampled_from(["plan", "age"]), st.sampled_from(["pro", "free", 30, None]), max_size=2),
)
erasures = st.builds(Erase, event_id=ids, timestamp=moments, user_id=users)
record = st.one_of(events, events, events, events, identifies, erasures)
batches = st.lists(record, min_size=1, max_size=8)
actions = st.one_of(
    batches.map(lambda batch: ("log", batch)),
    batches.map(lambda batch: ("log", batch)),
    batches.map(lambda batch: ("apply", batch)),
    st.lists(events, min_size=1, max_size=8).map(lambda batch: ("table", batch)),
    st.integers(0, 50).map(lambda number: ("again", number)),
    st.sampled_from(["seal", "compact", "merge", "reopen", "other", "look"]).map(lambda name: (name, None)),
)
wheres = st.lists(
    st.sampled_from(
        [
            {"field": "country", "op": "ne", "value": "GB"},
            {"field": "path", "op": "in", "value": ["/", "/x"]},
            {"field": "properties.p", "op": "eq", "value": "49"},
            {"field": "properties.p", "op": "gt", "value": 1},
            {"field": "properties.q.r", "op": "not_exists"},
            {"field": "properties.näme", "op": "contains", "value": "é"},
            {"field": "traits.plan", "op": "eq", "value": "pro"},
            {"field": "duration", "op": "gte", "value": 1},
            {"field": "revenue", "op": "lt", "value": 3.5},
            {"field": "is_bot", "op": "eq", "value": False},
            {"field": "opted_out", "op": "ne", "value": True},
            {"field": "user_id", "op": "exists"},
        ]
    ),
    max_size=1,
)
breakdowns = st.sampled_from(
    ["path", "country", "properties.p", "traits.plan", "duration", "revenue", "name", "is_bot", "anon_id", "currency"]
)


def answers(store, options, breakdown):
    """Every question, in one zone, with one filter at most."""
    ask = Insights(store, timezone=options["tz"], clock=lambda: NOW)
    span = {"start": START, "end": END, **options}
    short = {"start": BASES[2], "end": BASES[2] + timedelta(days=1, hours=5), **options}
    whole = {key: value for key, value in span.items() if key not in ("start", "end")}
    found = {
        "volume": [ask.volume("", bucket=unit, **span) for unit in ("hour", "day", "week", "month")],
        "volume by": ask.volume("a", breakdown=breakdown, **short),
        "top": [ask.top_events(**span), ask.top_events(limit=2, **short)],
        "properties": [ask.top_properties("a", name, **span) for name in ("p", "q.r", "näme")],
        "names": [ask.property_names(**span), ask.property_names("a", limit=2, **short)],
        "values": [ask.top_values(field, **span) for field in (breakdown, "path")],
        "overview": [ask.overview(**span), ask.overview(**short)],
        "trend": [ask.trend(bucket=unit, **span) for unit in ("day", "week", "month")]
        + [ask.trend(bucket="hour", **short)],
        "active": [ask.active_users(**span), ask.active_users(event="b", **short)],
        "active by": ask.active_users(breakdown=breakdown, **span),
        "dashboard": [ask.dashboard_summary(days, **whole) for days in (1, 7, 31)],
        "retention": [ask.retention(base, (0, 1, 2, 27, 28), **whole) for base in BASES],
        "matrix": [ask.retention_matrix(period=period, **span) for period in ("day", "week", "month")],
        "matrix of": ask.retention_matrix(period="day", event="a", return_event="b", periods=4, **span),
        "paths": [ask.paths("a", direction, 2, **span) for direction in ("after", "before")],
        "lifecycle": [ask.lifecycle(period=period, **span) for period in ("day", "week")],
        "stickiness": [ask.stickiness(within=within, **span) for within in ("week", "month")],
        "sessions": [ask.sessions(**span), ask.sessions(timeout=timedelta(hours=2), **short)],
        "sessions by": ask.sessions(breakdown=breakdown, **span),
        "revenue": ask.revenue(bucket="week", **span),
        "revenue by": ask.revenue(breakdown=breakdown, **span),
        "timeline": [ask.timeline(user, **span) for user in ("ann", "bob")],
        "timeline of": [ask.timeline(anon_id=anon, limit=3, **short) for anon in ("k", "l", COOKIELESS_PREFIX + "x")],
        "latest": [ask.latest(limit=limit, **span) for limit in (1, 3, 100)] + [ask.latest("a", **short)],
        "traits": [ask.traits(user) for user in ("ann", "bob", "cy", "dee")],
    }
    for order in ("ordered", "strict", "any"):
        for steps in (["a", "b"], ["a", "a", "c"], ["pageview", "never"], ["b", "a", "b"]):
            for window in (None, timedelta(minutes=30)):
                found[f"funnel {order} {steps} {window}"] = ask.funnel(steps, window=window, order=order, **span)
        found[f"funnel {order} by"] = ask.funnel(["a", "b"], order=order, breakdown=breakdown, **span)
    for question, cell, at in (
        (ActiveUsers(**span), None, None),
        (Funnel(steps=("a", "b"), **span), 1, None),
        (Retention(**{**whole, "start": BASES[0]}, offsets=(0, 1)), 1, None),
        (RetentionMatrix(period="month", **span), 0, found["matrix"][2].cohorts[0].time),
        (Lifecycle(period="week", **span), "dormant", found["lifecycle"][1][-1].time),
        (Stickiness(**span), 1, found["stickiness"][0][-1].time),
    ):
        found[f"users of {type(question).__name__}"] = ask.users(question, cell, at)
    return found


def compact(store):
    assert store.maintain()


class World:
    """One store in a directory, perhaps several times open, and the memory store that says what is right."""

    def __init__(self, directory):
        self.directory = directory
        self.expected = MemoryStore()
        self.given = []
        self.named_so_far = self.opened_so_far = 0
        self.stores = [self.opened()]

    def opened(self):
        """In turn one that forgets all columns at once, and one that keeps all on disk, too."""
        self.opened_so_far += 1
        options = {"cache_bytes": 1} if self.opened_so_far % 2 else {"disk_from": 0}
        return LoggedStore(self.directory, **options)

    @property
    def store(self):
        return self.stores[0]

    def do(self, action, argument):
        if action in ("log", "apply", "table"):
            argument = [self.named(record) for record in copies(argument)]
        match action:
            case "log":
                self.expected.apply(copies(argument))
                self.store.outbox.append(drafts(argument), {})
                self.given += argument
            case "apply" | "table":
                self.let_go()
                self.store.maintain()  # what is applied comes after what is in the log
                self.expected.apply(copies(argument))
                take = {"apply": self.store.sealer.apply, "table": self.append}[action]
                take(argument)
                self.given += argument
            case "again" if self.given:
                record = self.given[argument % len(self.given)]
                self.expected.apply(copies([record]))
                self.store.outbox.append(drafts([record]), {})
            case "seal" | "compact":
                self.let_go()
                {"seal": seal, "compact": compact}[action](self.store)
            case "merge":
                self.let_go()
                epoch = self.store.outbox.claim("store")
                recent = self.store.sealer.state().recent
                if len(recent) > 1:
                    self.store.sealer.compactor.merge(epoch, recent)
            case "reopen":
                self.stores.pop(0).close()
                self.stores.insert(0, self.opened())
            case "other":
                if len(self.stores) < 2:
                    self.stores.append(self.opened())
                self.stores.reverse()
            case "look":
                Insights(self.store, clock=lambda: NOW).overview(START, END)

    def append(self, events):
        self.store.append_table(table_of(events))

    def named(self, record):
        """A record with an id that no other has; only a record that comes again is a duplicate."""
        self.named_so_far += 1
        record.event_id += f"-{self.named_so_far}"
        return record

    def let_go(self):
        for other in self.stores[1:]:
            other.sealer.close()

    def close(self):
        for store in self.stores:
            store.close()


def copies(records):
    """Records as they come out of the log."""
    return [
        Event.decode(record.encode())
        if isinstance(record, Event)
        else msgspec.json.decode(msgspec.json.encode(record), type=type(record))
        for record in records
    ]


def assert_same_contents(store, expected):
    """Every event, once, in the same order, as it was; whole, in part, of one user, and from the middle on."""
    everything = list(expected.events())
    assert list(store.events()) == everything
    for some in (
        {"start": BASES[1], "end": BASES[2]},
        {"user_id": "ann"},
        *({"after": (event.timestamp, event.event_id)} for event in everything[1:2]),
    ):
        assert list(store.events(**some)) == list(expected.events(**some))
    assert [event for table in store.tables() for event in events_of(table)] == everything


def copy_of(store):
    """A memory store that was given what *store* holds."""
    copy = MemoryStore()
    copy.apply(list(store.events()))
    copy.apply(list(store.people()))
    return copy


@pytest.mark.timeout(120 + EXAMPLES)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(actions, min_size=1, max_size=10),
    st.sampled_from(ZONES),
    wheres,
    breakdowns,
    st.booleans(),
)
def test_both_stores_give_the_same_answers(steps, zone, where, breakdown, bots):
    """Ties, repeated steps, late events, duplicates, merges, erasures; sealed, compacted, opened anew, shared."""
    directory = Path(tempfile.mkdtemp(prefix="comparison-", dir=os.environ.get("ANALYTICS_COMPARISON_DIR")))
    world = World(directory)
    options = {"tz": zone, "where": where, "bots": bots}
    try:
        for action, argument in steps:
            world.do(action, argument)
        expected = answers(world.expected, options, breakdown)
        for store in world.stores:
            found = answers(store, options, breakdown)
            for name, answer in expected.items():
                assert found[name] == answer, name
            assert_same_contents(store, world.expected)
            assert answers(copy_of(store), options, breakdown) == expected
    finally:
        world.close()
        shutil.rmtree(directory)


@pytest.mark.timeout(120 + 20 * CLICKHOUSE_EXAMPLES)
@pytest.mark.parametrize("shards", [1, 2])
def test_clickhouse_gives_the_same_answers(shards):
    """Over one server, and over two shards on which every block arrives twice."""

    @settings(max_examples=CLICKHOUSE_EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(batches, min_size=1, max_size=6), st.sampled_from(ZONES), wheres, breakdowns, st.booleans())
    def compare(stream, zone, where, breakdown, bots):
        options = {"tz": zone, "where": where, "bots": bots}
        expected, store = MemoryStore(), Fresh() if shards == 1 else TwoShards()
        try:
            for number, batch in enumerate(stream):
                for index, record in enumerate(batch):
                    record.event_id += f"-{number}-{index}"
                # Half of each batch comes again with the next.
                given = [*batch, *(stream[number - 1][::2] if number else [])]
                expected.apply(copies(given))
                store.apply(copies(given))
            found = answers(store, options, breakdown)
            for name, answer in answers(expected, options, breakdown).items():
                assert found[name] == answer, name
        finally:
            store.close()

    compare()
