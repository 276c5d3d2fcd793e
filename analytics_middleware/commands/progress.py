"""A progress bar for long work, shown at a terminal only."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

_WIDTH = 30
_EVERY = 0.1


class Progress:
    """``with Progress("erasing", total) as bar: bar.advance(10)``. It is drawn on standard error."""

    def __init__(self, label: str, total: int, stream: TextIO | None = None) -> None:
        self._label = label
        self._total = max(total, 1)
        self._stream = stream or sys.stderr
        self._shown = self._stream.isatty()
        self._done = 0
        self._drawn_at = 0.0

    def __enter__(self) -> Self:
        self._draw()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._shown:
            # Clear the line; the command itself says what was done.
            self._stream.write("\r\033[K")
            self._stream.flush()

    def advance(self, count: int) -> None:
        """Note that *count* more are done."""
        self.reach(self._done + count)

    def reach(self, done: int) -> None:
        """Note that *done* are done."""
        self._done = min(done, self._total)
        if time.monotonic() - self._drawn_at >= _EVERY:
            self._draw()

    def _draw(self) -> None:
        if self._shown:
            self._drawn_at = time.monotonic()
            filled = _WIDTH * self._done // self._total
            bar = "#" * filled + "." * (_WIDTH - filled)
            self._stream.write(f"\r{self._label} [{bar}] {self._done}/{self._total}")
            self._stream.flush()
