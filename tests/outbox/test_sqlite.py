"""The log on disk: who may read it, who may write it, and what it survives."""

import errno
import fcntl
import json
import os
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from analytics_middleware import Analytics
from analytics_middleware.counters import Counters
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.outbox import database as database_module
from analytics_middleware.outbox import leases, schema
from analytics_middleware.outbox.base import DeadLetter, Draft, LeaseLost, Retry, Settlement
from analytics_middleware.outbox.file_system import file_system, refuse_network_file_system
from analytics_middleware.outbox.limits import RETIRED_AFTER
from analytics_middleware.outbox.schema import IncompatibleDatabaseError
from analytics_middleware.outbox.spill import Spill
from analytics_middleware.outbox.sqlite import SqliteOutbox

FAR = 10**9
DAY = 86400.0


def drafts(first, last, **options):
    return [draft(str(number), **options) for number in range(first, last + 1)]


def draft(name, payload=b'{"a":1}', private=None):
    return Draft("event", name, 1000.0, payload, private)


def names(entries):
    return [entry.record_id for entry in entries]


class Time:
    """Both clocks of a host, which its processes share."""

    def __init__(self):
        self.wall = 1_000_000.0
        self.steady = 50.0

    def pass_(self, seconds):
        self.wall += seconds
        self.steady += seconds


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def make(tmp_path, time):
    """Makes outboxes over one directory; each is like a process of its own."""
    made = []

    def make(**options):
        made.append(
            SqliteOutbox(tmp_path / "data", clock=lambda: time.wall, monotonic=lambda: time.steady, **options),
        )
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def outbox(make):
    outbox = make()
    outbox.register("a")
    return outbox


def look(outbox, consumer="a"):
    stats = outbox.stats().consumers[consumer]
    assert stats.accepted == stats.delivered + sum(stats.dropped.values()) + stats.dead + stats.pending
    return stats


def deliver(outbox, consumer="a", limit=100):
    entries = outbox.read(consumer, limit, FAR)
    if entries:
        settlement = Settlement(cursor=entries[-1].seq, delivered=len(entries))
        outbox.settle(consumer, outbox.claim(consumer), settlement)
    return names(entries)


def run(code, *arguments, timeout=60):
    """Run *code* in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# The file.


def test_only_the_owner_may_read_what_is_kept(outbox, tmp_path):
    outbox.append(drafts(1, 3), {})
    directory = tmp_path / "data"
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
    assert {"analytics.sqlite3", "analytics.sqlite3-wal", "analytics.sqlite3-shm", "analytics.lock"} <= files.keys()
    assert set(files.values()) == {0o600}


def test_what_is_appended_is_synced_to_the_disk_through_a_write_ahead_log(outbox):
    with outbox.database.write() as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        # Checkpoints happen under the lock between processes, or SQLite's WAL-reset bug could strike.
        assert connection.execute("PRAGMA wal_autocheckpoint").fetchone() == (0,)
        assert connection.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_nothing_is_opened_before_it_is_used(make, tmp_path):
    make()
    assert not (tmp_path / "data").exists()


def test_the_write_ahead_log_is_written_back_when_it_is_long(outbox, tmp_path):
    wal = tmp_path / "data" / "analytics.sqlite3-wal"
    longest = 0
    for _ in range(100):
        outbox.append(drafts(1, 100, payload=b"x" * 1000), {})
        longest = max(longest, wal.stat().st_size)
    assert longest < 3 * database_module._WAL_LIMIT


def test_a_reader_in_the_way_does_not_hold_up_every_write(outbox, make, tmp_path):
    """The log grows meanwhile and is written back once the reader has gone."""
    other = make()
    wal = tmp_path / "data" / "analytics.sqlite3-wal"
    big = drafts(1, 100, payload=b"x" * 20_000)
    outbox.append(drafts(1, 1), {})
    with other.database.read() as connection:
        connection.execute("SELECT count(*) FROM log").fetchone()
        for _ in range(6):
            outbox.append(big, {})
        assert wal.stat().st_size > 2 * database_module._WAL_LIMIT
    for _ in range(12):
        outbox.append(big, {})
    assert wal.stat().st_size < 2 * database_module._WAL_LIMIT
    assert look(outbox).pending == 1801


def test_an_error_while_the_log_is_written_back_is_no_failed_write(outbox, monkeypatch):
    """It is committed: whoever took it for failed would write it again."""
    asked = []

    def deny(action, name, *_):
        if action == sqlite3.SQLITE_PRAGMA and name == "wal_checkpoint":
            asked.append(name)
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    monkeypatch.setattr(outbox.database, "_wal_limit", 0)
    outbox.database._durable_writer().set_authorizer(deny)
    outbox.append(drafts(1, 2), {})
    assert asked
    assert look(outbox).pending == 2


# Many processes.

WRITING = """
    import sys
    from pathlib import Path
    from analytics_middleware.outbox.base import Draft
    from analytics_middleware.outbox.sqlite import SqliteOutbox
    outbox = SqliteOutbox(Path(sys.argv[1]))
    sys.stdin.readline()
    for group in range(60):
        size = 1 + group % 29
        drafts = [Draft("event", f"{sys.argv[2]}-{group}-{each}", 1.0, b"{}") for each in range(size)]
        outbox.append(drafts, {"late_helper": 1})
        if group % 7 == 0:
            outbox.tick(["a"])
    outbox.close()
