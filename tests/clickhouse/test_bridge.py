"""What stands before chDB in tests speaks ClickHouse's HTTP interface, and stores the rows that it says it stored."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError
from servers import PASSWORD, ClickHouse, until

ROWS = [
    [1, "a", None, ["x", "y"], datetime(2026, 3, 4, 5, 6, 7, 89, tzinfo=UTC)],
    [2, "naïve \\ 'quoted'\t\n", 2.5, [], datetime(1970, 1, 1, tzinfo=UTC)],
]
COLUMNS = ["id", "text", "number", "list", "at"]


def connect(server: ClickHouse, **options: Any) -> Any:
    return clickhouse_connect.get_client(
        host="127.0.0.1", port=server.port, username="default", tz_mode="aware", **{"password": PASSWORD, **options}
    )


@pytest.fixture
def client(server: ClickHouse) -> Iterator[Any]:
    client = connect(server)
    client.command(
        "CREATE TABLE t (id UInt64, text LowCardinality(String), number Nullable(Float64), list Array(String), "
        "at DateTime64(6, 'UTC')) ENGINE = MergeTree ORDER BY id"
    )
    yield client
    client.close()


@pytest.mark.parametrize("compress", [False, "lz4", "zstd", "gzip"])
def test_rows_come_back_as_they_were_inserted(server: ClickHouse, client: Any, compress: Any) -> None:
    with connect(server, compress=compress) as packed:
        assert packed.insert("t", ROWS, COLUMNS).written_rows == len(ROWS)
        assert [list(row) for row in packed.query("SELECT * FROM t ORDER BY id").result_rows] == ROWS
    assert client.command("SELECT count() FROM t") == len(ROWS)


def test_parameters_are_bound_and_settings_hold_for_one_query(client: Any) -> None:
    client.insert("t", ROWS, COLUMNS)
    found = client.query("SELECT id FROM t WHERE text = {text:String}", parameters={"text": ROWS[1][1]})
    assert found.result_rows == [(2,)]
    found = client.query("SELECT {ids:Array(UInt64)}, {at:DateTime64(6)}", parameters={"ids": [1, 2], "at": ROWS[0][4]})
    assert found.result_rows[0][0] == [1, 2]
    wanted = "SELECT value FROM system.settings WHERE name = 'max_threads'"
    before = client.command(wanted)
    assert client.command(wanted, settings={"max_threads": 1}) == 1
    assert client.command(wanted) == before


def test_parameters_that_are_longer_than_a_url(server: ClickHouse, client: Any) -> None:
    client.insert("t", ROWS, COLUMNS)
    ids = list(range(2, 20_000))
    with connect(server, form_encode_query_params=True) as forms:
        wanted = {"ids": ids, "text": ROWS[1][1]}
        found = forms.query("SELECT id FROM t WHERE id IN {ids:Array(UInt64)} AND text = {text:String}", wanted)
        assert found.result_rows == [(2,)]
        assert forms.insert("t", ROWS, COLUMNS).written_rows == 2


def test_other_formats_and_rows_in_the_body(client: Any) -> None:
    client.raw_insert("t", ["id", "text"], '{"id": 7, "text": "seven"}\n', fmt="JSONEachRow")
    client.command("INSERT INTO t (id, text) VALUES (8, 'eight')")
    client.command("INSERT INTO t (id, text) SELECT number, 'many' FROM numbers(100, 5)")
    assert client.raw_query("SELECT id, text FROM t WHERE id < 10 ORDER BY id", fmt="CSV") == b'7,"seven"\n8,"eight"\n'
    assert client.command("SELECT count() FROM t") == 7
    assert client.query_arrow("SELECT id FROM t WHERE id < 10 ORDER BY id").column(0).to_pylist() == [7, 8]


def test_a_database_of_its_own(server: ClickHouse, client: Any) -> None:
    client.command("CREATE DATABASE other")
    with connect(server, database="other") as other:
        other.command("CREATE TABLE t (id UInt64) ENGINE = MergeTree ORDER BY id")
        other.insert("t", [[1], [2], [3]], ["id"])
    assert client.command("SELECT count() FROM other.t") == 3
    assert client.command("SELECT count() FROM t") == 0


def test_errors_have_their_codes_and_nothing_is_stored(server: ClickHouse, client: Any) -> None:
    with pytest.raises(DatabaseError) as unknown:
        client.query("SELECT * FROM nowhere")
    assert unknown.value.code == 60
    with pytest.raises(DatabaseError) as syntax:
        client.command("SELEC 1")
    assert syntax.value.code == 62
    with pytest.raises(DatabaseError):
        client.raw_insert("t", ["id"], "no number\n", fmt="TSV")
    assert client.command("SELECT count() FROM t") == 0
    with pytest.raises(DatabaseError) as refused:
        connect(server, password="wrong")
    assert refused.value.code == 516


def test_killed_and_started_again_it_has_what_it_said_it_stored(server: ClickHouse, client: Any) -> None:
    for number in range(5):
        client.insert("t", [[number, "", None, [], ROWS[0][4]]], COLUMNS)
    server.kill()
    with pytest.raises(OperationalError):
        client.command("SELECT 1")
    server.start()
    assert client.command("SELECT count() FROM t") == 5


@pytest.mark.parametrize(("do", "stored"), [("die_before", 0), ("die_after", 2)])
def test_an_insert_without_an_answer_may_have_been_stored(
    server: ClickHouse, client: Any, do: str, stored: int
) -> None:
    server.fault(do)
    with pytest.raises(OperationalError):
        client.insert("t", ROWS, COLUMNS)
    server.ended()
    server.start()
    assert client.command("SELECT count() FROM t") == stored


def test_a_client_whose_connection_is_closed_sends_the_block_again(server: ClickHouse, client: Any) -> None:
    server.fault("hang_up")
    client.insert("t", ROWS, COLUMNS)
    assert client.command("SELECT count() FROM t") == 2 * len(ROWS), "it does so by itself, and nobody is told"


@pytest.mark.parametrize(("do", "stored"), [("slow", 2), ("late", 2)])
def test_an_answer_that_is_too_late(server: ClickHouse, client: Any, do: str, stored: int) -> None:
    with connect(server, send_receive_timeout=1) as hasty:
        server.fault(do, seconds=2)
        with pytest.raises(OperationalError):
            hasty.insert("t", ROWS, COLUMNS)
    # Nobody says when the server has come to it.
    until(lambda: client.command("SELECT count() FROM t") == stored)


def test_a_fault_happens_once_to_what_it_is_for(server: ClickHouse, client: Any) -> None:
    server.fault("refuse", said="Code: 241. DB::Exception: Memory limit exceeded. (MEMORY_LIMIT_EXCEEDED)")
    assert client.command("SELECT 1") == 1
    with pytest.raises(DatabaseError) as refused:
        client.insert("t", ROWS, COLUMNS)
    assert refused.value.code == 241
    assert client.insert("t", ROWS, COLUMNS).written_rows == 2
