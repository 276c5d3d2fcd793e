"""``sql``: one SELECT over all events, printed for people, spreadsheets and programs."""

import csv
import json
from pathlib import Path

import pytest

from analytics_middleware.event import Event

from .stores import START, Kept, days


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    kept = Kept(tmp_path)
    kept.apply([*days(2), Event(event_name="=1+1\x1b[31m", timestamp=START)])
    return kept


QUERY = "SELECT event_name, count(*) AS n, max(user_id) AS who FROM events GROUP BY event_name ORDER BY n DESC"


def test_a_table_for_people_without_control_characters(kept: Kept) -> None:
    lines = kept.run("sql", QUERY).stdout.splitlines()
    assert [line.split() for line in lines] == [["event_name", "n", "who"], ["a", "2", "ann"], ["=1+1\\x1b[31m", "1"]]


def test_csv_for_spreadsheets(kept: Kept) -> None:
    rows = list(csv.reader(kept.run("sql", "--csv", QUERY).stdout.splitlines()))
    assert rows == [["event_name", "n", "who"], ["a", "2", "ann"], ["'=1+1 [31m", "1", ""]]


def test_json_for_programs(kept: Kept) -> None:
    lines = [json.loads(line) for line in kept.run("sql", "--json", QUERY).stdout.splitlines()]
    assert lines == [
        {"event_name": "a", "n": 2, "who": "ann"},
        {"event_name": "=1+1\x1b[31m", "n": 1, "who": None},
    ]


def test_json_of_every_type(kept: Kept) -> None:
    query = (
        "SELECT timestamp AS t, 1.5::DECIMAL(4, 2) AS d, 'nan'::DOUBLE AS nan, 170141183460469231731687303715884105727 "
        "AS huge, {'a': [1, 2]} AS s, INTERVAL 1 DAY AS i, 'x'::BLOB AS b FROM events LIMIT 1"
    )
    found = json.loads(kept.run("sql", "--json", query).stdout)
    assert (found["t"], found["d"], found["nan"], found["s"]) == ("2025-03-01T00:00:00", "1.50", None, {"a": [1, 2]})
    assert found["huge"] == "170141183460469231731687303715884105727"


def test_more_rows_than_asked_for_are_told_of(kept: Kept) -> None:
    said = kept.run("sql", "--limit", "2", "SELECT event_id FROM events")
    assert len(said.stdout.splitlines()) == 3
    assert "more rows than 2" in said.stderr


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ("DELETE FROM events", "exactly one SELECT"),
        ("SELECT * FROM read_text('/etc/passwd')", "not allowed"),
        ("SELECT nonsense FROM events", "nonsense"),
        ("SELECT", "Parser Error"),
    ],
)
def test_anything_else_is_refused_in_one_line(kept: Kept, query: str, why: str) -> None:
    ended = kept.run("sql", query, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert why in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