"""


def test_four_processes_write_at_once_while_one_delivers_and_the_counts_are_exact(make, tmp_path):
    outbox = make()
    outbox.register("a")
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(WRITING), str(tmp_path / "data"), str(number)],
            stdin=subprocess.PIPE,
            text=True,
        )
        for number in range(4)
    ]
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.close()
    got = []
    while any(process.poll() is None for process in processes):
        got += deliver(outbox)
    while batch := deliver(outbox):
        got += batch
    assert [process.wait(10) for process in processes] == [0] * 4
    expected = [f"{n}-{group}-{each}" for n in range(4) for group in range(60) for each in range(1 + group % 29)]
    assert sorted(got) == sorted(expected)
    for number in range(4):
        own = [tuple(map(int, name.split("-"))) for name in got if name.startswith(f"{number}-")]
        assert own == sorted(own)
    assert look(outbox).delivered == len(expected)
    assert outbox.stats().counts == {"accepted": len(expected), "late_helper": 240}
    assert check_integrity(outbox)


def check_integrity(outbox):
    with outbox.database.read() as connection:
        return connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# Leases.


def test_one_process_at_a_time_delivers_for_a_consumer(make):
    one, two = make(), make()
    assert one.claim("a") is not None
    assert two.claim("a") is None
    assert two.claim("b") is not None
    assert one.claim("b") is None


def test_a_lease_that_is_renewed_never_ends(make, time):
    one, two = make(), make()
    epoch = one.claim("a")
    for _ in range(100):
        time.pass_(1.0)
        one.tick(["a"])
        assert two.claim("a") is None
    assert one.claim("a") == epoch


def test_appending_renews_the_lease_too(make, time):
    one, two = make(), make()
    one.claim("a")
    for _ in range(20):
        time.pass_(3.0)
        one.append(drafts(1, 1), {})
        assert two.claim("a") is None


def test_another_process_takes_over_within_ten_seconds_of_a_death(make, time):
    one, two = make(), make()
    epoch = one.claim("a")
    waited = 0.0
    while (successor := two.claim("a")) is None:
        time.pass_(1.0)
        waited += 1.0
        assert waited < 10.0
    assert successor == epoch + 1


def test_a_holder_that_was_paused_can_not_move_the_cursor(make, time):
    one, two = make(), make()
    one.register("a")
    one.append(drafts(1, 4), {})
    paused = one.read("a", 2, FAR)
    epoch = one.claim("a")
    time.pass_(60.0)
    assert deliver(two) == ["1", "2", "3", "4"]
    with pytest.raises(LeaseLost):
        one.settle("a", epoch, Settlement(cursor=paused[-1].seq, delivered=2))
    assert look(one).delivered == 4
    assert one.claim("a") is None


def test_a_paused_holder_that_nobody_replaced_goes_on(make, time):
    one = make()
    one.register("a")
    one.append(drafts(1, 2), {})
    batch = one.read("a", 10, FAR)
    epoch = one.claim("a")
    time.pass_(3600.0)
    one.settle("a", epoch, Settlement(cursor=batch[-1].seq, delivered=2))
    assert one.claim("a") == epoch


def test_a_lease_given_up_is_free_at_once(make):
    one, two = make(), make()
    one.claim("a")
    one.release("a")
    assert two.claim("a") is not None


def test_the_epoch_grows_with_each_new_holder(make, time):
    epochs = []
    for _ in range(4):
        epochs.append(make().claim("a"))
        time.pass_(20.0)
    assert epochs == sorted(set(epochs))


def test_a_lease_from_before_a_restart_of_the_host_holds_nobody_up(make, monkeypatch):
    """Its end is in the future by the clock of a boot that is over."""
    monkeypatch.setattr(leases, "_boot_id", lambda: "the boot before")
    make().claim("a")
    monkeypatch.undo()
    assert make().claim("a") is not None


def test_a_lease_that_ends_too_late_is_no_lease(make, time):
    """Where the system has no boot id: no lease can end further away than one lasts."""
    time.steady = 10_000.0
    make().claim("a")
    time.steady = 5.0
    assert make().claim("a") is not None


@pytest.mark.parametrize("jump", [-10 * 365 * DAY, -3600.0, 3600.0, 10 * 365 * DAY])
def test_a_clock_that_is_set_changes_no_lease(make, time, jump):
    one, two = make(), make()
    epoch = one.claim("a")
    time.wall += jump
    assert two.claim("a") is None
    one.tick(["a"])
    time.steady += 3.0
    assert one.claim("a") == epoch


def test_waiting_for_a_lease_writes_nothing(make, tmp_path):
    one, two = make(), make()
    one.claim("a")
    two.claim("a")
    before = (tmp_path / "data" / "analytics.sqlite3-wal").stat().st_size
    for _ in range(50):
        assert two.claim("a") is None
    assert (tmp_path / "data" / "analytics.sqlite3-wal").stat().st_size == before


# What is kept, and for how long.


def rows(outbox, what="count(*)"):
    with outbox.database.read() as connection:
        return connection.execute(f"SELECT {what} FROM log").fetchone()[0]


def test_what_all_consumers_have_passed_is_deleted(make, time):
    outbox = make()
    outbox.register("a")
    outbox.register("b")
    outbox.append(drafts(1, 10), {})
    deliver(outbox, "a")
    deliver(outbox, "b", limit=4)
    time.pass_(2.0)
    outbox.tick(["a", "b"])
    assert rows(outbox) == 6
    deliver(outbox, "b")
    time.pass_(2.0)
    outbox.tick(["a", "b"])
    assert rows(outbox) == 0


def test_without_any_consumer_nothing_is_kept(make, time):
    outbox = make()
    outbox.append(drafts(1, 10), {})
    time.pass_(2.0)
    outbox.tick([])
    assert rows(outbox) == 0


def test_deleting_keeps_up_with_delivery_at_any_rate(make):
    """In small transactions, but as many as it takes, though no time passes."""
    outbox = make()
    outbox.register("a")
    for _ in range(30):
        outbox.append(drafts(1, 500), {})
    outbox.tick(["a"])
    while deliver(outbox, limit=500):
        pass
    outbox.tick(["a"])
    for _ in range(10):
        outbox.append([], {})
    assert rows(outbox) < 500


def test_more_bytes_than_are_kept_cost_the_oldest_events_a_tenth_at_a_time(make, time):
    outbox = make(max_bytes=4_000_000)
    outbox.register("a")
    for _ in range(60):
        outbox.append(drafts(1, 100, payload=b"x" * 1000), {})
        time.pass_(1.0)
        outbox.tick(["a"])
    stats = look(outbox)
    assert stats.dropped["overflow"] == 6000 - stats.pending
    assert 4_000_000 * 0.7 < stats.pending * 1000 < 4_000_000
    assert outbox.stats().bytes_in_use < 4_500_000


@pytest.mark.parametrize("outcome", ["delivered", "dead", "retried", "destination down"])
def test_retries_that_are_dropped_for_bytes_while_they_are_sent_are_counted_once(make, outcome):
    outbox, other = make(), make(max_bytes=400_000)
    outbox.register("a")
    outbox.append(drafts(1, 40, payload=b"x" * 20_000), {})
    batch = outbox.read("a", 100, FAR)
    waiting = [Retry(entry, 1.0, "x") for entry in batch]
    outbox.settle("a", outbox.claim("a"), Settlement(cursor=batch[-1].seq, retries=waiting))
    sending = outbox.due("a", 1.0, 100)
    other.tick(["a"])
    assert look(outbox).dropped["overflow"] == 4
    again = [Retry(entry, 9.0, "x") for entry in sending]
    settlement = {
        "delivered": Settlement(settled=sending, delivered=len(sending)),
        "dead": Settlement(settled=sending, dead=[DeadLetter(entry, "x") for entry in sending]),
        "retried": Settlement(settled=sending, retries=again),
        "destination down": Settlement(retries=again),
    }[outcome]
    outbox.settle("a", outbox.claim("a"), settlement)
    stats = look(outbox)
    assert (stats.delivered, stats.dead, stats.pending) == {
        "delivered": (40, 0, 0),
        "dead": (0, 40, 0),
    }.get(outcome, (0, 0, 40))
    assert stats.dropped["overflow"] == 0


def test_a_database_that_is_full_of_other_things_moves_no_cursor_beyond_the_log(make, time):
    outbox = make(max_bytes=1_000_000)
    outbox.register("a")
    outbox.append(drafts(1, 50, payload=b"x" * 50_000), {})
    batch = outbox.read("a", 100, FAR)
    dead = [DeadLetter(entry, "refused") for entry in batch]
    outbox.settle("a", outbox.claim("a"), Settlement(cursor=batch[-1].seq, dead=dead))
    for _ in range(5):
        time.pass_(2.0)
        outbox.tick(["a"])
    outbox.append([draft("next")], {})
    assert deliver(outbox) == ["next"]
    assert look(outbox).dead == len(batch)


def test_dead_letters_are_bounded_and_their_count_is_not(make, monkeypatch):
    monkeypatch.setattr("analytics_middleware.outbox.settling._DEAD_KEPT", 5)
    outbox = make()
    outbox.register("a")
    for start in range(0, 12, 3):
        outbox.append(drafts(start, start + 2), {})
        batch = outbox.read("a", 10, FAR)
        dead = [DeadLetter(entry, "refused") for entry in batch]
        outbox.settle("a", outbox.claim("a"), Settlement(cursor=batch[-1].seq, dead=dead))
    with outbox.database.read() as connection:
        kept = [name for (name,) in connection.execute("SELECT record_id FROM dead ORDER BY id")]
    assert kept == ["7", "8", "9", "10", "11"]
    assert look(outbox).dead == 12


def test_private_facts_are_cleared_when_their_readers_have_passed(make, time):
    outbox = make()
    outbox.register("a", reads_private=True)
    outbox.register("b")
    outbox.append(drafts(1, 3, private=b"203.0.113.7-secret"), {})
    time.pass_(2.0)
    outbox.tick(["a", "b"])
    assert {entry.private for entry in outbox.read("a", 10, FAR)} == {b"203.0.113.7-secret"}
    deliver(outbox, "a", limit=2)
    time.pass_(2.0)
    outbox.tick(["a", "b"])
    assert [entry.private for entry in outbox.read("b", 10, FAR)] == [None, None, b"203.0.113.7-secret"]
    deliver(outbox, "a")
    time.pass_(2.0)
    outbox.tick(["a", "b"])
    assert [entry.private for entry in outbox.read("b", 10, FAR)] == [None, None, None]


def test_private_facts_that_nobody_reads_are_cleared_at_once(make, time):
    outbox = make()
    outbox.register("b")
    for _ in range(3):
        outbox.append(drafts(1, 2, private=b"203.0.113.7-secret"), {})
        time.pass_(2.0)
        outbox.tick(["b"])
    assert {entry.private for entry in outbox.read("b", 10, FAR)} == {None}


def test_what_is_cleared_is_gone_from_every_file_once_the_log_is_written_back(make, time, tmp_path):
    outbox = make()
    outbox.register("a", reads_private=True)
    outbox.register("b")
    outbox.append(drafts(1, 100, private=b"203.0.113.7-secret" * 20), {})
    deliver(outbox, "a")
    time.pass_(2.0)
    outbox.tick(["a", "b"])
    assert outbox.database.truncate()
    # In another process: one that closes a file loses the locks that SQLite holds on it there.
    found = run(
        """
        import sys
        from pathlib import Path
        print([path.name for path in Path(sys.argv[1]).iterdir() if b"203.0.113.7-secret" in path.read_bytes()])
        """,
        tmp_path / "data",
    )
    assert found == "[]\n"


def test_a_consumer_that_nobody_configures_is_retired_after_a_week_and_counted(make, time):
    outbox = make()
    outbox.register("gone")
    outbox.register("stays")
    outbox.append(drafts(1, 5), {})
    [one, two] = outbox.read("gone", 2, FAR)
    outbox.settle("gone", outbox.claim("gone"), Settlement(cursor=two.seq, delivered=1, retries=[Retry(one, 0, "x")]))
    outbox.release("gone")
    for _ in range(6):
        time.pass_(DAY)
        outbox.tick(["stays"])
    assert look(outbox, "gone").pending == 4
    time.pass_(RETIRED_AFTER - 6 * DAY + 1)
    outbox.tick(["stays"])
    assert list(outbox.stats().consumers) == ["stays"]
    assert outbox.stats().counts["dropped.retired"] == 4
    outbox.register("gone")
    outbox.append(drafts(6, 6), {})
    assert deliver(outbox, "gone") == ["6"]
    assert look(outbox, "gone").accepted == 1


def test_a_clock_that_jumps_a_week_retires_nobody_who_is_delivering(make, time):
    one, two = make(), make()
    one.claim("a")
    one.append(drafts(1, 3), {})
    two.claim("b")
    time.wall += 30 * DAY
    two.tick(["b"])
    assert look(one, "a").pending == 3


def test_a_consumer_that_was_retired_while_nobody_looked_starts_anew(make, time):
    one, two = make(), make()
    one.claim("a")
    time.pass_(RETIRED_AFTER + 60.0)
    two.tick(["b"])
    assert "a" not in two.stats().consumers
    while one.claim("a") is None:
        pass
    one.append(drafts(1, 1), {})
    assert deliver(one) == ["1"]


# Versions.


def tables(connection):
    return set(connection.execute("SELECT type, name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'"))


@pytest.mark.parametrize("version", range(len(schema._STEPS)))
def test_a_database_of_every_version_becomes_todays_and_keeps_its_rows(version):
    def at(steps):
        connection = sqlite3.connect(":memory:", isolation_level=None)
        for step in schema._STEPS[:steps]:
            for statement in step:
                connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {steps}")
        return connection

    old, new = at(version), at(len(schema._STEPS))
    if version:
        old.execute("INSERT INTO log (kind, record_id, timestamp, payload) VALUES ('event', 'kept', 1.0, x'00')")
    schema.migrate(old)
    schema.migrate(old)
    assert tables(old) == tables(new)
    assert old.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    assert old.execute("SELECT record_id FROM log").fetchall() == ([("kept",)] if version else [])


def test_a_step_that_fails_leaves_the_database_as_it_was(monkeypatch):
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection)
    before = tables(connection)
    monkeypatch.setattr(schema, "_STEPS", (*schema._STEPS, ("CREATE TABLE half (x)", "NONSENSE")))
    monkeypatch.setattr(schema, "VERSION", schema.VERSION + 1)
    with pytest.raises(sqlite3.OperationalError):
        schema.migrate(connection)
    assert tables(connection) == before


def newer(directory, version, reader):
    with sqlite3.connect(directory / "analytics.sqlite3") as connection:
        connection.execute(f"PRAGMA user_version = {version}")
        connection.execute("UPDATE meta SET value = ? WHERE key = 'reader_version'", (reader,))
    connection.close()


def test_two_versions_work_side_by_side_during_a_rolling_deploy(make, tmp_path):
    one = make()
    one.register("a")
    one.close()
    newer(tmp_path / "data", schema.VERSION + 1, schema.VERSION)
    one.append(drafts(1, 1), {})
    assert deliver(make()) == ["1"]


def test_a_database_that_asks_for_a_newer_release_is_refused_and_says_so(make, tmp_path):
    one = make()
    one.register("a")
    one.close()
    newer(tmp_path / "data", schema.VERSION + 7, schema.VERSION + 5)
    with pytest.raises(IncompatibleDatabaseError, match=rf"asks for at least {schema.VERSION + 5}; this release knows"):
        make().append(drafts(1, 1), {})


# Where it may be.

MOUNTS = r"""
/dev/vda / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
nas:/export /mnt/nas nfs4 rw 0 0
/dev/vdb /mnt/nas/local ext4 rw 0 0
//nas/share /mnt/with\040space cifs rw 0 0
host:/ /srv/over fuse.sshfs rw 0 0
""".lstrip()


@pytest.fixture
def mounts(monkeypatch):
    read_text = Path.read_text

    def read(path, *arguments, **options):
        return MOUNTS if str(path) == "/proc/self/mounts" else read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", read)


@pytest.mark.parametrize(
    ("directory", "kind"),
    [
        ("/var/lib/shop", "ext4"),
        ("/", "ext4"),
        ("/run/shop", "tmpfs"),
        ("/running/shop", "ext4"),
        ("/mnt/nas", "nfs4"),
        ("/mnt/nas/shop/analytics", "nfs4"),
        ("/mnt/nas/local/shop", "ext4"),
        ("/mnt/nasty", "ext4"),
        ("/mnt/with space/shop", "cifs"),
        ("/srv/over/there", "fuse.sshfs"),
    ],
)
def test_the_file_system_is_that_of_the_innermost_mount(mounts, directory, kind):
    assert file_system(Path(directory)) == kind


@pytest.mark.parametrize("directory", ["/mnt/nas/shop", "/mnt/with space/x", "/srv/over/x"])
def test_a_network_file_system_is_refused_with_its_name(mounts, directory):
    with pytest.raises(ConfigurationError, match=f"{directory}.*network file system (nfs4|cifs|fuse.sshfs)"):
        Analytics(data_dir=directory, store=None)


def test_a_local_file_system_is_not_refused(mounts):
    refuse_network_file_system(Path("/mnt/nas/local/shop"))


def test_a_system_that_tells_no_mounts_is_trusted(monkeypatch):
    monkeypatch.setattr(Path, "read_text", lambda *_: (_ for _ in ()).throw(FileNotFoundError))
    assert file_system(Path("/srv")) is None
    refuse_network_file_system(Path("/srv"))


# A disk that can't be written.


@pytest.fixture
def counters():
    return Counters()


def test_a_directory_that_can_not_be_used_is_said_once_and_recovers_with_nothing_lost_or_doubled(
    make, tmp_path, time, counters, caplog
):
    outbox = make()
    spill = Spill(outbox, {"a": False}, counters, limit=50, monotonic=lambda: time.steady)
    in_the_way = tmp_path / "data"
    in_the_way.write_text("a file where the directory should be")
    for number in range(10):
        assert spill.write(drafts(number, number)) is None
        time.pass_(1.0)
    assert spill.waiting == 10
    assert counters.peek() == {}
    in_the_way.unlink()
    assert spill.write(drafts(10, 10)) is not None
    assert spill.waiting == 0
    assert deliver(outbox) == [str(number) for number in range(11)]
    assert look(outbox).delivered == 11
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]


def test_what_exceeds_the_memory_is_dropped_the_oldest_first_and_counted(make, tmp_path, time, counters):
    outbox = make()
    spill = Spill(outbox, {"a": False}, counters, limit=5, monotonic=lambda: time.steady)
    in_the_way = tmp_path / "data"
    in_the_way.write_text("")
    for number in range(12):
        spill.write(drafts(number, number))
        time.pass_(0.2)
    assert counters.peek() == {"dropped.overflow_memory": 7}
    in_the_way.unlink()
    spill.write((), now=True)
    assert deliver(outbox) == ["7", "8", "9", "10", "11"]
    assert outbox.stats().counts == {"accepted": 5, "dropped.overflow_memory": 7}


def test_a_disk_that_fails_is_not_tried_with_every_group(time, counters):
    class Failing:
        tries = 0

        def register(self, *_, **__):
            self.tries += 1
            raise OSError(28, "No space left on device")

    outbox = Failing()
    spill = Spill(outbox, {"a": False}, counters, limit=1000, monotonic=lambda: time.steady)
    for number in range(100):
        spill.write(drafts(number, number))
        time.pass_(0.01)
    assert 1 <= outbox.tries <= 3
    assert spill.waiting == 100


FULL = """
    import json, logging, resource, sys
    from analytics_middleware import Analytics
    from analytics_middleware.testing import FakeCollector

    logging.basicConfig(format="%(levelname)s %(message).60s")
    collector = FakeCollector()
    analytics = Analytics([collector], data_dir=sys.argv[1], enabled=True, store=None)

    def track(first, last):
        for number in range(first, last):
            analytics.track("x", {"n": number, "padding": "x" * 500})

    track(0, 20)
    assert analytics.flush(20)
    # No file may grow beyond this: what a full disk, a quota and a read-only file system all come to.
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    for start in range(20, 220, 50):
        track(start, start + 50)
        assert not analytics.flush(0.4)
    waiting = analytics._engine._recorder.waiting
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    track(220, 230)
    assert analytics.flush(20)
    stats = analytics.stats()
    analytics.close()
    numbers = [event.properties["n"] for event in collector.events]
    print(json.dumps([waiting, numbers, len({event.event_id for event in collector.events}), stats]))
