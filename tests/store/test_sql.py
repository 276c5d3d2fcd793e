"""`sql`: one SELECT over the view `events`, which reaches no file, no network and no setting."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from analytics_middleware.event import Erase, Event
from analytics_middleware.store.sql import SqlError
from analytics_middleware.store.timeout import QuestionTimeout

from .conftest import LoggedStore, seal

START = datetime(2025, 3, 1, tzinfo=UTC)


@pytest.fixture
def store(tmp_path):
    """A store with a compacted, a sealed and an unsealed event."""
    store = LoggedStore(tmp_path)
    for number, name in enumerate("abc"):
        store.apply(
            [
                Event(
                    event_name=name,
                    timestamp=START + timedelta(days=number),
                    user_id=f"user{number}",
                    properties={"plan": "pro", "it's": number},
                )
            ]
        )
        if number == 0:
            store.maintain()
        elif number == 1:
            seal(store)
    yield store
    store.close()


def test_sealed_and_unsealed_events_are_one_view(store):
    found = store.sql("SELECT name, timestamp FROM events ORDER BY timestamp")
    assert found.columns == ["name", "timestamp"]
    assert found.rows == [(name, datetime(2025, 3, day)) for day, name in enumerate("abc", 1)]
    assert not found.truncated


def test_properties_are_json(store):
    assert store.sql("SELECT sum(CAST(properties->>'it''s' AS INTEGER)) FROM events").rows == [(3,)]
    assert store.sql("SELECT count(*) FROM events WHERE properties->>'plan' = 'pro'").rows == [(3,)]


@pytest.mark.parametrize(
    "query",
    [
        "WITH few AS (SELECT * FROM events LIMIT 2) SELECT count(*) FROM few",
        "SELECT count(*) FROM (SELECT name FROM events UNION SELECT name FROM events) LIMIT 1",
        "SELECT count(*) FROM events JOIN range(3) ON true;",
        "SELECT count(*) FROM EVENTS -- a remark",
        "SELECT count(*) OVER () FROM events, unnest([1, 2]) AS t(x) LIMIT 1",
    ],
)
def test_what_a_select_may_do(store, query):
    assert len(store.sql(query).rows) == 1


@pytest.mark.parametrize(
    "query",
    [
        "",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP VIEW events",
        "INSERT INTO events SELECT * FROM events",
        "CREATE TABLE t AS SELECT * FROM events",
        "DROP VIEW events",
        "UPDATE sealed SET name = 'x'",
        "COPY events TO '/tmp/out.csv'",
        "COPY (SELECT 1) TO '/tmp/out.csv'",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "PRAGMA database_list",
        "PRAGMA version",
        "SET memory_limit = '100GB'",
        "RESET threads",
        "CALL pragma_version()",
        "EXPORT DATABASE '/tmp/x'",
        "DESCRIBE events",
        "SUMMARIZE events",
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT 1",
        "SELECT * FROM (DESCRIBE events)",
        "SELECT * FROM (SHOW TABLES)",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM 'x.parquet'",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_parquet('/tmp/*.parquet')",
        "SELECT * FROM READ_TEXT('/etc/passwd')",
        "SELECT * FROM parquet_metadata('x.parquet')",
        "SELECT * FROM glob('/*')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM query('SELECT 1')",
        "SELECT * FROM query_table('events')",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM sealed",
        "SELECT * FROM unsealed",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM main.events",
        "SELECT * FROM pg_catalog.pg_class",
        "SELECT (SELECT content FROM read_text('/etc/passwd'))",
        "SELECT 1 WHERE EXISTS (SELECT * FROM read_text('/etc/passwd'))",
        "WITH t AS (SELECT * FROM read_text('/etc/passwd')) SELECT * FROM t",
        "WITH read_text AS (SELECT 1) SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM events ORDER BY (SELECT content FROM read_text('/etc/passwd'))",
        "FROM events PIVOT (count(*) FOR name IN ('a'))",
        "SELECT nonsense FROM events",
        "SELECT * FROM events WHERE",
        "x" * 200_000,
    ],
)
def test_anything_but_one_select_over_events_is_refused(store, query):
    with pytest.raises(SqlError, match="sql"):
        store.sql(query)


@pytest.mark.parametrize("function", ["getenv('HOME')", "write_log('x')", "add_parquet_key('a', 'b')"])
def test_functions_that_look_or_reach_outside_are_refused(store, function):
    with pytest.raises(SqlError):
        store.sql(f"SELECT {function} FROM events")


def test_variables_and_local_names_are_not_looked_up_in_python(store):
    drafts = [1, 2, 3]
    with pytest.raises(SqlError, match="no table"):
        store.sql("SELECT * FROM drafts")
    assert drafts


def test_at_most_so_many_rows(store):
    found = store.sql("SELECT * FROM range(100)", max_rows=10)
    assert (len(found.rows), found.truncated) == (10, True)
    assert not store.sql("SELECT * FROM range(10)", max_rows=10).truncated


def test_a_query_that_takes_too_long_is_interrupted(tmp_path):
    store = LoggedStore(tmp_path / "slow", question_timeout=0.2)
    with pytest.raises(QuestionTimeout, match=r"0\.2 s"):
        store.sql("SELECT sum(a.range * b.range) FROM range(10000000) a, range(10000000) b")
    store.close()


def test_nothing_refers_to_the_connection_once_the_rows_are_there(store):
    threads = threading.enumerate()
    for _ in range(5):
        store.sql("SELECT count(*) FROM events")
        assert threading.enumerate() == threads


def test_a_question_that_takes_too_long_is_given_up(tmp_path, store):
    store._timeout = 0.0
    with pytest.raises(QuestionTimeout):
        store.top_events(store_question())


def store_question():
    from analytics_middleware.store import TopEvents

    return TopEvents(start=START, end=START + timedelta(days=9))


def test_memory_is_bounded(tmp_path):
    store = LoggedStore(tmp_path / "small", memory_limit="20MB")
    with pytest.raises(SqlError, match=r"(?i)memory"):
        store.sql("SELECT list(range) FROM range(50000000)")
    store.close()


def test_what_is_erased_is_hidden_before_files_are_rewritten(store):
    store.apply([Erase(user_id="user0", timestamp=START + timedelta(days=9))])
    assert store.sql("SELECT count(*) FROM events").rows == [(2,)]
    seal(store)
    assert store.sql("SELECT count(*) FROM events WHERE user_id = 'user0'").rows == [(0,)]
    assert store.sealer.state().erased > 0


def test_names_of_properties_and_fields_are_never_part_of_a_query(store):
    """Whatever a property is called, it is looked for as a value."""
    from analytics_middleware.store import Insights

    ask = Insights(store)
    span = {"start": START, "end": START + timedelta(days=9)}
    hostile = "x') FROM events; DROP TABLE store_trait; --"
    store.apply(
        [Event(event_name=hostile, timestamp=START, properties={hostile: hostile}, user_id=hostile, path=hostile)]
    )
    assert ask.top_properties(hostile, hostile, **span)[0].key == hostile
    where = [{"field": f"properties.{hostile}", "op": "eq", "value": hostile}]
    assert ask.active_users(where=where, **span).count == 1
    assert ask.traits(hostile) == {}
    assert [group.key for group in ask.volume(breakdown=f"traits.{hostile}", **span)] == [None]
    assert ask.timeline(hostile, **span).user.user_id == hostile
    assert store.maintain()
    assert ask.top_properties(hostile, hostile, **span)[0].key == hostile
