"""Sealing and compaction: nothing is lost or doubled by a kill at any point, by two processes, or by files that go."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from datetime import UTC, date, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from analytics_middleware.event import Erase, Event, Identify, Visit
from analytics_middleware.outbox.base import LeaseLost
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import DuckDBStore, Insights
from analytics_middleware.store.catalogue import Conflict
from analytics_middleware.store.sealing import SealingPace
from analytics_middleware.store.segments import Segments

from .conftest import LoggedStore, seal

START = datetime(2025, 3, 1, tzinfo=UTC)
SPRING = {"start": date(2025, 1, 1), "end": date(2025, 6, 1)}


def events(count, first=0, name="a", user="ann"):
    return [
        Event(event_id=f"{name}{number}", event_name=name, timestamp=START + timedelta(hours=7 * number), user_id=user)
        for number in range(first, first + count)
    ]


def texts_in(file):
    """All texts in a Parquet file, those in its dictionaries that no row has, and its metadata."""
    read = pq.ParquetFile(file, read_dictionary=pq.read_schema(file).names).read()
    chunks = [chunk for column in read.columns for chunk in column.chunks]
    texts = [getattr(chunk, "dictionary", chunk).to_pylist() for chunk in chunks]
    return f"{texts} {read.schema.names} {read.schema.metadata}"


def ids(store):
    """The ids of all events there are, with repetitions if any."""
    return sorted(event_id for (event_id,) in store.sql("SELECT event_id FROM events").rows)


def total(store):
    return sum(point.count for point in Insights(store).volume("", **SPRING, bucket="month"))


@pytest.fixture
def store(tmp_path):
    store = LoggedStore(tmp_path)
    yield store
    store.close()


class TestPace:
    def test_events_wait_in_the_log_until_they_are_many_or_old(self, tmp_path):
        clock = [0.0]
        store = LoggedStore(tmp_path, pace=SealingPace(seal_after=60, seal_events=10))
        store.sealer._monotonic = lambda: clock[0]
        store.apply(events(5))
        store.sealer.step()
        assert 0 < store.sealer.step() <= 60
        assert store.sealer.state().segments == ()
        clock[0] = 61.0
        store.sealer.step()
        assert [segment.rows for segment in store.sealer.state().segments] == [5]
        store.apply(events(10, first=5))
        store.sealer.step()
        assert [segment.rows for segment in store.sealer.state().segments] == [5, 10]
        store.close()

    def test_hurry_seals_at_once_and_an_empty_log_is_left_alone(self, store):
        store.apply(events(1))
        assert store.sealer.step(hurry=True) == 0.0
        version = store.sealer.state().version
        store.sealer.step(hurry=True)
        store.sealer.step(hurry=True)
        assert store.sealer.state().version == version

    def test_an_erasure_is_sealed_at_once_and_files_are_rewritten_within_an_hour(self, tmp_path):
        clock = [0.0]
        store = LoggedStore(tmp_path, pace=SealingPace(tend_every=0))
        store.sealer._monotonic = lambda: clock[0]
        store.apply(events(3))
        store.maintain()
        store.apply([Erase(user_id="ann", timestamp=START + timedelta(days=9))])
        for clock[0] in (1.0, 2.0, 3600.0):
            store.sealer.step()
            assert store.sealer.state().erased > 0
            assert ids(store) == []
        clock[0] = 3602.0
        store.sealer.step()
        assert store.sealer.state().erased == 0
        assert store.sealer.state().segments == ()
        store.close()

    @pytest.mark.parametrize("why", ["erased", "old"])
    def test_no_text_of_what_is_gone_is_left_in_any_file(self, tmp_path, why):
        clock = [(START + timedelta(days=1)).timestamp()]
        store = LoggedStore(tmp_path, retention_days=30, clock=lambda: clock[0])
        gone = Event(
            event_name="canary-event",
            user_id="canary-user",
            timestamp=START,
            url="https://x.example/canary-url",
            properties={"plan": "canary-value", "canary-key": 1},
            visit=Visit(city="canary-city"),
        )
        store.apply([gone, *events(3)])
        store.maintain()
        kept = [file for file in tmp_path.rglob("month-*.parquet") if "canary" in texts_in(file)]
        assert kept, "it is there to begin with"
        if why == "erased":
            store.apply([Erase(user_id="canary-user", timestamp=START + timedelta(hours=1))])
        else:
            clock[0] += 31 * 86400.0
            store.apply([Event(event_name="later", user_id="ann", timestamp=START + timedelta(days=31))])
        store.maintain()
        clock[0] += 3600.0
        store.maintain()
        files = [file for file in tmp_path.rglob("*.parquet") if not file.name.startswith("actors-")]
        assert files
        assert [file.name for file in files if "canary" in texts_in(file)] == []
        store.close()

    def test_small_segments_are_merged_and_many_events_are_compacted(self, tmp_path):
        store = LoggedStore(tmp_path, pace=SealingPace(merge_files=4, compact_events=12, tend_every=0))
        for number in range(6):
            store.apply(events(1, first=number))
            store.sealer.step(hurry=True)
            store.sealer.step()
        assert sorted((segment.tier, segment.rows) for segment in store.sealer.state().segments) == [
            (0, 1),
            (0, 1),
            (1, 4),
        ]
        store.apply(events(6, first=6))
        store.sealer.step(hurry=True)
        store.sealer.step()
        assert [(segment.month, segment.rows) for segment in store.sealer.state().segments] == [("2025-03", 12)]
        assert total(store) == 12
        store.close()

    def test_imports_are_compacted_before_they_are_too_many_for_memory(self, tmp_path):
        outbox, other = SqliteOutbox(tmp_path), LoggedStore(tmp_path)
        store = DuckDBStore(outbox, pace=SealingPace(compact_most=30))
        for number in range(7):
            store.apply(events(10, first=10 * number))
            assert sum(segment.rows for segment in store.sealer.state().recent) == (10 * number + 10) % 30
        assert ids(store) == sorted(event.event_id for event in events(70))
        store.close()
        assert other.outbox.claim("store") is not None
        store.apply(events(40, first=70))
        assert sum(segment.rows for segment in store.sealer.state().recent) == 50, "another process compacts"
        store.close()
        outbox.close()
        other.close()


class TestSeveralProcesses:
    def test_another_process_sees_events_at_once_sealed_or_not(self, store, tmp_path):
        other = LoggedStore(tmp_path)
        store.apply(events(2))
        assert (total(store), total(other)) == (2, 2)
        seal(store)
        store.apply(events(1, first=2))
        assert (total(store), total(other)) == (3, 3)
        store.maintain()
        assert (total(store), total(other)) == (3, 3)
        other.close()

    def test_only_the_holder_of_the_lease_seals(self, store, tmp_path):
        other = LoggedStore(tmp_path)
        store.apply(events(1))
        assert store.maintain()
        assert not other.maintain()
        assert other.sealer.step(hurry=True) == 1.0
        store.sealer.close()
        assert other.maintain()
        other.close()

    def test_a_holder_that_lost_its_lease_writes_nothing(self, store, tmp_path, monkeypatch):
        store.apply(events(4))
        epoch = store.outbox.claim("store")
        with store.outbox.database.write() as connection:
            connection.execute("UPDATE consumer SET epoch = epoch + 1, holder = 'other' WHERE name = 'store'")
        with pytest.raises(LeaseLost):
            store.sealer._seal_log(epoch)
        assert store.sealer.state().segments == ()
        assert list(store.segments.directory.iterdir()) == []
        assert total(store) == 4

    def test_events_given_to_two_processes_at_once_count_once(self, store, tmp_path):
        other = LoggedStore(tmp_path)
        batch = events(50)
        threads = [threading.Thread(target=each.sealer.apply, args=(batch,)) for each in (store, other) * 2]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert total(store) == len(ids(other)) == 50
        other.close()

    def test_a_change_of_the_catalogue_meanwhile_is_noticed(self, store):
        prepared, _ = store.sealer._prepare(events(2))
        store.sealer.apply(events(1))
        with pytest.raises(Conflict), store.outbox.database.write() as connection:
            prepared.commit(connection)
        assert total(store) == 1

    @pytest.mark.filterwarnings("ignore:.*use of fork")  # which is the point
    def test_a_forked_child_asks_and_the_parent_goes_on(self, store):
        store.apply(events(3))
        assert total(store) == 3
        child = os.fork()
        if child == 0:
            store.outbox.after_fork()
            store.after_fork()
            os._exit(total(store))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
        assert total(store) == 3


class TestFiles:
    def test_a_file_that_is_gone_means_a_new_snapshot(self, store, tmp_path):
        other = LoggedStore(tmp_path)
        store.apply(events(2))
        seal(store)
        state = other.sealer.state()
        reader = other._reader
        assert total(other) == 2
        store.maintain()
        for segment in state.segments:
            store.segments.remove(segment.file)
        store.apply(events(1, first=2))
        assert total(other) == 3
        assert reader.frame().version == store.sealer.state().version
        other.close()

    def test_replaced_files_stay_for_twice_the_time_limit(self, tmp_path):
        now = [datetime.now(UTC).timestamp()]
        store = LoggedStore(tmp_path, question_timeout=30, clock=lambda: now[0])
        store.apply(events(2))
        seal(store)
        [segment] = store.sealer.state().segments
        store.maintain()
        assert store.segments.path(segment.file).exists()
        now[0] += 59
        store.maintain()
        assert store.segments.path(segment.file).exists()
        now[0] += 2
        store.maintain()
        assert not store.segments.path(segment.file).exists()
        assert total(store) == 2
        store.close()

    def test_what_somebody_left_who_died_is_deleted_after_an_hour(self, store):
        store.apply(events(1))
        store.maintain()
        old, new = store.segments.path("recent-old.parquet"), store.segments.path("recent-new.parquet.part")
        for path in (old, new):
            path.write_bytes(b"half")
        hours_ago = datetime.now().timestamp() - 4000
        os.utime(old, (hours_ago, hours_ago))
        store.apply(events(1, first=1))
        store.maintain()
        assert (old.exists(), new.exists()) == (False, True)

    def test_what_others_keep_in_the_directory_is_left_alone_and_keeps_nothing_from_being_deleted(self, store):
        store.apply(events(1))
        store.maintain()
        others = [store.segments.path("lost+found"), store.segments.path("README.txt")]
        others[0].mkdir()
        others[1].touch()
        ours = store.segments.path("recent-old.parquet")
        ours.write_bytes(b"half")
        hours_ago = datetime.now().timestamp() - 4000
        for path in (*others, ours):
            os.utime(path, (hours_ago, hours_ago))
        store.maintain()
        assert all(path.exists() for path in others)
        assert not ours.exists()

    def test_a_write_that_fails_leaves_nothing(self, store, monkeypatch):
        store.apply(events(3))

        def full(*args, **kwargs):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patched:
            patched.setattr("analytics_middleware.store.segments.os.fsync", full)
            with pytest.raises(OSError, match="No space"):
                seal(store)
        assert list(store.segments.directory.iterdir()) == []
        assert total(store) == 3
        assert store.maintain()
        assert total(store) == len(ids(store)) == 3

    def test_files_are_for_the_owner_only(self, store):
        store.apply(events(1))
        store.maintain()
        assert {path.stat().st_mode & 0o777 for path in store.segments.directory.iterdir()} == {0o600}
        assert store.segments.directory.stat().st_mode & 0o777 == 0o700

    def test_the_log_is_pruned_once_events_are_sealed(self, store):
        store.apply(events(3))
        store.maintain()
        store.outbox.tick(["store"])
        with store.outbox.database.read() as connection:
            assert connection.execute("SELECT count(*) FROM log").fetchone() == (0,)
        assert total(store) == 3


# Names of functions after, and before, which the process is killed; each is somewhere else in sealing or compaction.
KILLS = {
    "a segment's file was written": "analytics_middleware.store.segments:Segments._write",
    "the catalogue was changed, not committed": "analytics_middleware.store.catalogue:advance",
    "segments were entered, not committed": "analytics_middleware.store.catalogue:add_segments",
    "replaced segments were taken out, not committed": "analytics_middleware.store.catalogue:discard",
    "the transaction was committed": "analytics_middleware.outbox.sqlite:SqliteOutbox.settle",
    "garbage was read": "analytics_middleware.store.catalogue:read_garbage",
    "a file was deleted": "analytics_middleware.store.segments:Segments.remove",
}
KILLED = """
import importlib, os, signal, sys
from pathlib import Path
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import DuckDBStore
module, name = {where!r}.split(":")
owner = importlib.import_module(module)
*path, name = name.split(".")
for part in path:
    owner = getattr(owner, part)
