"""Reads files line by line: plain, compressed with gzip, or in a zip archive, with limits on their unpacked size."""

import gzip
import io
import zipfile
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from analytics_middleware.importing.records import FileError

MAX_LINE: Final = 1_000_000
"""Most bytes in a line; longer lines are skipped."""
TOO_LONG: Final = b"\0too long"
"""Yielded in place of a longer line."""
_LOOKED_AT: Final = 65_536
_LINES_LOOKED_AT: Final = 10
_FREE: Final = 64 * 2**20
_MAX_MEMBERS: Final = 1000
_RATIO: Final = 200
"""How many times its size a compressed file may unpack into, after the first `_FREE` bytes; text seldom reaches 20."""

_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_BROKEN: Final = (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError)


class _Budget:
    """How many bytes a file may still unpack into, counting all members of an archive together."""

    def __init__(self, packed: int) -> None:
        self._left = _FREE + packed * _RATIO

    def spend(self, size: int, name: str) -> None:
        self._left -= size
        if self._left < 0:
            raise FileError(f"{name}: unpacks into more than {_RATIO} times its size")


class Source:
    """An open file, or one member of an archive, called *name*."""

    def __init__(self, name: str, file: io.BufferedIOBase, budget: _Budget | None = None) -> None:
        self.name = name
        self._file = file
        self._budget = budget

    def lines(self) -> Iterator[bytes]:
        """Yield the lines without line breaks, `TOO_LONG` for longer ones. Raises `FileError` if the file is broken."""
        try:
            while line := self._file.readline(MAX_LINE + 1):
                self._count(line)
                if len(line) > MAX_LINE and not line.endswith(b"\n"):
                    while (rest := self._file.readline(MAX_LINE)) and not rest.endswith(b"\n"):
                        self._count(rest)
                    yield TOO_LONG
                else:
                    yield line.rstrip(b"\r\n")
        except _BROKEN as error:
            raise FileError(f"{self.name}: {error or type(error).__name__}") from None

    def head(self) -> list[bytes]:
        """Return the beginnings of the first non-empty lines, and go back to the start of the file."""
        try:
            lines = [self._file.readline(_LOOKED_AT).strip() for _ in range(_LINES_LOOKED_AT)]
            self._file.seek(0)
        except _BROKEN as error:
            raise FileError(f"{self.name}: {error or type(error).__name__}") from None
        return [line for line in lines if line]

    def texts(self) -> Iterator[str]:
        """Yield the lines as text with line breaks, as the module csv expects, and without a byte-order mark."""
        for number, line in enumerate(self.lines()):
            yield (line if number else line.removeprefix(b"\xef\xbb\xbf")).decode("utf-8", "replace") + "\n"

    def _count(self, line: bytes) -> None:
        if self._budget is not None:
            self._budget.spend(len(line), self.name)


@contextmanager
def opened(path: Path) -> Generator[tuple[list[Source], io.BufferedReader]]:
    """Open *path* and yield its contents, several for an archive, and the file, whose position shows the progress.

    Raises `FileError` if an archive can't be read.
    """
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        size = path.stat().st_size
        if head == _ZIP:
            try:
                with zipfile.ZipFile(file) as archive:
                    yield list(_members(archive, _Budget(size))), file
            except _BROKEN as error:
                raise FileError(f"{path.name}: {error or type(error).__name__}") from None
        elif head[:2] == _GZIP:
            name = path.name.removesuffix(".gz")
            yield [Source(name, gzip.GzipFile(fileobj=file), _Budget(size))], file
        else:
            yield [Source(path.name, file)], file


def _members(archive: zipfile.ZipFile, budget: _Budget) -> Iterator[Source]:
    members = [info for info in archive.infolist() if not info.is_dir() and info.filename.endswith(".csv")]
    if len(members) > _MAX_MEMBERS:
        raise FileError(f"an archive of {len(members)} files is not an export")
    for info in members:
        member: Any = archive.open(info)
        yield Source(info.filename.rpartition("/")[2], io.BufferedReader(member), budget)