"""


def test_on_a_full_disk_events_wait_in_memory_and_arrive_once_when_there_is_room(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "data")],
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
        env={**os.environ, "PYTHONWARNINGS": "default"},
    )
    assert done.returncode == 0, done.stderr
    waiting, numbers, ids, stats = json.loads(done.stdout)
    assert waiting == 200
    assert numbers == list(range(230))
    assert ids == 230
    collector = stats["collectors"]["fake"]
    assert (stats["accepted"], collector["delivered"], collector["pending"]) == (230, 230, 0)
    assert stats["dropped"] == {}
    assert done.stderr.count("can't be written") == 1
    assert done.stderr.count("can be written again") == 1


def test_a_batch_that_was_sent_but_could_not_be_settled_is_not_sent_again(make):
    from analytics_middleware import Event
    from analytics_middleware.delivery.consumer import Consumer
    from analytics_middleware.testing import FakeCollector

    outbox = make()
    outbox.register("fake")
    payload = Event(event_id="x").encode()
    outbox.append([draft(str(number), payload=payload) for number in range(3)], {})
    collector = FakeCollector()
    consumer = Consumer(collector, outbox, clock=lambda: 2000.0)
    settle, tries = outbox.settle, []

    def fail(*arguments):
        tries.append(arguments)
        if len(tries) < 4:
            raise sqlite3.OperationalError("database or disk is full")
        settle(*arguments)

    outbox.settle = fail
    for _ in range(3):
        with pytest.raises(sqlite3.OperationalError):
            consumer.step()
    while consumer.step() == 0.0:
        pass
    assert collector.batches == 1
    assert look(outbox, "fake").delivered == 3


# Forks and deaths.

FORKING = """
    import os, sys
    from pathlib import Path
    from analytics_middleware.outbox.base import Draft, Settlement
    from analytics_middleware.outbox.sqlite import SqliteOutbox

    directory = Path(sys.argv[1])

    def append(outbox, name):
        outbox.append([Draft("event", name, 1.0, b"{}")], {})

    outbox = SqliteOutbox(directory)
    outbox.register("a")
