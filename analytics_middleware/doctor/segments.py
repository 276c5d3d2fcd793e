"""Whether the store's files that the catalogue lists exist and are intact."""

import os
from collections.abc import Generator
from pathlib import Path
from typing import Final

from analytics_middleware.doctor import Finding
from analytics_middleware.outbox.database import Database
from analytics_middleware.store.catalogue import Segment, read_state, segment_directory

_MAGIC: Final = b"PAR1"
"""What a Parquet file begins and ends with."""


def examine_segments(database: Database) -> Generator[Finding]:
    """Look at the files of events that *database* lists."""
    with database.read() as connection:
        segments = read_state(connection).segments
    if not segments:
        return
    directory = segment_directory(database.directory)
    try:
        broken = [f"{segment.file} {wrong}" for segment in segments if (wrong := _wrong(directory, segment))]
    except PermissionError as error:
        text = f"{error.filename} can't be read by the user {os.geteuid()}"
        advice = f"chown -R {database.path.stat().st_uid} {database.directory}, and run commands as that user"
        yield Finding("problem", "store", text, advice)
        return
    if broken:
        advice = "put the files back from a backup: no question about their time can be answered without them"
        yield Finding("problem", "store", f"{directory}: {', '.join(broken)}", advice)
    else:
        events = sum(segment.rows for segment in segments)
        yield Finding("ok", "store", f"all files are there: {len(segments)}, with {events} events")


def _wrong(directory: Path, segment: Segment) -> str | None:
    path = directory / segment.file
    # The catalogue's size includes the file beside it with the hashes of the event ids.
    hashes = path.with_suffix(".ids")
    try:
        with path.open("rb") as file:
            begin = file.read(len(_MAGIC))
            size = file.seek(0, 2)
            file.seek(max(0, size - len(_MAGIC)))
            end = file.read()
        size += hashes.stat().st_size if hashes.exists() else 0
    except FileNotFoundError:
        return "is missing"
    except PermissionError:
        raise
    except OSError as error:
        return f"can't be read ({error.strerror})"
    return None if (begin, end, size) == (_MAGIC, _MAGIC, segment.bytes) else "is damaged"
