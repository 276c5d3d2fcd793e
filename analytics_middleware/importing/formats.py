"""Recognises a file's format and reads it."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from analytics_middleware.importing import FORMATS, access_log, own, plausible, umami
from analytics_middleware.importing.enriching import Enrichment
from analytics_middleware.importing.records import FileError, Items
from analytics_middleware.importing.sources import Source, opened

_PARQUET: Final = b"PAR1"


class Reading:
    """Reads files. *hostname* is the site of access logs, *timezone* that of dates without one."""

    def __init__(self, enrichment: Enrichment, *, hostname: str | None, timezone: str) -> None:
        self._enrichment = enrichment
        self._hostname = hostname
        self._timezone = timezone

    def items(self, path: Path, chosen: str | None, at: Callable[[int], None]) -> Items:
        """Yield the items in the file at *path*; if no format is *chosen*, it is recognised by its content.

        From time to time *at* is called with the number of bytes read. Raises `FileError` if the file can't be
        understood, `OSError` if it can't be opened.
        """
        if chosen == "parquet" or (chosen is None and _begins(path, _PARQUET)):
            yield from own.read_parquet(path, at)
            return
        with opened(path) as (sources, file):
            kind = chosen or _recognised(path, sources)
            for number, item in enumerate(self._of(kind, path, sources)):
                yield item
                if number % 1000 == 0:
                    at(file.tell())

    def _of(self, kind: str, path: Path, sources: list[Source]) -> Items:
        if kind == "plausible":
            yield from plausible.read(sources, self._timezone)
        elif kind == "umami":
            yield from umami.read(sources, self._enrichment)
        else:
            for source in sources:
                yield from self._of_one(kind, path, source)

    def _of_one(self, kind: str, path: Path, source: Source) -> Items:
        if kind == "csv":
            return own.read_csv(source)
        if kind == "jsonl":
            return own.read_json_lines(source)
        if self._hostname is None and not any(map(access_log.names_host, source.head())):
            raise FileError(
                f"{path.name}: give --hostname: a log does not have the site's name, and without it the site's own "
                "links would count as referrers"
            )
        return access_log.read(source, self._enrichment, self._hostname or "")


def _begins(path: Path, magic: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(magic)) == magic


def _recognised(path: Path, sources: list[Source]) -> str:
    """Return the format of *sources*, the contents of the file at *path*. Raises `FileError` if none fits."""
    if any(plausible.is_table(source.name) for source in sources):
        return "plausible"
    heads = [source.head() for source in sources]
    firsts = [head[0] for head in heads if head]
    if any(map(umami.is_header, firsts)) or path.name == umami.DATA:
        return "umami"
    if any(map(own.is_header, firsts)):
        return "csv"
    if any(first.startswith(b"{") for first in firsts) or not firsts:
        return "jsonl"
    # Several lines are tried, because a truncated log may begin with half a line.
    if any(access_log.is_log_line(line) for head in heads for line in head):
        return "access-log"
    raise FileError(f"{path.name}: its format is not recognised; give --format ({', '.join(FORMATS)})")