"""


def test_a_forked_child_leaves_the_parents_connection_alone_and_loses_nothing(tmp_path):
    """A child that opened the file beside an inherited connection would write to a log that its parent deletes."""
    code = textwrap.dedent(FORKING) + textwrap.dedent("""
        append(outbox, "parent")
        told, tell = os.pipe()
        ready, say = os.pipe()
        if (child := os.fork()) == 0:
            append(outbox, "child 1")
            os.write(say, b"x")
            os.read(told, 1)
            append(outbox, "child 2")
            os._exit(0)
        os.read(ready, 1)
        append(outbox, "parent 2")
        outbox.close()
        os.write(tell, b"x")
        assert os.waitpid(child, 0)[1] == 0
        other = SqliteOutbox(directory)
        print([entry.record_id for entry in other.read("a", 10, 10**9)])
        print(other.stats().counts["accepted"], other.stats().consumers["a"].pending)
        """)
    assert run(code, tmp_path / "data") == "['parent', 'child 1', 'parent 2', 'child 2']\n4 4\n"


def test_a_fork_waits_for_no_other_process_and_its_child_loses_nothing(tmp_path):
    code = textwrap.dedent(FORKING) + textwrap.dedent("""
        import subprocess, threading, time
        sys.path.insert(0, sys.argv[2])
        from lock_holder import HOLDER

        def write():
            try:
                append(outbox, "waits")
            except TimeoutError:
                print("gives up", flush=True)

        outbox.stats()
        command = [sys.executable, "-c", HOLDER, str(directory / "analytics.lock")]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert holder.stdout.readline() == b"held\\n"
        thread = threading.Thread(target=write)
        thread.start()
        while outbox.database._write_mutex.acquire(blocking=False):
            outbox.database._write_mutex.release()
        told, tell = os.pipe()
        began = time.monotonic()
        if (child := os.fork()) == 0:
            os.read(told, 1)
            append(outbox, "child")
            os._exit(0)
        print(time.monotonic() - began < 4)
        thread.join()
        holder.kill()
        holder.wait()
        append(outbox, "parent")
        outbox.close()
        os.write(tell, b"x")
        assert os.waitpid(child, 0)[1] == 0
        print([entry.record_id for entry in SqliteOutbox(directory).read("a", 10, 10**9)])
        """)
    done = run(code, tmp_path / "data", Path(__file__).parent)
    assert done == "gives up\nTrue\n['parent', 'child']\n"


def test_a_child_forked_while_threads_write_and_read_works(tmp_path):
    code = textwrap.dedent(FORKING) + textwrap.dedent("""
        import threading
        stop = threading.Event()

        def write():
            while not stop.is_set():
                append(outbox, "parent")

        def read():
            while not stop.is_set():
                outbox.stats()

        threads = [threading.Thread(target=each) for each in (write, write, read)]
        for thread in threads:
            thread.start()
        codes = []
        for number in range(15):
            if (child := os.fork()) == 0:
                append(outbox, f"child {number}")
                os._exit(0)
            codes.append(os.waitpid(child, 0)[1])
        stop.set()
        for thread in threads:
            thread.join()
        names = [entry.record_id for entry in outbox.read("a", 10**6, 10**9)]
        print(codes == [0] * 15, [name for name in names if name != "parent"] == [f"child {n}" for n in range(15)])
        print(outbox.stats().counts["accepted"] == len(names))
        """)
    done = run("import warnings; warnings.simplefilter('ignore')\n" + code, tmp_path / "data")
    assert done == "True True\nTrue\n"


def test_a_child_does_not_renew_or_use_its_parents_leases(tmp_path):
    code = textwrap.dedent(FORKING) + textwrap.dedent("""
        epoch = outbox.claim("a")
        if (child := os.fork()) == 0:
            outbox.after_fork()
            outbox.tick(["a"])
            os._exit(0 if outbox.claim("a") is None else 1)
        print(os.waitpid(child, 0)[1], outbox.claim("a") == epoch)
        """)
    assert run(code, tmp_path / "data") == "0 True\n"


DYING = """
    import json, os, signal, sqlite3, sys
    from pathlib import Path
    from analytics_middleware.outbox.base import DeadLetter, Draft, Retry, Settlement
    from analytics_middleware.outbox.sqlite import SqliteOutbox

    root = Path(sys.argv[1])
    connect = sqlite3.connect


    def live(outbox, say):
        def drafts(first, last):
            return [Draft("event", str(n), 1.0, b"{}", b"secret") for n in range(first, last + 1)]

        outbox.register("a")
        outbox.append(drafts(1, 3), {"late_helper": 1})
        say(3)
        epoch = outbox.claim("a")
        one, two, three = outbox.read("a", 10, 10**9)
        outbox.settle("a", epoch, Settlement(
            cursor=three.seq, delivered=1, retries=[Retry(two, 0.0, "x")], dead=[DeadLetter(three, "y")]))
        outbox.append(drafts(4, 6), {"late_helper": 1})
        say(6)
        [again] = outbox.due("a", 1.0, 10)
        outbox.settle("a", epoch, Settlement(settled=[again], dropped={"stale": 1}))
        outbox.tick(["a"])
        outbox.release("a")
        outbox.close()


    def dies_at(statement, directory, say):
        count = 0

        def tick(_):
            nonlocal count
            count += 1
            if count == statement:
                os.kill(os.getpid(), signal.SIGKILL)

        def traced(*arguments, **options):
            connection = connect(*arguments, **options)
            connection.set_trace_callback(tick)
            return connection

        sqlite3.connect = traced
        live(SqliteOutbox(directory), say)
        os._exit(0)


    statement, ended = 0, False
    while not ended:
        statement += 1
        directory = root / str(statement)
        hear, say = os.pipe()
        if (child := os.fork()) == 0:
            dies_at(statement, directory, lambda n: os.write(say, bytes([n])))
        os.close(say)
        ended = os.waitpid(child, 0)[1] == 0
        said = os.read(hear, 10)
        os.close(hear)
        safe = max(said, default=0)
        outbox = SqliteOutbox(directory, monotonic=lambda: 10.0**6)
        outbox.register("a")
        stats = outbox.stats().consumers["a"]
        problems = []
        if stats.accepted != stats.delivered + sum(stats.dropped.values()) + stats.dead + stats.pending:
            problems.append("balance")
        if not safe <= stats.accepted <= 6:
            problems.append(f"accepted {stats.accepted} of {safe}")
        rest = outbox.read("a", 10, 10**9)
        if rest:
            outbox.settle("a", outbox.claim("a"), Settlement(cursor=rest[-1].seq, delivered=len(rest)))
        if [int(entry.record_id) for entry in rest] != list(range(stats.accepted - len(rest) + 1, stats.accepted + 1)):
            problems.append(f"rest {rest}")
        with outbox.database.read() as connection:
            if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
                problems.append("integrity")
        outbox.close()
        if problems:
            print(statement, problems)
    print("statements", statement)
