"""A process that holds the database's lock, as one does that was stopped in the middle of a transaction."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

HOLDER = """
import fcntl, signal, sys
signal.alarm(60)
with open(sys.argv[1], "w") as file:
    fcntl.flock(file, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def lock_held(directory: Path) -> Generator[None]:
    """Have another process hold the lock of the database in *directory*; it ends by itself if this one does."""
    command = [sys.executable, "-c", HOLDER, str(directory / "analytics.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield
        holder.communicate()
