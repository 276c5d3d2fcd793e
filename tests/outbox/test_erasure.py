"""Erasing a user while deliveries are under way: every event is counted once, whatever becomes of the attempt."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from analytics_middleware.erasing import erase_record
from analytics_middleware.event import Event
from analytics_middleware.outbox.base import DeadLetter, Draft, Entry, Outbox, Retry, Settlement
from analytics_middleware.outbox.memory import MemoryOutbox
from analytics_middleware.outbox.sqlite import SqliteOutbox

PLACES = ["delivered", "retried", "refused"]


@pytest.fixture(params=["memory", "sqlite"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    made: Outbox = MemoryOutbox(1000) if request.param == "memory" else SqliteOutbox(tmp_path)
    made.register("c")
    yield made
    made.close()


def draft(user_id: str | None = None, anon_id: str | None = None) -> Draft:
    event = Event(user_id=user_id, anon_id=anon_id)
    return Draft("event", event.event_id, event.timestamp.timestamp(), event.encode())


def settled(outbox: Outbox, entries: list[Entry], place: str) -> None:
    epoch = outbox.claim("c")
    assert epoch is not None
    again = [Retry(entry, 0.0, "busy") for entry in entries if place == "retried"]
    dead = [DeadLetter(entry, "no") for entry in entries if place == "refused"]
    delivered = len(entries) if place == "delivered" else 0
    outbox.settle("c", epoch, Settlement(entries[-1].seq, delivered=delivered, retries=again, dead=dead))


def exact(outbox: Outbox) -> None:
    each = outbox.stats().consumers["c"]
    assert each.accepted == each.delivered + sum(each.dropped.values()) + each.dead + each.pending, each


@pytest.mark.parametrize("place", PLACES)
def test_what_is_being_sent_meanwhile_is_counted_as_what_became_of_it(outbox: Outbox, place: str) -> None:
    outbox.append([draft("ann"), draft("bob")], {})
    assert outbox.claim("c")
    entries = outbox.read("c", 10, 10**6)
    outbox.erase(*erase_record("ann"))
    exact(outbox)
    settled(outbox, entries, place)
    exact(outbox)
    state = outbox.stats().consumers["c"]
    if place == "delivered":
        assert (state.delivered, state.dropped) == (2, {})
    else:
        assert (state.dropped, state.pending + state.dead) == ({"erased": 1}, 1)
    assert all(b"ann" not in entry.payload for entry in outbox.due("c", 1.0, 10))


def test_a_retry_under_way_is_not_brought_back(outbox: Outbox) -> None:
    outbox.append([draft("ann"), draft("bob")], {})
    assert outbox.claim("c")
    settled(outbox, outbox.read("c", 10, 10**6), "retried")
    trying = outbox.due("c", 1.0, 10)
    erased = outbox.erase(*erase_record("ann"))
    assert erased.retry == 1
    exact(outbox)
    epoch = outbox.claim("c")
    assert epoch is not None
    outbox.settle("c", epoch, Settlement(retries=[Retry(entry, 5.0, "busy") for entry in trying]))
    exact(outbox)
    assert outbox.stats().consumers["c"].dropped == {"erased": 1}
    assert [b"bob" in entry.payload for entry in outbox.due("c", 9.0, 10)] == [True]


def test_dead_letters_are_erased_and_counted(outbox: Outbox) -> None:
    outbox.append([draft("ann"), draft("bob")], {})
    assert outbox.claim("c")
    settled(outbox, outbox.read("c", 10, 10**6), "refused")
    assert outbox.erase(*erase_record("ann")).dead == 1
    exact(outbox)
    state = outbox.stats().consumers["c"]
    assert (state.dead, state.dropped) == (1, {"erased": 1})


def test_the_past_of_a_browser_goes_with_its_user_and_shared_ids_stay(outbox: Outbox) -> None:
    outbox.append(
        [draft(None, "k"), draft(None, "cl_x"), draft("ann", "k"), draft("ann", "cl_x"), draft("bob", "k")], {}
    )
    assert outbox.claim("c")
    erased = outbox.erase(*erase_record("ann"))
    assert (erased.log, erased.anonymous_ids) == (3, ("k",))
    kept = [entry for entry in outbox.read("c", 10, 10**6) if entry.kind == "event"]
    assert [bool(entry.payload) for entry in kept] == [False, True, False, False, True]


def test_what_comes_late_is_refused_and_the_record_of_the_erasure_is_read_by_all(outbox: Outbox) -> None:
    late = draft("ann")
    user_id, record = erase_record("ann")
    outbox.erase(user_id, record)
    outbox.append([late, draft("bob")], {})
    assert outbox.stats().counts == {"accepted": 1, "dropped.erased": 1}
    assert outbox.claim("c")
    entries = outbox.read("c", 10, 10**6)
    assert [entry.kind for entry in entries] == ["erase", "event"]
    assert entries[0].payload == record.payload