"""


def test_a_kill_between_any_two_statements_leaves_the_log_whole_and_the_balance_exact(tmp_path):
    *problems, last = run(DYING, tmp_path, timeout=110).splitlines()
    assert problems == []
    assert int(last.split()[1]) > 50


def test_a_second_connection_leaves_the_first_its_locks(make, tmp_path):
    """The database file is never opened and closed apart from SQLite: that would drop the locks of the process."""
    outbox = make()
    outbox.register("a")
    outbox.append(drafts(1, 1), {})
    outbox.stats()
    outbox.claim("a")
    other = """
        import sys
        from pathlib import Path
        from analytics_middleware.outbox.sqlite import SqliteOutbox
        outbox = SqliteOutbox(Path(sys.argv[1]))
        outbox.stats()
        outbox.close()
        print((Path(sys.argv[1]) / "analytics.sqlite3-wal").exists())
    """
    assert run(other, tmp_path / "data") == "True\n"
    outbox.append(drafts(2, 2), {})
    assert deliver(outbox) == ["1", "2"]


@pytest.mark.parametrize("replaced", [False, True])
def test_a_database_that_is_removed_or_replaced_while_in_use_costs_what_was_not_delivered_and_no_more(
    make, tmp_path, caplog, replaced
):
    outbox = make()
    outbox.register("a", reads_private=True)
    outbox.register("b")
    outbox.append(drafts(1, 5), {})
    epoch = outbox.claim("b")
    outbox.settle("b", epoch, Settlement(cursor=outbox.read("b", 2, FAR)[-1].seq, delivered=2))
    other = SqliteOutbox(tmp_path / "other")
    other.append(drafts(1, 1), {})
    other.close()

    for path in outbox.database.directory.iterdir():
        path.unlink()
    if replaced:
        (tmp_path / "other" / "analytics.sqlite3").rename(outbox.database.path)
    outbox.tick(["a", "b"])

    assert "removed or replaced" in caplog.text
    outbox.append(drafts(6, 7), {})
    assert outbox.stats().counts["dropped.removed"] == 5
    assert names(outbox.read("a", 10, FAR)) == ["6", "7"]
    with pytest.raises(LeaseLost):
        outbox.settle("b", epoch, Settlement(delivered=1))
    assert outbox.claim("b") is not None


def test_what_a_removed_database_costs_is_counted_once_by_the_processes_that_used_it_and_for_each_consumer(make):
    one, two, three = outboxes = make(), make(), make()
    for outbox in outboxes:
        outbox.register("a")
        outbox.register("b")
    one.append(drafts(1, 5), {})
    epoch = two.claim("b")
    two.settle("b", epoch, Settlement(cursor=two.read("b", 2, FAR)[-1].seq, delivered=2))

    for path in one.database.directory.iterdir():
        path.unlink()
    one.tick(["a", "b"])
    two.append(drafts(6, 6), {})
    one.append(drafts(7, 8), {})
    two.tick(["a", "b"])
    three.tick(["a", "b"])

    stats = three.stats()
    assert stats.counts["dropped.removed"] == 6
    assert {name: (each.dropped["removed"], each.pending) for name, each in stats.consumers.items()} == {
        "a": (6, 2),
        "b": (4, 2),
    }
    for each in stats.consumers.values():
        assert each.accepted == each.delivered + sum(each.dropped.values()) + each.dead + each.pending
    assert names(two.read("a", 10, FAR)) == ["7", "8"]


@pytest.mark.parametrize("whole", [False, True])
def test_a_database_that_is_removed_just_before_a_process_ends_is_counted_unless_its_directory_is_gone(make, whole):
    outbox = make()
    outbox.register("a")
    outbox.append(drafts(1, 3), {})
    directory = outbox.database.directory
    for path in directory.iterdir():
        path.unlink()
    if whole:
        directory.rmdir()
    outbox.close()
    if whole:
        assert not directory.exists()
    else:
        assert look(make()).dropped == {"removed": 3}


def test_a_database_that_is_replaced_before_a_process_has_read_it_is_noticed(make, tmp_path):
    outbox = make()
    outbox.append(drafts(1, 2), {})
    outbox.database.path.rename(tmp_path / "moved")
    make().register("a")
    with pytest.raises(FileNotFoundError, match="replaced while in use"):
        outbox.stats()
    outbox.tick(["a"])
    outbox.append(drafts(3, 4), {})
    assert names(make().read("a", 10, FAR)) == ["3", "4"]


LOGLESS = """
    import os, sys
    from pathlib import Path
    from analytics_middleware.outbox.base import Draft
    from analytics_middleware.outbox.sqlite import SqliteOutbox

    outbox = SqliteOutbox(Path(sys.argv[1]))

    def append(name):
        outbox.append([Draft("event", name, 1.0, b"{}")], {})

    outbox.register("a")
    append(f"{sys.argv[2]} before")
    for said in sys.stdin:
        try:
            outbox.tick(["a"]) if said == "tick\\n" else append(f"{sys.argv[2]} {said.strip()}")
        except OSError as error:
            print(type(error).__name__, flush=True)
        else:
            print("done", flush=True)
