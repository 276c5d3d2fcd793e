"""What a process reads of its own recent writes, without asking the log, is what the log holds."""

import contextlib
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st

from analytics_middleware.erasing import erase_record
from analytics_middleware.event import Event
from analytics_middleware.outbox.base import Draft, Settlement
from analytics_middleware.outbox.sqlite import SqliteOutbox

FAR = 10**9

OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from(["here", "elsewhere"]), st.integers(1, 5)),
        st.tuples(st.just("read"), st.integers(1, 7), st.sampled_from([FAR, 500, 1])),
        st.tuples(st.just("erase"), st.sampled_from(["ann", "bob"]), st.sampled_from(["here", "elsewhere"])),
    ),
    max_size=25,
)


def drafts(number: int) -> list[Draft]:
    events = [Event(user_id=["ann", "bob", None][each % 3], path=f"/{each}") for each in range(number)]
    return [
        Draft("event", event.event_id, event.timestamp.timestamp(), event.encode(), b'{"ip":"203.0.113.7"}', 2)
        for event in events
    ]


@settings(max_examples=60, deadline=None)
@given(operations=OPERATIONS)
@example([("write", "here", 2), ("write", "elsewhere", 1), ("write", "here", 2), ("read", 1, FAR), ("read", 7, FAR)])
def test_what_is_read_is_what_a_new_process_reads(operations):
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        where = {name: SqliteOutbox(directory) for name in ("here", "elsewhere")}
        for each in where.values():
            stack.callback(each.close)
        here = where["here"]
        here.register("a", reads_private=True)
        epoch = here.claim("a")
        here.read("a", 1, FAR)
        for kind, first, second in operations:
            if kind == "write":
                where[first].append(drafts(second), {})
            elif kind == "erase":
                where[second].erase(*erase_record(first))
            else:
                other = SqliteOutbox(directory)
                expected = other.read("a", first, second)
                other.close()
                entries = here.read("a", first, second)
                assert entries == expected
                if entries:
                    here.settle("a", epoch, Settlement(entries[-1].seq, delivered=len(entries)))


def test_a_lagging_consumer_gets_all_in_order(tmp_path):
    """More than is remembered, and a second consumer that is far ahead of it."""
    outbox = SqliteOutbox(tmp_path)
    for name in ("slow", "quick"):
        outbox.register(name)
        outbox.read(name, 1, FAR)
    quick = outbox.claim("quick")
    written, slow = [], []
    for _ in range(12):
        group = drafts(400)
        written += [draft.record_id for draft in group]
        last = outbox.append(group, {})
        assert [entry.seq for entry in outbox.read("quick", 400, FAR)] == list(range(last - 399, last + 1))
        outbox.settle("quick", quick, Settlement(last, delivered=400))
    epoch = outbox.claim("slow")
    while entries := outbox.read("slow", 300, FAR):
        slow += [entry.record_id for entry in entries]
        outbox.settle("slow", epoch, Settlement(entries[-1].seq, delivered=len(entries)))
    assert slow == written
    outbox.close()


def test_what_comes_in_while_its_user_is_erased_is_not_delivered_later(tmp_path):
    outbox = SqliteOutbox(tmp_path)
    outbox.register("a")
    outbox.read("a", 1, FAR)
    late = Event(anon_id="f" * 32, path="/late")
    record = Draft("event", late.event_id, late.timestamp.timestamp(), late.encode())
    known = Event(user_id="ann", anon_id="f" * 32, path="/early")
    outbox.append([Draft("event", known.event_id, known.timestamp.timestamp(), known.encode())], {})
    waiting = [record]

    def meanwhile(_rows):
        # The user's id is refused from the beginning, anonymous ids only once they are found.
        outbox.append([waiting.pop()] if waiting else [], {})

    outbox.erase(*erase_record("ann"), meanwhile)
    before = outbox.read("a", 2, FAR)
    outbox.settle("a", outbox.claim("a"), Settlement(before[-1].seq, dropped={"erased": 1}))
    assert [entry.payload for entry in outbox.read("a", 9, FAR)] == [b""]
    outbox.close()
