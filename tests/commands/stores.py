"""A data directory with a store in it, and commands that work on it in this process."""

import subprocess
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path

from analytics_middleware import cli
from analytics_middleware.event import Event
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import DuckDBStore, Record

START = datetime(2025, 3, 1, tzinfo=UTC)


class Kept:
    """A data directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self.store():
            pass

    @contextmanager
    def store(self) -> Generator[DuckDBStore]:
        outbox = SqliteOutbox(self.path)
        store = DuckDBStore(outbox)
        store.start()
        try:
            yield store
        finally:
            store.close()
            outbox.close()

    def apply(self, records: Sequence[Record]) -> None:
        with self.store() as store:
            store.apply(records)

    def events(self) -> list[Event]:
        with self.store() as store:
            return list(store.events())

    def run(self, *words: str, check: bool = True) -> "subprocess.CompletedProcess[str]":
        """Run a command on the directory."""
        out, err = StringIO(), StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                code = cli.main([words[0], "--data-dir", str(self.path), *words[1:]])
            except SystemExit as ended:
                code = int(ended.code or 0)
        assert not check or code == 0, err.getvalue()
        return subprocess.CompletedProcess(words, code, out.getvalue(), err.getvalue())


def days(count: int, user: str = "ann") -> list[Event]:
    """One event a day, in March 2025 and after."""
    return [
        Event(event_id=f"{user}-{number}", event_name="a", timestamp=START + timedelta(days=number), user_id=user)
        for number in range(count)
    ]
