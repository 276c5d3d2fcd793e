"""Events in a file: whole lines or none, rotated, found again after somebody renamed it."""

import errno
import json
import os
import stat
from pathlib import Path

import pytest
from destinations.delivering import Delivery
from destinations.vendor import numbered

from analytics_middleware.collectors import JSONLinesCollector


def lines(path: Path) -> list[str]:
    return [json.loads(line)["path"] for line in path.read_text().splitlines()]


def test_each_event_is_a_line(tmp_path: Path) -> None:
    """In a file for its owner alone, in a directory that is made."""
    path = tmp_path / "logs" / "events.jsonl"
    delivery = Delivery(JSONLinesCollector(path))
    events = [numbered(index) for index in range(3)]
    delivery.put(*events)
    assert delivery.finish().delivered == 3
    delivery.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [event.to_dict() for event in events]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_grows_too_large_is_rotated(tmp_path: Path) -> None:
    """The newest old file is .1; of old ones so many are kept as were asked for; no event is split or lost."""
    path = tmp_path / "events.jsonl"
    collector = JSONLinesCollector(path, max_bytes=2500, keep=2)
    collector.start()
    for index in range(12):
        collector.collect(numbered(index))
        collector.flush()
    collector.close()
    names = sorted(each.name for each in tmp_path.iterdir())
    assert names == ["events.jsonl", "events.jsonl.1", "events.jsonl.2"]
    kept = [*lines(tmp_path / "events.jsonl.2"), *lines(tmp_path / "events.jsonl.1"), *lines(path)]
    assert kept == [f"/p/{index}" for index in range(12 - len(kept), 12)]
    assert path.stat().st_size <= 2500


def test_a_file_that_somebody_renamed_is_made_anew(tmp_path: Path) -> None:
    """As logrotate does it."""
    path = tmp_path / "events.jsonl"
    collector = JSONLinesCollector(path)
    collector.start()
    collector.collect(numbered(0))
    collector.flush()
    path.rename(tmp_path / "old")
    collector.collect(numbered(1))
    collector.flush()
    collector.close()
    assert (lines(tmp_path / "old"), lines(path)) == (["/p/0"], ["/p/1"])


def test_a_part_of_a_line_is_left_alone(tmp_path: Path) -> None:
    """What a killed process left at the end spoils no event that comes after it."""
    path = tmp_path / "events.jsonl"
    whole = numbered(0).encode() + b"\n"
    path.write_bytes(whole + b'{"event_id": "torn')
    collector = JSONLinesCollector(path)
    collector.start()
    for index in (1, 2):
        collector.collect(numbered(index))
        collector.flush()
    collector.close()
    first, torn, *rest = path.read_bytes().splitlines()
    assert (first + b"\n", torn) == (whole, b'{"event_id": "torn')
    assert [json.loads(line)["path"] for line in rest] == ["/p/1", "/p/2"]


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was written of a batch is taken back; the events wait and are written once, later."""
    path = tmp_path / "events.jsonl"
    delivery = Delivery(JSONLinesCollector(path))
    delivery.put(numbered(0))
    delivery.finish()
    full = True
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    delivery.put(numbered(1), numbered(2))
    delivery.step()
    assert delivery.stats.pending == 2
    assert lines(path) == ["/p/0"]
    full = False
    delivery.finish()
    delivery.close()
    assert lines(path) == ["/p/0", "/p/1", "/p/2"]
