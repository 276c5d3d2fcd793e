"""Sessions in brief: where each begins and ends and whether it bounced, computed once for all ranges."""

from datetime import timedelta
from typing import Any, NamedTuple

from analytics_middleware.store._arrays import Int64s, Mask, NDArray, Rows, changes, nobodies, np
from analytics_middleware.store._base import Base
from analytics_middleware.store._frame import Frame
from analytics_middleware.store._np_select import pages, passing
from analytics_middleware.store._tables import Table
from analytics_middleware.store.instants import micros
from analytics_middleware.store.questions import Overview
from analytics_middleware.store.timeout import check_time

_MICROSECOND = timedelta(microseconds=1)


class Visits(NamedTuple):
    """The sessions of one table."""

    began: Int64s
    length: Int64s
    bounced: Mask


def visits(frame: Frame, question: Overview) -> list[Visits]:
    """Return the complete sessions that begin in the range and have an event that passes the filters."""
    found: list[Visits] = []
    for table in frame.tables:
        check_time()
        first, last, bounced = all_visits(frame, table, question.timeout, bots=question.bots)
        began = table.time[first]
        kept = (began >= micros(question.start)) & (began < micros(question.end))
        if table.alive is not None:
            # Visitors move to another table with all their events, so a session's rows are all alive or all dead.
            kept &= table.alive[first]
        passes = passing(frame, table, question.where)
        if passes is not None:
            visible = frame.visible(table, with_bots=question.bots)
            passes = passes if visible is None else passes & visible
            before = np.concatenate([[0], np.cumsum(passes, dtype=np.int32)])
            kept &= before[last + 1] > before[first]
        if kept.any():
            began = began[kept]
            found.append(Visits(began, table.time[last[kept]] - began, bounced[kept] > 0))
    return found


def all_visits(frame: Frame, table: Table, timeout: timedelta, *, bots: bool) -> NDArray[Any]:
    """Return the first and last row of each session of *table*, and whether it bounced."""
    if frame.horizon > table.bounds[0] or not isinstance(table.source, Base):
        # Leave out events that are too old before forming sessions.
        return _split(frame, table, frame.visible(table, with_bots=bots), timeout)
    hidden = None if bots else frame.bots(table)

    def split() -> NDArray[Any]:
        return _split(frame, table, None if hidden is None else ~hidden, timeout)

    return table.source.derived(f"visits {bots} {timeout}", split, on_disk=True)


def _split(frame: Frame, table: Table, visible: Mask | None, timeout: timedelta) -> NDArray[Any]:
    """Return the first and last row of each session, and whether it bounced.

    Sessions consist of *visible* rows, None for all; rows of nobody form none.
    """
    begin = nobodies(table.who)
    rows: Rows | None = None if visible is None else np.flatnonzero(visible[begin:])
    who, time, page = table.who[begin:], table.time[begin:], pages(frame, table)[begin:]
    if rows is not None:
        who, time, page = who[rows], time[rows], page[rows]
    new = changes(who)
    new[1:] |= time[1:] - time[:-1] > timeout // _MICROSECOND
    first = np.flatnonzero(new)
    last = np.append(first[1:], len(who)) - 1 if len(first) else first
    found = np.empty((3, len(first)), np.int32)
    found[0] = (first if rows is None else rows[first]) + begin
    found[1] = (last if rows is None else rows[last]) + begin
    found[2] = (first == last) & page[first]
    return found
