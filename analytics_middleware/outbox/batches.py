"""Reading and writing many rows of the log with few SQLite calls.

Python's sqlite3 releases the interpreter's lock for each row and then waits to get it back. In a busy server another
thread always takes it meanwhile, so a batch of 500 rows would wait 500 times. So many rows are inserted with one
statement, and all rows are read as a single one, which is taken apart here.
"""

from collections.abc import Iterable
from functools import lru_cache
from itertools import chain
from sqlite3 import Connection
from typing import Any, Final

import msgspec

from analytics_middleware.outbox.base import Draft, Entry

_INSERT: Final = "INSERT INTO log (kind, record_id, timestamp, payload, private, flags) VALUES (?, ?, ?, ?, ?, ?)"
_MOST_ROWS: Final = 256
_AHEAD: Final = "FROM (SELECT seq, payload FROM log WHERE seq > ? ORDER BY seq LIMIT ?)"
_ALL: Final = f"SELECT max(seq), total(length(payload)) {_AHEAD}"
_FITTING: Final = f"""
    SELECT coalesce(max(CASE WHEN size <= ? THEN seq END), min(seq))
    FROM (SELECT seq, sum(length(payload)) OVER (ORDER BY seq) AS size {_AHEAD})
"""  # noqa: S608 - our own words
# Times in microseconds, the precision they have: SQLite's JSON has too few digits for fractions of seconds.
_ROWS: Final = """
    SELECT json_group_array(seq), json_group_array(kind), json_group_array(record_id),
        json_group_array(CAST(round(timestamp * 1000000) AS INTEGER)), json_group_array(flags),
        json_group_array(length(payload)), CAST(group_concat(payload, '') AS BLOB),
        json_group_array(length(private)), CAST(group_concat(private, '') AS BLOB)
    FROM (SELECT * FROM log WHERE seq > ? AND seq <= ? ORDER BY seq)
"""

_decode = msgspec.json.Decoder(list[Any]).decode


def insert_batch(connection: Connection, drafts: Iterable[Draft]) -> int:
    """Append *drafts* to the log; return the last one's sequence number, 0 if there are none."""
    rows = list(drafts)
    start = last = 0
    while start < len(rows):
        # Powers of two, so that few different statements are used and most are already prepared.
        size = 1 << min(len(rows) - start, _MOST_ROWS).bit_length() - 1
        values = list(chain.from_iterable(rows[start : start + size]))
        last = connection.execute(_inserting(size), values).lastrowid or 0
        start += size
    return last


@lru_cache
def _inserting(rows: int) -> str:
    return _INSERT + ", (?, ?, ?, ?, ?, ?)" * (rows - 1)


def read_batch(connection: Connection, cursor: int, limit: int, max_bytes: int) -> list[Entry]:
    """Return the entries after *cursor*, at most *limit* and *max_bytes* of payload, at least one if there is any."""
    last, size = connection.execute(_ALL, (cursor, limit)).fetchone()
    if last is None:
        return []
    if size > max_bytes:
        (last,) = connection.execute(_FITTING, (max_bytes, cursor, limit)).fetchone()
    seqs, kinds, ids, times, flags, sizes, payloads, private_sizes, privates = connection.execute(
        _ROWS, (cursor, last)
    ).fetchone()
    return [
        Entry._make((*row, 0))
        for row in zip(
            _decode(seqs),
            _decode(kinds),
            _decode(ids),
            [at / 1_000_000 for at in _decode(times)],
            _parts(payloads or b"", _decode(sizes)),
            _parts(privates or b"", _decode(private_sizes)),
            _decode(flags),
            strict=True,
        )
    ]


def _parts(data: bytes, sizes: list[Any]) -> list[Any]:
    """Return *data* cut into parts of *sizes*, None where the size is None."""
    parts: list[bytes | None] = []
    start = 0
    for size in sizes:
        if size is None:
            parts.append(None)
        else:
            parts.append(data[start : start + size])
            start += size
    return parts
