"""ClickHouseStore beyond the answers: addresses and secrets, tables and their versions, what is kept and what goes."""

import os
import re
import signal
import sys
import threading
import traceback
from datetime import UTC, datetime, timedelta
from errno import ECONNREFUSED

import pytest
from ports import own_port

from analytics_middleware import Analytics, cli
from analytics_middleware.errors import ConfigurationError, MissingExtraError
from analytics_middleware.event import Erase, Event, EventType, Identify
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import ActiveUsers, ClickHouseStore, Insights, MemoryStore
from analytics_middleware.store.clickhouse import ClickHouseError
from analytics_middleware.store.clickhouse.schema import META, TABLES, Layout, set_retention, steps
from analytics_middleware.store.feed import StoreFeed
from analytics_middleware.store.timeout import QuestionTimeout

from .clickhouse_engine import Fresh, TwoShards, address
from .conftest import NOW, drafts

DAY = {"start": datetime(2025, 3, 10, tzinfo=UTC), "end": datetime(2025, 3, 11, tzinfo=UTC)}
AT = DAY["start"] + timedelta(hours=1)
PASSWORD = "s3cret-and-l0ng"


@pytest.fixture
def fresh():
    store = Fresh(clock=NOW.timestamp)
    yield store
    store.close()


def rows(store, table):
    return store._connection.query(f"SELECT * FROM {store._layout.table(table)} FINAL")


def mutations(store):
    found = "SELECT count() FROM system.mutations WHERE database = {name:String}"
    return store._connection.query(found, {"name": store.address.database})


class TestAddress:
    def test_it_prints_without_user_and_password(self):
        store = ClickHouseStore(f"clickhouses://ann:{PASSWORD}@db.example/shop?cluster=all&verify=false")
        assert (str(store.address), repr(store)) == (
            "clickhouses://db.example:8443/shop",
            "<ClickHouseStore clickhouses://db.example:8443/shop>",
        )
        assert PASSWORD not in repr(store.address)
        assert PASSWORD not in repr(Analytics(store=f"clickhouse://ann:{PASSWORD}@db.example").settings)

    def test_the_database_is_called_analytics_unless_said_otherwise(self):
        assert ClickHouseStore("clickhouse://db.example").address.database == "analytics"

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            ("clickhouse:///shop", "names no host"),
            ("clickhouse://db:port/shop", "not a URL"),
            ("clickhouse://db/shop?clutser=all", "'clutser' .* unknown; known options: cluster"),
            ("clickhouse://db/`shop`", "must be a name"),
            ("clickhouse://db/shop?cluster=a'b", "must be a name"),
            ("clickhouses://db/shop?verify=maybe", "must be true or false"),
            ("chdb://", "no directory"),
            ("mysql://db/shop", "must be a URL such as"),
        ],
    )
    def test_a_wrong_one_is_an_error_that_says_what_would_be_right(self, wrong, says):
        with pytest.raises(ConfigurationError, match=says) as caught:
            Analytics(store=wrong.replace("://", f"://ann:{PASSWORD}@", 1) if "///" not in wrong else wrong)
        assert PASSWORD not in str(caught.value)

    def test_without_the_extra_the_error_names_it(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "clickhouse_connect", None)
        with pytest.raises(MissingExtraError, match=re.escape("analytics-middleware[clickhouse]")):
            ClickHouseStore("clickhouse://db.example")

    def test_nothing_is_connected_to_before_it_is_used_and_then_errors_keep_the_password(self, caplog):
        # Nobody listens there.
        port = own_port()
        store = ClickHouseStore(f"clickhouse://ann:{PASSWORD}@127.0.0.1:{port}/shop")
        with pytest.raises(ClickHouseError) as caught:
            store.apply([Event()])
        assert str(caught.value) == f"clickhouse://127.0.0.1:{port}/shop: [Errno {ECONNREFUSED}] Connection refused"
        shown = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        assert PASSWORD not in "".join(shown.format())
        assert PASSWORD not in caplog.text