original, calls = getattr(owner, name), [0]
def killed(*args, **kwargs):
    answer = original(*args, **kwargs)
    calls[0] += 1
    if calls[0] == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return answer
setattr(owner, name, killed)
store = DuckDBStore(SqliteOutbox(Path({directory!r})), question_timeout=0.0)
while store.sealer.step(hurry=True) == 0.0:
    pass
store.maintain()
store.maintain()
"""


@pytest.mark.parametrize("call", [1, 2])
@pytest.mark.parametrize("where", KILLS.values(), ids=KILLS)
def test_a_kill_at_any_point_loses_and_doubles_nothing(tmp_path, where, call):
    """Killed (-9) while sealing, compacting or deleting; the next process goes on from there."""
    store = LoggedStore(tmp_path)
    store.apply([*events(8), *events(4, name="b", user=None), Identify(user_id="ann", traits={"plan": "pro"})])
    seal(store)
    store.apply(events(8, first=6))  # two of them again
    expected = sorted([f"a{number}" for number in range(14)] + [f"b{number}" for number in range(4)])
    assert ids(store) == expected
    store.close()
    script = KILLED.format(where=where, call=call, directory=str(tmp_path))
    done = subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    assert done.returncode in (0, -signal.SIGKILL)
    after = LoggedStore(tmp_path)
    # The dead process's lease would end by itself; waiting for it is no part of this.
    with after.outbox.database.write() as connection:
        connection.execute("UPDATE consumer SET holder = '', lease_until = 0")
    for _ in range(2):
        assert ids(after) == expected
        assert total(after) == 18
        assert Insights(after).traits("ann") == {"plan": "pro"}
        assert Insights(after).active_users(**SPRING).count == 1
        after.apply(events(2, first=3))
        assert after.maintain()
    known = {segment.file for segment in after.sealer.state().segments}
    assert {path.name for path in after.segments.directory.glob("month-*.parquet")} >= known
    after.close()


def test_a_data_directory_that_is_copied_while_in_use_answers_the_same(store, tmp_path):
    """Files never change and the catalogue is one transaction, so a copy taken catalogue first is whole."""
    store.apply(events(5))
    store.maintain()
    copy = tmp_path / "copy"
    shutil.copytree(tmp_path, copy, ignore=shutil.ignore_patterns("copy"))
    other = LoggedStore(copy)
    assert ids(other) == ids(store)
    other.close()


def test_a_part_of_a_file_has_only_the_texts_of_its_own_rows(tmp_path):
    """Or a file of many different texts, such as URLs, would be as many times as large as it has parts."""
    count = 40_000
    texts = [f"/{number % (count - 5):08}" if number % 7 else None for number in range(count)]
    segments = Segments(tmp_path)
    file = segments.write("recent", [pa.table({"url": pa.array(texts, pa.string()).dictionary_encode()})])
    metadata = pq.read_metadata(segments.path(file))
    assert metadata.num_row_groups == 3
    parts = [metadata.row_group(index) for index in range(3)]
    assert all(part.column(0).total_uncompressed_size < 20 * part.num_rows for part in parts)
    assert segments.open(file).read().column("url").to_pylist() == texts
