"""A month's file and new rows become the next file, whatever part of them is in memory at a time."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.event import Event
from analytics_middleware.store._base import COMPLETE
from analytics_middleware.store._merging import MonthMerge, OldMonth
from analytics_middleware.store.columns import ACTOR, PROPERTY, VISITOR, event_hashes, table_of
from analytics_middleware.store.segments import Segments

BEGIN = datetime(2026, 3, 1, tzinfo=UTC)
ACTORS = 5
"""Ids that can be visitors; -1 is nobody."""

rows = st.lists(
    st.tuples(
        st.integers(-1, ACTORS - 1),
        st.integers(0, 3),  # few instants: many ties
        st.dictionaries(st.sampled_from(["plan", "size", "x"]), st.sampled_from([1, "pro", None, True]), max_size=2),
    ),
    max_size=30,
)
owners = st.lists(st.integers(0, ACTORS - 1), min_size=ACTORS, max_size=ACTORS)
few = st.integers(1, 12)


class Made:
    """Rows with ids of their own, as a table and as what a month's file should have of them."""

    def __init__(self, rows: list[Any], first: int) -> None:
        self.actors = np.array([actor for actor, _, _ in rows], np.int32)
        self.events = [
            Event(
                # Their order is not that in which they came.
                event_id=f"{(first + index) * 7919 % 1009:04}",
                event_name="step",
                timestamp=BEGIN + timedelta(seconds=second),
                path=f"/{index % 4}" if index % 3 else None,
                properties=properties,
            )
            for index, (_, second, properties) in enumerate(rows)
        ]
        self.table = table_of(self.events)

    def expected(self, owners: list[int]) -> list[Any]:
        visitors = [-1 if actor < 0 else owners[actor] for actor in self.actors.tolist()]
        return [
            (who, event.timestamp, event.event_id, actor, event.path, event.properties)
            for who, event, actor in zip(visitors, self.events, self.actors.tolist(), strict=True)
        ]


def contents(table: Any) -> list[Any]:
    """The rows of a month's file, in its order; its columns of properties agree with the properties."""
    found = []
    for row in table.to_pylist():
        properties = json.loads(row["properties"] or "{}")
        for name in table.column_names:
            if name.startswith(PROPERTY):
                own = name.removeprefix(PROPERTY)
                assert row[name] == (json.dumps(properties[own]) if own in properties else None)
        at = row["timestamp"].replace(tzinfo=UTC)
        found.append((row[VISITOR], at, row["event_id"], row[ACTOR], row["path"], properties))
    return found


@given(rows, st.lists(rows, max_size=3), owners, owners, few, few, st.randoms())
def test_old_and_new_rows_are_in_order_and_complete(tmp_path_factory, old, new, before, after, small, smaller, dice):
    segments = Segments(tmp_path_factory.getbasetemp() / "merging")
    stored = Made(old, 0)
    nothing = np.zeros(0, np.bool_)
    first = MonthMerge(None, nothing, [stored.table], [stored.actors], np.array(before, np.int32), small)
    assert first.rows == len(old)
    month = None
    keep = np.array([dice.random() < 0.8 for _ in old], np.bool_)
    if old:
        file = segments.write("month", first.tables())
        opened = segments.open(file)
        assert contents(opened.read()) == sorted(stored.expected(before), key=lambda row: row[:3])
        month = OldMonth(opened, smaller)
    made = [Made(each, 100 * number) for number, each in enumerate(new, 1)]
    tables, actors = [each.table for each in made], [each.actors for each in made]
    merge = MonthMerge(month, keep if old else nothing, tables, actors, np.array(after, np.int32), smaller)

    # The mask is in the order of the file.
    in_file = sorted(range(len(old)), key=lambda index: stored.expected(before)[index][:3])
    kept = [stored.expected(after)[index] for index, stays in zip(in_file, keep.tolist(), strict=True) if stays]
    wanted = sorted([*kept, *(row for each in made for row in each.expected(after))], key=lambda row: row[:3])
    parts = list(merge.tables())
    assert merge.rows == len(wanted)
    assert [row for part in parts for row in contents(part)] == wanted
    gone = [stored.events[index].event_id for index, stays in zip(in_file, keep.tolist(), strict=True) if not stays]
    assert sorted(merge.dropped().tolist()) == sorted(event_hashes(gone).tolist())
    if wanted:
        assert merge.span == tuple(
            int(at.timestamp() * 1e6) for at in (min(row[1] for row in wanted), max(row[1] for row in wanted))
        )
        assert len({part.schema for part in parts}) == 1
        names = {name for row in wanted for name in row[5]}
        assert all(set(json.loads(part.schema.metadata[COMPLETE])) == names for part in parts)
        assert pa.concat_tables(parts).num_rows == len(wanted)
