"""Several processes on one database: whoever leaves takes nothing from those who stay."""

import subprocess
import sys
from pathlib import Path

from analytics_middleware.outbox.base import Draft
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
