"""Erasing a user while deliveries are under way: every event is counted once, whatever becomes of the attempt."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from analytics_middleware.erasing import erase_record
from analytics_middleware.event import Erase, Event
from analytics_middleware.outbox.base import DeadLetter, Draft, Entry, Outbox, Retry, Settlement
from analytics_middleware.outbox.erasure import export_user
from analytics_middleware.outbox.memory import MemoryOutbox
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import DuckDBStore

PLACES = ["delivered", "retried", "refused"]


@pytest.fixture(params=["memory", "sqlite"])
def outbox(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Outbox]:
    made: Outbox = MemoryOutbox(1000) if request.param == "memory" else SqliteOutbox(tmp_path)
    made.register("c")
    yield made
    made.close()


def draft(user_id: str | None = None, anon_id: str | None = None, hour: int | None = None) -> Draft:
    event = Event(user_id=user_id, anon_id=anon_id)
    if hour is not None:
        event.timestamp = at(hour)
    return Draft("event", event.event_id, event.timestamp.timestamp(), event.encode())


def at(hour: int) -> datetime:
    return datetime(2025, 3, 10, hour, tzinfo=UTC)


def erasure(user_id: str, hour: int) -> tuple[str, Draft]:
    record = Erase(user_id=user_id, timestamp=at(hour))
    return user_id, Draft("erase", record.event_id, at(hour).timestamp(), msgspec.json.encode(record))


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


def test_a_later_erasure_takes_what_the_users_browsers_did_up_to_its_own_time(outbox: Outbox) -> None:
    outbox.append([draft("ann", "k", 2)], {})
    outbox.erase(*erasure("ann", 4))
    outbox.append([draft(None, "k", 5), draft(None, "other", 5)], {})
    erased = outbox.erase(*erasure("ann", 6))
    assert (erased.log, erased.anonymous_ids) == (1, ("k",))
    assert outbox.claim("c")
    kept = [entry.payload for entry in outbox.read("c", 10, 10**6) if entry.kind == "event" and entry.payload]
    assert [b"other" in payload for payload in kept] == [True]
    outbox.append([draft(None, "k", 5), draft(None, "k", 7)], {})
    assert outbox.stats().counts == {"accepted": 4, "dropped.erased": 1}


@pytest.mark.parametrize("sealed", [True, False])
def test_a_later_erasure_takes_what_the_store_alone_knows_to_be_the_users(tmp_path: Path, sealed: bool) -> None:
    """Here the log never had the record that says whose browser it is."""
    outbox = SqliteOutbox(tmp_path)
    store = DuckDBStore(outbox)
    store.start()
    outbox.register("c")
    outbox.erase(*erasure("ann", 4))
    if sealed:
        assert store.maintain()
    store.apply([Event(user_id="ann", anon_id="k", timestamp=at(2))])
    outbox.append([draft(None, "k", 5)], {})
    if sealed:
        assert store.maintain()
    erased = outbox.erase(*erasure("ann", 6))
    assert (erased.log, erased.anonymous_ids) == (1, ("k",))
    store.close()
    outbox.close()


@pytest.mark.parametrize("sealed", [True, False])
def test_the_anonymous_past_of_a_browser_is_handed_out_to_its_first_user_alone(tmp_path: Path, sealed: bool) -> None:
    outbox = SqliteOutbox(tmp_path)
    store = DuckDBStore(outbox)
    store.start()
    outbox.register("c")
    if sealed:
        store.apply([Event(user_id="bob", anon_id="k", timestamp=at(2))])
        assert store.maintain()
    else:
        outbox.append([draft("bob", "k", 2)], {})
    anonymous = draft(None, "k", 1)
    outbox.append([draft("ann", "k", 3), anonymous._replace(private=b"{}"), draft("ann", "l", 3)], {})
    outbox.append([draft(None, "l", 4)], {})
    with outbox.database.write() as connection:
        connection.execute("INSERT INTO session VALUES ('k', 'bobs', 1, 2), ('l', 'anns', 1, 2)")
    anns = [json.loads(kept.payload) for kept in export_user(outbox.database, "ann")]
    assert [kept.get("anon_id", kept.get("session_id")) for kept in anns] == ["k", "l", "l", "anns"]
    assert [kept.get("user_id") for kept in anns] == ["ann", "ann", None, None]
    bobs = [kept.payload for kept in export_user(outbox.database, "bob")]
    assert anonymous.payload in bobs
    assert b"bobs" in bobs[-1]
    store.close()
    outbox.close()


@pytest.mark.parametrize("place", ["log", "retried", "refused"])
def test_a_late_record_that_tells_whose_a_browser_was_takes_what_it_did(outbox: Outbox, place: str) -> None:
    outbox.append([draft(None, "k", 1), draft(None, "l", 1), draft(None, "k", 5), draft("bob", "k", 1)], {})
    assert outbox.claim("c")
    if place != "log":
        settled(outbox, outbox.read("c", 10, 10**6), place)
    outbox.erase(*erasure("ann", 4))
    outbox.append([draft(None, "k", 3), draft("ann", "k", 2), draft("ann", "cl_x", 2), draft(None, "cl_x", 2)], {})
    outbox.append([draft(None, "k", 1), draft("ann", "k", 2), draft(None, "k", 6)], {})
    exact(outbox)
    state = outbox.stats().consumers["c"]
    assert outbox.stats().counts == {"accepted": 6, "dropped.erased": 5}
    entries = outbox.read("c", 20, 10**6)
    told = [json.loads(entry.payload) for entry in entries if entry.kind == "erase"]
    assert [(each["user_id"], each.get("anon_id")) for each in told] == [("ann", None), ("ann", "k")]
    assert all(entry.kind in ("event", "erase") for entry in entries), "collectors hear of nobody erased"
    if place == "log":
        assert [bool(entry.payload) for entry in entries if entry.kind == "event"] == [False, *[True] * 5]
    elif place == "retried":
        assert [bool(entry.payload) for entry in outbox.due("c", 1.0, 10)] == [False, True, True, True]
    else:
        assert (state.dead, state.dropped) == (3, {"erased": 1})
    assert outbox.erase(*erasure("ann", 6)).anonymous_ids == ("k",)


@pytest.mark.parametrize("sealed", [True, False])
def test_the_store_hears_of_a_late_record_that_is_refused(tmp_path: Path, sealed: bool) -> None:
    outbox = SqliteOutbox(tmp_path)
    store = DuckDBStore(outbox)
    store.start()
    anonymous = draft(None, "k", 1)
    outbox.append([anonymous, draft(None, "k", 5)], {})
    if sealed:
        assert store.maintain()
    outbox.erase(*erasure("ann", 4))
    outbox.append([draft("ann", "k", 2)], {})
    assert [event.timestamp for event in store.events()] == [at(5)]
    assert store.maintain()
    assert [event.timestamp for event in store.events()] == [at(5)]
    store.apply([Event.decode(anonymous.payload)])
    assert [event.timestamp for event in store.events()] == [at(5)]
    store.close()
    outbox.close()
