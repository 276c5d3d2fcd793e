"""``tail``: every event, as it comes, beside whoever delivers it."""

import json
import signal
import sqlite3
import subprocess

import pytest

from .conftest import Shop


def until(process: "subprocess.Popen[str]", count: int) -> list[str]:
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    while len(lines) < count:
        line = process.stdout.readline()
        assert line, process.stderr.read()
        lines.append(line.rstrip("\n"))
    return lines


def waiting(process: "subprocess.Popen[str]") -> None:
    assert process.stderr is not None
    assert process.stderr.readline().startswith("Waiting for events")


def test_it_misses_nothing_although_delivered_events_leave_the_log(shop: Shop) -> None:
    """The collectors are up: an event may be pruned within a moment of being written."""
    shop.record("analytics.track('before')")
    with shop.start("tail", "--json") as process:
        waiting(process)
        for turn in range(2):
            shop.record(f"for n in range(1200): analytics.track('n', {{'n': {turn} * 1200 + n}})")
        seen = [json.loads(line)["properties"]["n"] for line in until(process, 2400)]
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    assert seen == list(range(2400))
    assert shop.status()["collectors"]["other"]["delivered"] == 2401


def test_it_prints_lines_for_people_and_no_control_characters(shop: Shop) -> None:
    shop.record("analytics.track('before')")
    with shop.start("tail", "--data-dir", str(shop.data)) as process:
        waiting(process)
        shop.record(
            "analytics.track('bell\\x07\\n', user_id='ann'); analytics.identify('ann\\x1b[2J', {'plan': 'pro'})"
        )
        event, identified = until(process, 2)
        process.send_signal(signal.SIGINT)
    assert "custom" in event
    assert "user=ann" in event
    assert "identify" in identified
    assert "\x07" not in event
    assert "\x1b" not in identified


def test_what_is_still_in_the_log_can_be_looked_at(shop: Shop) -> None:
    shop.mode("vendor", "down")
    shop.record("for n in range(3): analytics.track('kept', {'n': n})", flush=0.5)
    lines = shop.run("tail", "--no-follow", "--json").stdout.splitlines()
    assert [json.loads(line)["properties"]["n"] for line in lines] == [0, 1, 2]
    assert shop.run("tail", "--no-follow", "--since", "2999-01-01").stdout == ""
    assert len(shop.run("tail", "--no-follow", "--since", "1h").stdout.splitlines()) == 3


def test_a_damaged_record_is_told_of_and_hides_no_other(shop: Shop) -> None:
    shop.mode("vendor", "down")
    shop.record("analytics.identify('ann'); analytics.track('kept')", flush=0.5)
    connection = sqlite3.connect(shop.data / "analytics.sqlite3")
    connection.execute("UPDATE log SET payload = CAST(replace(payload, 'ann', x'ff') AS BLOB) WHERE kind = 'identify'")
    connection.commit()
    connection.close()
    found = shop.run("tail", "--no-follow")
    assert "written by another version" in found.stderr
    assert "kept" in found.stdout


def test_a_tail_that_was_killed_holds_the_log_for_seconds_only(shop: Shop) -> None:
    shop.record("analytics.track('before')")
    with shop.start("tail") as process:
        waiting(process)
        process.kill()
    connection = sqlite3.connect(shop.data / "analytics.sqlite3")
    [(left,)] = connection.execute("SELECT until - unixepoch() FROM reader").fetchall()
    connection.close()
    assert left <= 11


def test_nonsense_for_a_time_is_refused_in_one_line(shop: Shop) -> None:
    ended = shop.run("tail", "--since", "yesterday", check=False)
    assert ended.returncode == 2
    assert "'yesterday' is neither a time ago" in ended.stderr


@pytest.mark.parametrize("when", ["9999999w", f"{10**20}d", f"{10**400}s", "0001-01-01T00:00:00+14:00"])
def test_a_time_before_all_calendars_is_refused_in_one_line(shop: Shop, when: str) -> None:
    ended = shop.run("tail", "--since", when, check=False)
    assert ended.returncode == 2
    assert f"argument --since: {when!r:.100} lies outside of the years 1 to 9999" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