class TestTables:
    def test_the_engine_reads_every_statement_for_a_cluster(self, fresh):
        layout = Layout("shop", "all_hosts")
        statements = [*steps(layout, 0), *set_retention(layout, 30), *set_retention(layout, None)]
        for statement in statements:
            [(tree, *_), *_] = fresh._connection.query(f"EXPLAIN AST {statement}")
            assert re.match(r"(Create|Alter)Query", tree)
            assert " ON CLUSTER `all_hosts`" in statement
        assert sum("ENGINE = Replicated" in statement for statement in statements) == len(TABLES)
        assert sum("ENGINE = Distributed" in statement for statement in statements) == len(TABLES)

    def test_the_command_makes_them_and_says_so(self, capsys):
        store = Fresh()
        analytics = Analytics(store=store)
        assert cli.main(["migrate", "--print"], application=lambda: analytics) == 0
        assert "CREATE TABLE IF NOT EXISTS" in capsys.readouterr().out
        for said in ("Created the tables", "already have version 1"):
            assert cli.main(["migrate"], application=lambda: analytics) == 0
            assert said in capsys.readouterr().out
        assert cli.main(["migrate", "--print"], application=lambda: analytics) == 0
        assert capsys.readouterr().out == ""
        store.close()

    def test_another_store_has_nothing_to_migrate(self, capsys):
        assert cli.main(["migrate"], application=lambda: Analytics(store=MemoryStore())) == 1
        assert "not on ClickHouse" in capsys.readouterr().err

    def test_tables_of_a_later_version_are_left_alone(self, fresh):
        fresh.migrate()
        later = {"key": ["version"], "value": ["99"], "written": [2**63]}
        fresh._connection.insert(fresh._layout.table("meta"), later, META.columns)
        for use in (lambda: fresh.apply([Event()]), fresh.migrate):
            with pytest.raises(ClickHouseError, match="version 99; this program knows 1: upgrade it"):
                use()

    def test_two_stores_may_make_them_at_once(self):
        one = Fresh()
        other = ClickHouseStore(address(one.address.database))
        threads = [threading.Thread(target=store.migrate) for store in (one, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.apply([Event(timestamp=AT, event_name="a")])
        assert Insights(other).top_events(**DAY)[0].key == "a"
        other.close()
        one.close()


class TestOnce:
    def test_an_id_that_comes_again_with_anything_else_is_the_first_event(self, fresh):
        fresh.apply([Event(event_id="e", event_name="first", user_id="ann", timestamp=AT)])
        fresh.apply([Event(event_id="e", event_name="second", user_id="bob", timestamp=AT + timedelta(days=40))])
        assert [(event.event_name, event.user_id) for event in fresh.events()] == [("first", "ann")]

    def test_what_a_crash_cut_short_is_done_again(self, fresh):
        """The events are in, and nothing that follows from them."""
        event = Event(event_id="e", event_name="a", user_id="ann", anon_id="k", timestamp=AT)
        fresh.apply([event, Event(event_name="b", anon_id="k", timestamp=AT)])
        for table in ("ties", "first_seen", "taken"):
            fresh._connection.command(f"TRUNCATE TABLE {fresh._layout.table(table)}")
        fresh.apply([event])
        ask = Insights(fresh, clock=lambda: NOW)
        assert [ask.active_users(**DAY).count, ask.retention(DAY["start"])[0].returned] == [1, 1]
        assert len(list(fresh.events())) == 2

    def test_two_shards_hold_each_event_on_one_of_them_whatever_arrives_twice(self):
        store = TwoShards()
        store.apply([Event(event_id=f"e{number}", user_id=f"u{number}", timestamp=AT) for number in range(20)])
        counts = store._connection.query(
            f"SELECT shardNum() AS shard, count() FROM {store._layout.table('events')} FINAL GROUP BY shard ORDER BY 1"
        )
        assert len(counts) == 2
        assert sum(count for _, count in counts) == 20
        store.close()


class TestErasing:
    def test_the_rows_go_too(self, fresh):
        fresh._connection.command("SET mutations_sync = 2")
        fresh.apply(
            [
                Event(event_id="a", user_id="ann", anon_id="k", timestamp=AT),
                Event(event_id="b", anon_id="k", timestamp=AT),
                Event(event_id="c", user_id="bob", timestamp=AT),
                Identify(user_id="ann", anon_id="k", traits={"plan": "pro"}, timestamp=AT),
                Erase(user_id="ann", timestamp=AT),
            ]
        )
        assert [row[0] for row in rows(fresh, "events")] == ["c"]
        assert (rows(fresh, "identified"), rows(fresh, "traits")) == ([], [])

    @pytest.mark.parametrize(
        "tie",
        [
            Event(event_id="tie", user_id="ann", anon_id="k", timestamp=AT + timedelta(hours=1)),
            Identify(event_id="tie", user_id="ann", anon_id="k", timestamp=AT + timedelta(hours=1)),
        ],
    )
    def test_rows_that_a_late_tie_reveals_go_too(self, fresh, tie):
        fresh._connection.command("SET mutations_sync = 2")
        fresh.apply([Event(event_id="a", anon_id="k", timestamp=AT), Event(event_id="o", anon_id="l", timestamp=AT)])
        fresh.apply([Event(event_id="later", anon_id="k", timestamp=AT + timedelta(hours=4))])
        fresh.apply([Erase(user_id="ann", timestamp=AT + timedelta(hours=3))])
        fresh.apply([tie])
        assert sorted(row[0] for row in rows(fresh, "events")) == ["later", "o"]
        later = AT + timedelta(hours=4)
        firsts = {(row[1], row[4] / 1_000_000) for row in rows(fresh, "first_seen")}
        assert firsts == {("k", later.timestamp()), ("l", AT.timestamp())}
        issued = mutations(fresh)
        fresh.apply([tie])
        assert mutations(fresh) == issued

    def test_a_later_erasure_of_another_user_reveals_more_rows(self, fresh):
        fresh._connection.command("SET mutations_sync = 2")
        fresh.apply([Event(event_id=f"{hour}", anon_id="k", timestamp=AT + timedelta(hours=hour)) for hour in range(4)])
        fresh.apply([Erase(user_id="ann", timestamp=AT), Erase(user_id="bob", timestamp=AT + timedelta(hours=2))])
        fresh.apply([Event(user_id="ann", anon_id="k", timestamp=AT)])
        assert sorted(row[0] for row in rows(fresh, "events")) == ["1", "2", "3"]
        fresh.apply([Identify(user_id="bob", anon_id="k", timestamp=AT)])
        assert [row[0] for row in rows(fresh, "events")] == ["3"]

    def test_rows_that_a_crash_left_go_when_the_batch_comes_again(self, fresh, monkeypatch):
        fresh._connection.command("SET mutations_sync = 2")
        fresh.apply([Event(event_id="a", anon_id="k", timestamp=AT), Erase(user_id="ann", timestamp=AT)])
        tie = Event(user_id="ann", anon_id="k", timestamp=AT)

        def crash(*_):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("analytics_middleware.store.clickhouse.writing.erase_revealed", crash)
            with pytest.raises(KeyboardInterrupt):
                fresh.apply([tie])
        assert list(fresh.events()) == []
        assert [row[0] for row in rows(fresh, "events")] == ["a"]
        fresh.apply([tie])
        assert (rows(fresh, "events"), rows(fresh, "first_seen")) == ([], [])

    def test_a_row_that_slips_in_behind_an_erasure_stays_hidden(self, fresh):
        """Another host had looked who is erased before this one erased."""
        late = Fresh.__new__(Fresh)
        ClickHouseStore.__init__(late, address(fresh.address.database), clock=NOW.timestamp)
        event = Event(event_id="late", user_id="ann", anon_id="k", timestamp=AT)
        fresh.apply([Event(event_id="first", user_id="ann", timestamp=AT), Erase(user_id="ann", timestamp=AT)])
        fresh._connection.command(f"TRUNCATE TABLE {fresh._layout.table('erased')}")
        late.apply([event, Event(event_id="anonymous", anon_id="k", timestamp=AT)])
        erased = {"user_id": ["ann"], "until": [int(AT.timestamp() * 1_000_000)]}
        fresh._connection.insert(fresh._layout.table("erased"), erased, {"user_id": "String", "until": "Int64"})
        assert list(fresh.events()) == []
        late._connection.close()


class TestRetention:
    def test_the_server_deletes_what_is_older_and_first_dates_stay(self):
        now = datetime.now(UTC)
        young, old = now - timedelta(days=2), now - timedelta(days=20)
        store = Fresh()
        store.apply([Event(event_id="old", user_id="ann", timestamp=old), Event(user_id="ann", timestamp=young)])
        bounded = ClickHouseStore(address(store.address.database), retention_days=10)
        bounded.apply([Event(event_id="refused", user_id="ann", timestamp=old - timedelta(days=1))])
        assert bounded.refused == 1
        store._connection.command(f"OPTIMIZE TABLE {store._layout.table('events')} FINAL")
        assert [event.timestamp for event in store.events()] == [young]
        assert [seen.at for seen in store.first_seen()] == [old]
        bounded.close()
        # One that does not say how long leaves it as it is; the command takes it away.
        other = ClickHouseStore(address(store.address.database))
        other.apply([Event()])
        assert "REMOVE TTL" in other.migrations()[0]
        other.migrate()
        assert other.migrations() == []
        other.close()
        store.close()

    def test_a_retention_of_no_days_is_an_error(self):
        with pytest.raises(ValueError, match="retention_days 0"):
            ClickHouseStore("clickhouse://db.example", retention_days=0)


ODD = [
    8.5e-05, 1e-05, -0.000123, 1.5e-07, -1e-10, 0.1 + 0.2, 1e16, 1e22, -2.5e20, 123456789012345680.0, 5e-324, 1e308,
    0.0001, -0.0, 3, 2**53 + 1, -(2**63), 2**63 - 1, float(2**53), "", "null", "a'b\\c\n\t\x00`{p0:String}", "\u202e☃",
    True, False, None,
]  # fmt: skip


@pytest.mark.parametrize("kind", [Fresh, TwoShards])
def test_odd_values_are_the_same_texts_and_numbers(kind):
    """Floats as Python prints them, integers that no float holds, texts that look like SQL."""
    expected, store = MemoryStore(), kind()
    events = [
        Event(
            event_id=str(number),
            timestamp=AT + timedelta(seconds=number),
            user_id="ann" if number % 2 else "b'\\ob",
            properties={"v": value, "it's {p0:String}": value},
            duration=value if isinstance(value, float) and abs(value) < 2**63 else None,
            path=value if isinstance(value, str) else None,
        )
        for number, value in enumerate(ODD)
    ]
    traits = [
        Identify(user_id="ann", traits={"v": value}, timestamp=AT + timedelta(seconds=number))
        for number, value in enumerate(ODD)
    ]
    for each in (expected, store):
        each.apply([*events, *traits[:8]])
    asks = [Insights(each, clock=lambda: NOW) for each in (expected, store)]
    fields = ("properties.v", "properties.it's {p0:String}", "duration", "path", "user_id", "traits.v")
    for field in fields:
        assert len({repr(ask.top_values(field, **DAY, limit=100)) for ask in asks}) == 1, field
        for value in ODD:
            ops = ["eq", "ne", "contains"] if value is not None else []
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                ops += ["gt", "gte", "lt", "lte"]
            for op in ops:
                where = [{"field": field, "op": op, "value": value}]
                found = {ask.volume(**DAY, where=where)[0].count for ask in asks}
                assert len(found) == 1, (where, found)
    store.close()


def test_times_long_ago_count_as_such(fresh):
    """For who was there before, whatever calendars make of the year 1."""
    expected = MemoryStore()
    events = [
        Event(timestamp=datetime.min.replace(tzinfo=UTC), user_id="ann"),
        Event(timestamp=datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC), user_id="bob"),
        *(Event(timestamp=AT, user_id=name, event_name="a") for name in ("ann", "bob", "cy")),
    ]
    for store in (expected, fresh):
        store.apply(events)
    answers = [
        (
            ask.lifecycle(**DAY),
            [(row.user_id, row.first_seen) for row in ask.users(ActiveUsers(**DAY))],
            [event.timestamp for event in store.events()],
        )
        for store, ask in ((store, Insights(store, clock=lambda: NOW)) for store in (expected, fresh))
    ]
    assert answers[0] == answers[1]


def test_more_than_a_page_is_read_back_in_order(fresh, monkeypatch):
    monkeypatch.setattr("analytics_middleware.store.clickhouse.reading._PAGE", 3)
    events = [
        Event(event_id=f"e{number:02}", timestamp=AT + timedelta(minutes=20 * (number // 5)), user_id=f"u{number}")
        for number in range(20)
    ]
    fresh.apply(events[::-1])
    assert [event.event_id for event in fresh.events()] == [event.event_id for event in events]
    assert len(list(fresh.first_seen())) == 20


def test_many_threads_may_ask_and_apply_at_once(fresh):
    """And every answer is one that was right at some point."""
    wrong = []

    def work(number):
        for turn in range(3):
            fresh.apply([Event(event_id=f"{number}-{turn}", timestamp=AT, type=EventType.PAGEVIEW)])
            count = Insights(fresh).volume("", **DAY)[0].count
            if not turn < count <= 12:
                wrong.append(count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert Insights(fresh).volume("", **DAY)[0].count == 12


def test_a_log_hands_over_few_large_blocks(tmp_path):
    """What comes within a second of the first goes as one block, unless somebody is in a hurry."""
    blocks = []

    class Counting(Fresh):
        def apply(self, records):
            blocks.append(len(records))
            super().apply(records)

    clock = AT.timestamp()
    store, outbox = Counting(), SqliteOutbox(tmp_path)
    feed = StoreFeed(store, outbox, clock=lambda: clock)
    outbox.register(feed.name)
    outbox.append(drafts([Event(event_id="a", timestamp=AT)]), {})
    assert feed.step() == pytest.approx(1.0)
    outbox.append(drafts([Event(event_id="b", timestamp=AT)]), {})
    clock += 1.0
    assert feed.step() == 0.0
    outbox.append(drafts([Event(event_id="c", timestamp=AT + timedelta(seconds=1))]), {})
    assert feed.step(hurry=True) == 0.0
    assert blocks == [2, 1]
    outbox.close()
    store.close()


def test_a_question_that_takes_too_long_is_given_up():
    store = Fresh(question_timeout=1)
    store.migrate()
    with pytest.raises(QuestionTimeout, match="longer than 1 s"):
        store._connection.query("SELECT sleepEachRow(0.4) FROM numbers(6) SETTINGS max_block_size = 1")
    store.close()


@pytest.mark.filterwarnings("ignore:.*use of fork")  # which is the point
def test_a_forked_child_leaves_its_parents_engine_alone(fresh):
    """Closing it there would wait for threads that were not forked, for ever."""
    fresh.apply([Event(event_id="1", event_name="order", timestamp=AT, user_id="ann")])
    child = os.fork()
    if not child:
        signal.alarm(20)
        fresh.after_fork()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert len(list(fresh.events())) == 1
