"""Instants as whole microseconds since 1970, the form in which engines store them."""

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def micros(at: datetime) -> int:
    """Return *at* in microseconds since 1970; a naive *at* is UTC."""
    return ((at.replace(tzinfo=UTC) if at.tzinfo is None else at) - _EPOCH) // _MICROSECOND


def from_micros(at: int) -> datetime:
    """Return the aware datetime of *at*, in microseconds since 1970."""
    return _EPOCH + at * _MICROSECOND


def length(span: timedelta) -> int:
    """Return *span* in microseconds."""
    return span // _MICROSECOND