"""


def test_a_write_ahead_log_that_is_removed_while_processes_use_it_costs_nothing(tmp_path):
    """What it held goes into the database before a new one is begun, and nobody writes to the removed one."""
    directory = tmp_path / "data"

    def start(name):
        command = [sys.executable, "-c", textwrap.dedent(LOGLESS), str(directory), name]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert tell(process, "first") == "done"
        return process

    def tell(process, what):
        process.stdin.write(f"{what}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    with start("one") as one, start("other") as other:
        for suffix in ("-wal", "-shm"):
            Path(f"{directory / 'analytics.sqlite3'}{suffix}").unlink()
        assert tell(one, "lost") == "FileNotFoundError"
        assert tell(one, "tick") == "done"
        assert tell(one, "second") == "done"
        assert tell(other, "lost") == "FileNotFoundError"
        assert tell(other, "tick") == "done"
        assert tell(other, "second") == "done"
        assert tell(one, "third") == "done"
        for process in (one, other):
            process.stdin.close()
    outbox = SqliteOutbox(directory)
    with outbox.database.read() as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    found = names(outbox.read("a", 100, FAR))
    outbox.close()
    assert found == [
        *("one before", "one first", "other before", "other first"),
        *("one second", "other second", "one third"),
    ]


def test_a_lock_file_that_was_removed_is_made_anew(make):
    """As programs do that clean directories of what nobody has written to for days."""
    one, other = make(), make()
    one.append(drafts(1, 1), {})
    (one.database.directory / "analytics.lock").unlink()
    other.append(drafts(2, 2), {})
    other.database.give_up_at(0.0)
    with one.database.locked(), pytest.raises(TimeoutError):
        other.append(drafts(3, 3), {})


def test_what_is_committed_does_not_look_failed_when_the_lock_cannot_be_given_back(make, monkeypatch):
    outbox, other = make(), make()
    outbox.register("a")
    flock = fcntl.flock

    def fail(fd, operation):
        if operation == fcntl.LOCK_UN:
            raise OSError(errno.ENOLCK, "no locks available")
        flock(fd, operation)

    with monkeypatch.context() as patch:
        patch.setattr(fcntl, "flock", fail)
        outbox.append(drafts(1, 1), {})
    other.database.give_up_at(0.0)
    other.append(drafts(2, 2), {})
    outbox.append(drafts(3, 3), {})
    assert deliver(outbox) == ["1", "2", "3"]


def test_a_damaged_database_keeps_events_in_memory_and_is_left_as_it_is(tmp_path, caplog):
    database = tmp_path / "analytics.sqlite3"
    database.write_bytes(b"not a database" * 1000)
    analytics = Analytics([lambda _event: None], data_dir=tmp_path, enabled=True, store=None)
    analytics.track("kept")
    assert not analytics.flush(0.2)
    analytics.close(1.0)
    assert "can't be written" in caplog.text
    assert database.read_bytes() == b"not a database" * 1000


def test_a_process_that_delivers_before_it_records_takes_nothing_private_from_those_that_do(make):
    one, two = make(), make()
    one.register("needy", reads_private=True)
    one.append([draft("1", private=b"{}")], {})
    assert two.claim("needy") is not None
    two.tick(["needy"])
    assert [entry.private for entry in one.read("needy", 10, FAR)] == [b"{}"]
