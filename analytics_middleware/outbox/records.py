"""Events, identifies and erasures in the form the log stores."""

from collections.abc import Mapping
from typing import Final

import msgspec

from analytics_middleware.event import Erase, Event, Identify, Record
from analytics_middleware.outbox.base import Draft, Kind

_TYPES: Final[Mapping[Kind, type[Record]]] = {"event": Event, "identify": Identify, "erase": Erase}


def draft_of(record: Record, private: bytes | None = None, flags: int = 0) -> Draft:
    """Return the draft of *record*; see `Draft` for *private* and *flags*."""
    kind: Kind = "event" if isinstance(record, Event) else "identify" if isinstance(record, Identify) else "erase"
    return Draft(kind, record.event_id, record.timestamp.timestamp(), record.encode(), private, flags)


def decode_record(kind: Kind, payload: bytes) -> Record | None:
    """Return the record of a log entry, or None if this version can't read it."""
    try:
        return _TYPES[kind].decode(payload)
    except (msgspec.DecodeError, KeyError):
        return None
