"""Creates files that are complete or don't exist, and that only their owner can read."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from analytics_middleware.ids import uuid7


@contextmanager
def new_file(path: Path, *, force: bool) -> Generator[IO[bytes]]:
    """Open a temporary file, which becomes *path* if the block succeeds. *force* replaces an existing file.

    Without *force*, raises `FileExistsError` if *path* exists before or after the block.
    """
    if not path.parent.is_dir():
        raise NotADirectoryError(f"there is no directory {str(path.parent)!r}")
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
        # Without hard links, a file created in the meantime may be replaced.
        temporary.rename(path)
