"""Files that are there whole or not at all, and that only their owner can read."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from analytics_middleware.ids import uuid7


@contextmanager
def new_file(path: Path, *, force: bool) -> Generator[IO[bytes]]:
    """Open a file that becomes *path* when the block ends well; with *force* in the place of what is there.

    Raises `FileExistsError` when there is such a file, before the block and once more after it.
    """
    if not force and path.exists():
        raise FileExistsError(f"{str(path)!r} exists; --force writes over it")
    temporary = path.with_name(f".{path.name}.{uuid7()}.part")
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if force:
            temporary.replace(path)
        else:
            _put(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _put(temporary: Path, path: Path) -> None:
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise FileExistsError(f"{str(path)!r} exists; --force writes over it") from None
    except OSError:
        # A file system without hard links can't promise more.
        temporary.rename(path)
