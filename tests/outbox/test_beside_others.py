"""Several processes on one database: whoever leaves takes nothing from those who stay."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from lock_holder import lock_held

from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.leftovers import left_in
from analytics_middleware.outbox.sqlite import SqliteOutbox

ANOTHER = """
import sys
from pathlib import Path
from analytics_middleware.outbox.base import Draft
from analytics_middleware.outbox.sqlite import SqliteOutbox
outbox = SqliteOutbox(Path(sys.argv[1]))
for n in range(20):
    outbox.append([Draft("event", f"theirs-{n}", 1.0, b"{}" * 4000)], {})
outbox.stats()
outbox.close()
"""


def test_a_process_that_closes_the_database_leaves_the_log_of_another_alone(tmp_path: Path) -> None:
    """With several connections open here, the locks must last: the other is not the last one on the file."""
    outbox = SqliteOutbox(tmp_path)
    outbox.register("reader")
    outbox.append([Draft("event", "ours", 1.0, b"{}")], {})
    with outbox.database.write(durable=False):
        pass
    assert outbox.stats().counts == {"accepted": 1}
    for _ in range(2):
        subprocess.run([sys.executable, "-c", ANOTHER, str(tmp_path)], check=True, timeout=20)
        assert Path(f"{outbox.database.path}-wal").exists(), "the write-ahead log was deleted under open connections"
        outbox.append([Draft("event", "ours again", 1.0, b"{}")], {})
    assert outbox.stats().counts == {"accepted": 43}
    assert len(outbox.read("reader", 100, 10**9)) == 43
    outbox.close()


WORKERS = """
import ctypes, os, sys
from pathlib import Path
from analytics_middleware import Analytics

directory = Path(sys.argv[1])

def note(event):
    with (directory / "got").open("a") as file:
        file.write(event.event_id + "\\n")

analytics = Analytics([note], data_dir=directory / "data", store=None, enabled=True)
fork = ctypes.CDLL(None).fork
children = []
for _ in range(3):
    child = fork()
    if child == 0:
        for n in range(200):
            analytics.track("n")
        done = analytics.flush(15)
        analytics.close(1)
        os._exit(0 if done else 1)
    children.append(child)
sys.exit(max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children))
"""


def test_workers_forked_behind_pythons_back_never_deliver_for_one_another(tmp_path: Path) -> None:
    """As uWSGI forks, whose workers inherit what the master imported: no hook runs, and nothing was started yet."""
    subprocess.run([sys.executable, "-c", WORKERS, str(tmp_path)], check=True, timeout=40)
    got = (tmp_path / "got").read_text().split()
    assert len(got) == len(set(got)) == 600


ENDING = """
import sys
from pathlib import Path
from analytics_middleware import Analytics

analytics = Analytics([lambda event: None], data_dir=Path(sys.argv[1]), store=None, enabled=True)
analytics.track("before")
assert analytics.flush(20)
print("ready", flush=True)
for line in sys.stdin:
    analytics.track(line.strip())
"""


def test_a_process_ends_while_another_holds_the_lock_and_leaves_what_it_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """``-s`` shows how long it took: no test asserts a time."""
    command = [sys.executable, "-c", ENDING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        with lock_held(tmp_path):
            began = time.monotonic()
            process.communicate("one\ntwo\n", timeout=60)
            took = time.monotonic() - began
    assert process.returncode == 0
    assert len(left_in(tmp_path)) == 1
    with capsys.disabled():
        print(f"\nended {took * 1000:.0f} ms after its input did, while another process held the database's lock")
