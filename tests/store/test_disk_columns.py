"""Columns that one process keeps on disk for the next: copies, which may be missing, damaged, or somebody else's."""

import os
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from analytics_middleware.assembly import build_feed
from analytics_middleware.event import Erase, Event, EventType
from analytics_middleware.store import Insights

from .conftest import NOW, LoggedStore

SPAN = {"start": datetime(2025, 2, 1, tzinfo=UTC), "end": datetime(2025, 4, 1, tzinfo=UTC)}


def opened(path: Path, **options: Any) -> LoggedStore:
    return LoggedStore(path, compact=True, disk_from=0, **options)


def answers(store: LoggedStore) -> list[Any]:
    ask = Insights(store, clock=lambda: NOW)
    where = [{"field": "properties.plan", "op": "eq", "value": "pro"}]
    return [
        ask.overview(**SPAN),
        ask.trend(**SPAN),
        ask.top_values("path", **SPAN),
        ask.top_values("path", **SPAN, where=where),
        ask.top_properties("", "plan", **SPAN),
        ask.revenue(**SPAN),
    ]


def events(user: str) -> list[Event]:
    begin = datetime(2025, 2, 20, tzinfo=UTC)
    return [
        Event(
            type=EventType.PAGEVIEW,
            timestamp=begin + timedelta(hours=7 * hours),
            user_id=user,
            path=f"/{user}/{hours % 3}",
            properties={"plan": "pro" if hours % 2 else "free"},
        )
        for hours in range(40)
    ]


def written() -> None:
    """Wait until what was put on disk is there."""
    for thread in threading.enumerate():
        if thread.name == "analytics-columns":
            thread.join()


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, list[Any]]:
    """A directory of two months, whose columns a process has kept, and its answers."""
    store = opened(tmp_path)
    store.apply([*events("ann"), *events("bob")])
    found = answers(store)
    written()
    store.close()
    assert found[0].visitors == 2
    return tmp_path, found


def columns(path: Path) -> list[Path]:
    return sorted(path.glob("columns/*/*.npy"))


def test_the_next_process_answers_from_them(kept: tuple[Path, list[Any]]):
    path, expected = kept
    assert columns(path)
    assert all(each.stat().st_mode & 0o777 == 0o600 for each in columns(path))
    before = {each: each.stat().st_mtime_ns for each in columns(path)}
    store = opened(path)
    assert answers(store) == expected
    written()
    store.close()
    assert {each: each.stat().st_mtime_ns for each in columns(path)} == before


def test_values_that_have_other_codes_here_are_translated(kept: tuple[Path, list[Any]]):
    path, _ = kept
    store, memory_only = opened(path), LoggedStore(path)
    for each in (store, memory_only):
        each.compact = False
    late = Event(type=EventType.PAGEVIEW, timestamp=NOW, user_id="cy", path="/first", properties={"plan": "team"})
    memory_only.apply([late])
    assert answers(store) == answers(memory_only)
    store.close()
    memory_only.close()


@pytest.mark.parametrize("damage", ["missing", "cut", "empty", "without values", "nonsense"])
def test_what_is_damaged_is_worked_out_anew(kept: tuple[Path, list[Any]], damage: str):
    path, expected = kept
    for column in columns(path):
        match damage:
            case "missing":
                column.unlink()
            case "cut":
                os.truncate(column, column.stat().st_size - 1)
            case "empty":
                os.truncate(column, 0)
            case "without values":
                column.with_suffix(".json").unlink()
            case _:
                column.write_bytes(b"nonsense" * 100)
                column.with_suffix(".json").write_bytes(b"[1,")
    store = opened(path)
    assert answers(store) == expected
    store.close()


def test_of_somebody_who_is_erased_nothing_is_left_there(kept: tuple[Path, list[Any]]):
    path, _ = kept
    store = opened(path)
    asked = Insights(store, clock=lambda: NOW).top_values("user_id", **SPAN)
    assert [each.key for each in asked] == ["ann", "bob"]
    store.apply([Erase(user_id="ann", timestamp=NOW)])
    assert answers(store)[0].visitors == 1
    written()
    store.close()
    assert columns(path)
    for each in path.glob("columns/*/*.json"):
        assert "ann" not in each.read_text()


def test_small_stores_keep_none(tmp_path: Path):
    store = LoggedStore(tmp_path, compact=True)
    store.apply(events("ann"))
    answers(store)
    store.close()
    assert not (tmp_path / "columns").exists()


def test_who_stops_delivering_and_begins_anew_keeps_columns_all_the_same(tmp_path: Path):
    store = opened(tmp_path)
    store.apply(events("ann"))
    Insights(store, clock=lambda: NOW).overview(**SPAN)
    written()
    before = columns(tmp_path)
    feed = build_feed(store, store.outbox)
    assert feed is not None
    feed.close()
    answers(store)
    written()
    assert len(columns(tmp_path)) > len(before)
    store.close()
