"""``export``: all events of the store as files that other programs read."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analytics_middleware.event import Event, Identify
from analytics_middleware.exporting.cells import from_cell, json_cell, to_cell

from .conftest import Shop
from .stores import START, Kept, days


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path / "data")


def read_csv(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8-sig", newline="") as lines:
        return list(csv.DictReader(lines))


def test_parquet_has_the_columns_of_the_view(kept: Kept, tmp_path: Path) -> None:
    kept.apply(days(3))
    said = kept.run("export", "--parquet", str(tmp_path / "events.parquet"))
    assert (said.stdout, said.stderr) == ("", "3 events exported.\n")
    table = pq.read_table(tmp_path / "events.parquet")
    with kept.store() as store:
        assert table.column_names == store.sql("SELECT * FROM events LIMIT 0").columns
    assert table.column("event_id").to_pylist() == ["ann-0", "ann-1", "ann-2"]


def test_json_lines_are_events_as_collectors_get_them(kept: Kept, tmp_path: Path) -> None:
    kept.apply(days(2))
    kept.run("export", "--jsonl", str(tmp_path / "e.jsonl"))
    lines = (tmp_path / "e.jsonl").read_text().splitlines()
    assert [Event.decode(line) for line in lines] == kept.events()


def test_a_range_takes_its_start_and_leaves_its_end(kept: Kept, tmp_path: Path) -> None:
    kept.apply(days(5))
    kept.run("export", "--csv", str(tmp_path / "e.csv"), "--from", "2025-03-02", "--to", "2025-03-04")
    assert [row["timestamp"][:10] for row in read_csv(tmp_path / "e.csv")] == ["2025-03-02", "2025-03-03"]


def test_a_directory_gets_a_file_a_month_and_what_is_known_of_people(kept: Kept, tmp_path: Path) -> None:
    kept.apply([*days(40), Identify(user_id="ann", traits={"plan": "pro"}, timestamp=START)])
    (tmp_path / "out").mkdir()
    kept.run("export", "--jsonl", str(tmp_path / "out"))
    files = {file.name: file.read_text().splitlines() for file in (tmp_path / "out").iterdir()}
    assert {name: len(lines) for name, lines in files.items()} == {
        "events-2025-03.jsonl": 31,
        "events-2025-04.jsonl": 9,
        "people.jsonl": 1,
    }
    assert json.loads(files["people.jsonl"][0])["identify"]["traits"] == {"plan": "pro"}
    with kept.store() as store:
        store.maintain()
    kept.run("export", "--jsonl", str(tmp_path / "out"), "--force")
    last = (tmp_path / "out" / "people.jsonl").read_text().splitlines()[-1]
    day = "2025-03-01T00:00:00Z"
    assert json.loads(last) == {"first_seen": {"user_id": "ann", "anon_id": None, "at": day, "human_at": day}}


def test_a_path_that_ends_in_a_slash_is_a_directory(kept: Kept, tmp_path: Path) -> None:
    kept.apply(days(1))
    kept.run("export", "--jsonl", f"{tmp_path / 'backup'}/")
    assert {file.name for file in (tmp_path / "backup").iterdir()} == {"events-2025-03.jsonl", "people.jsonl"}


def test_a_file_is_its_owners_alone_and_over_nothing_unless_forced(kept: Kept, tmp_path: Path) -> None:
    kept.apply(days(1))
    file = tmp_path / "events.csv"
    kept.run("export", "--csv", str(file))
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    again = kept.run("export", "--jsonl", str(file), check=False)
    assert (again.returncode, "--force" in again.stderr) == (1, True)
    assert file.read_bytes() == before
    kept.run("export", "--jsonl", str(file), "--force")
    assert file.read_bytes().startswith(b"{")
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == ["events.csv"]


def test_standard_output_takes_text_and_no_parquet(kept: Kept) -> None:
    kept.apply(days(2))
    words = [sys.executable, "-m", "analytics_middleware", "export", "--data-dir", str(kept.path), "--csv", "-"]
    ended = subprocess.run(words, capture_output=True, check=True, timeout=30)
    assert len(ended.stdout.decode("utf-8-sig").splitlines()) == 3
    refused = kept.run("export", "--parquet", "-", check=False)
    assert (refused.returncode, "standard output" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "--parquet, --csv or --jsonl"),
        (["--user", "ann", "--csv", "x"], "--user can be combined with --output only"),
        (["--csv", "x", "--jsonl", "y"], "not allowed with"),
        (["--csv", "/nowhere/x.csv"], "there is no directory '/nowhere'"),
        (["--csv", "events.csv.gz"], "'events.csv.gz' would not be compressed: write to - and pipe it through gzip"),
        (["--csv", "x", "--from", "2025-03-02", "--to", "2025-03-01"], "--to must be after --from"),
    ],
)
def test_what_can_not_be_done_is_said_in_a_line(kept: Kept, words: list[str], why: str) -> None:
    ended = kept.run("export", *words, check=False)
    assert ended.returncode in (1, 2)
    assert why in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\ufeff=1", " =1", "'=1", "|x", "%x", "＝1"]


def test_no_cell_is_a_formula_or_has_a_second_line(kept: Kept, tmp_path: Path) -> None:
    kept.apply([Event(event_id=f"e{n}", event_name=text, timestamp=START) for n, text in enumerate(FORMULAS)])
    kept.run("export", "--csv", str(tmp_path / "e.csv"))
    assert len((tmp_path / "e.csv").read_bytes().splitlines()) == 1 + len(FORMULAS)
    for row in read_csv(tmp_path / "e.csv"):
        assert row["event_name"].startswith(("'", "\\"))


@settings(deadline=None)
@given(st.none() | st.text() | st.sampled_from(FORMULAS))
def test_a_cell_gives_its_text_back(text: str | None) -> None:
    cell = "" if text is None else to_cell(text)
    assert from_cell(cell) == text
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert len(cell.splitlines()) <= 1


@settings(deadline=None)
@given(st.dictionaries(st.text(), st.text()))
def test_properties_in_a_cell_are_still_json(properties: dict[str, str]) -> None:
    cell = json_cell(json.dumps(properties, ensure_ascii=False))
    assert json.loads(cell) == properties
    assert len(cell.splitlines()) == 1


def test_a_month_that_can_not_be_written_leaves_nothing_of_itself(kept: Kept, tmp_path: Path) -> None:
    """The months before it are whole, and what is in its place stays."""
    kept.apply(days(40))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "events-2025-04.csv").write_text("mine")
    assert kept.run("export", "--csv", str(tmp_path / "out"), check=False).returncode == 1
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["events-2025-03.csv", "events-2025-04.csv"]
    assert (tmp_path / "out" / "events-2025-04.csv").read_text() == "mine"
    assert len(read_csv(tmp_path / "out" / "events-2025-03.csv")) == 31


@pytest.mark.parametrize("words", [("export", "--csv", "-"), ("sql", "SELECT 1"), ("import", "x")])
def test_an_application_without_a_store_says_so(shop: Shop, words: tuple[str, ...]) -> None:
    shop.record("analytics.track('a')")
    ended = shop.run(*words, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr == "analytics-middleware: this application has no store: its setting 'store' is None\n"
