"""What every outbox promises, in memory or on disk."""

import threading
from functools import partial

import pytest

from analytics_middleware.outbox.base import DeadLetter, Draft, LeaseLost, Retry, Settlement
from analytics_middleware.outbox.memory import MemoryOutbox
from analytics_middleware.outbox.sqlite import SqliteOutbox

FAR = 10**9


def draft(name, kind="event", timestamp=1000.0, payload=b'{"a":1}', private=None, flags=0):
    return Draft(kind, name, timestamp, payload, private, flags)


def drafts(first, last, **options):
    return [draft(str(number), **options) for number in range(first, last + 1)]


@pytest.fixture(params=["memory", "sqlite"])
def make(request, tmp_path):
    """Makes an outbox that keeps at most *limit* entries for a consumer that lags."""
    made = []

    def make(limit=1000):
        if request.param == "memory":
            made.append(MemoryOutbox(limit))
        else:
            made.append(SqliteOutbox(tmp_path / "data", max_pending=limit, clock=lambda: 5000.0))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def outbox(make):
    outbox = make()
    outbox.register("a")
    return outbox


def names(entries):
    return [entry.record_id for entry in entries]


def balance(stats):
    return stats.delivered + sum(stats.dropped.values()) + stats.dead + stats.pending


def look(outbox, consumer="a"):
    stats = outbox.stats().consumers[consumer]
    assert stats.accepted == balance(stats)
    return stats


def deliver(outbox, consumer="a", limit=100):
    """Read a batch and settle all of it as delivered; return its names."""
    entries = outbox.read(consumer, limit, FAR)
    if entries:
        events = sum(entry.kind == "event" for entry in entries)
        outbox.settle(consumer, outbox.claim(consumer), Settlement(cursor=entries[-1].seq, delivered=events))
    return names(entries)


def overflow(outbox):
    """Have limits looked at, as happens about every second."""
    outbox.tick(["a"])


def test_what_is_appended_is_read_in_order_and_whole(outbox):
    record = Draft("identify", "x", 1234.5, b'{"user_id":"7"}', b'{"client_ip":"192.0.2.1"}', 3)
    last = outbox.append([draft("1"), record, draft("3")], {})
    entries = outbox.read("a", 10, FAR)
    assert names(entries) == ["1", "x", "3"]
    assert [entry.seq for entry in entries] == [last - 2, last - 1, last]
    assert entries[1][1:7] == record
    assert entries[1].attempts == 0


@pytest.mark.parametrize("count", [1, 49, 50, 51, 100, 1234])
def test_a_group_of_any_size_is_kept_in_order(make, count):
    outbox = make(limit=2000)
    outbox.register("a")
    last = outbox.append(drafts(1, count), {})
    entries = outbox.read("a", 5000, FAR)
    assert names(entries) == [str(number) for number in range(1, count + 1)]
    assert entries[-1].seq == last


def test_appending_nothing_adds_counts_alone(outbox):
    before = outbox.append([draft("1")], {})
    assert outbox.append([], {"late_helper": 2}) == before
    assert outbox.stats().counts == {"accepted": 1, "late_helper": 2}


def test_counts_are_added_up_over_appends(outbox):
    outbox.append([draft("1")], {"dropped.queue_full": 2})
    outbox.append([draft("2")], {"dropped.queue_full": 3, "bad_argument": 1})
    assert outbox.stats().counts == {"accepted": 2, "dropped.queue_full": 5, "bad_argument": 1}


def test_only_events_are_counted_as_accepted_delivered_and_pending(outbox):
    outbox.append([draft("1"), draft("u", "identify"), draft("e", "erase")], {})
    assert look(outbox).accepted == look(outbox).pending == 1
    deliver(outbox)
    assert look(outbox).delivered == 1


def test_a_new_consumer_starts_at_the_end_of_the_log(outbox):
    outbox.append(drafts(1, 3), {})
    outbox.register("b")
    assert outbox.read("b", 10, FAR) == []
    outbox.append([draft("4")], {})
    assert names(outbox.read("b", 10, FAR)) == ["4"]
    assert look(outbox, "b").accepted == 1
    assert look(outbox, "a").accepted == 4


def test_registering_again_changes_no_place_in_the_log(outbox):
    outbox.append(drafts(1, 3), {})
    outbox.register("a")
    assert deliver(outbox) == ["1", "2", "3"]


def test_consumers_go_on_apart_from_each_other(outbox):
    outbox.register("b")
    outbox.append(drafts(1, 4), {})
    assert deliver(outbox, "a") == ["1", "2", "3", "4"]
    assert deliver(outbox, "b", limit=2) == ["1", "2"]
    assert look(outbox, "a").pending == 0
    assert look(outbox, "b").pending == 2
    assert deliver(outbox, "b") == ["3", "4"]


def test_reading_keeps_to_the_number_and_the_bytes_but_gives_at_least_one(outbox):
    outbox.append(drafts(1, 10, payload=b"x" * 100), {})
    assert names(outbox.read("a", 3, FAR)) == ["1", "2", "3"]
    assert names(outbox.read("a", 10, 250)) == ["1", "2"]
    assert names(outbox.read("a", 10, 1)) == ["1"]


def test_reading_takes_nothing_away_until_it_is_settled(outbox):
    outbox.append(drafts(1, 3), {})
    assert names(outbox.read("a", 10, FAR)) == names(outbox.read("a", 10, FAR)) == ["1", "2", "3"]
    assert look(outbox).pending == 3


def test_the_cursor_never_moves_back(outbox):
    outbox.append(drafts(1, 3), {})
    first, second, third = outbox.read("a", 10, FAR)
    epoch = outbox.claim("a")
    outbox.settle("a", epoch, Settlement(cursor=second.seq, delivered=2))
    outbox.settle("a", epoch, Settlement(cursor=first.seq))
    assert names(outbox.read("a", 10, FAR)) == [third.record_id]


def test_numbers_are_never_given_twice_however_empty_the_log_is(outbox):
    first = outbox.append(drafts(1, 3), {})
    deliver(outbox)
    overflow(outbox)
    second = outbox.append([draft("4")], {})
    assert second > first
    assert [entry.seq for entry in outbox.read("a", 10, FAR)] == [second]


def test_an_epoch_that_is_no_more_writes_nothing_at_all(outbox):
    outbox.append(drafts(1, 2), {})
    [first, second] = outbox.read("a", 10, FAR)
    epoch = outbox.claim("a")
    with pytest.raises(LeaseLost):
        outbox.settle(
            "a",
            epoch - 1,
            Settlement(
                cursor=second.seq,
                delivered=1,
                dropped={"stale": 1},
                retries=[Retry(first, 0.0, "x")],
                dead=[DeadLetter(second, "x")],
            ),
        )
    assert look(outbox).pending == 2
    assert outbox.due("a", 1e12, 10) == []
    assert deliver(outbox) == ["1", "2"]


def test_what_waits_for_a_retry_stands_apart_and_holds_up_nothing(outbox):
    last = outbox.append(drafts(1, 3), {})
    [one, two, three] = outbox.read("a", 10, FAR)
    waiting = [Retry(two._replace(attempts=1), 2000.0, "busy")]
    outbox.settle("a", outbox.claim("a"), Settlement(cursor=three.seq, delivered=2, retries=waiting))
    assert outbox.read("a", 10, FAR) == []
    assert outbox.next_due("a") == 2000.0
    assert outbox.due("a", 1999.9, 10) == []
    [again] = outbox.due("a", 2000.0, 10)
    assert again == two._replace(attempts=1)
    assert look(outbox).pending == 1
    assert not outbox.passed("a", last)
    assert outbox.passed("a", one.seq)
    outbox.settle("a", outbox.claim("a"), Settlement(settled=[again], delivered=1))
    assert look(outbox).delivered == 3
    assert outbox.next_due("a") is None
    assert outbox.passed("a", last)


def test_retries_come_when_they_are_due_the_earliest_first(outbox):
    outbox.append(drafts(1, 4), {})
    entries = outbox.read("a", 10, FAR)
    dues = [40.0, 10.0, 30.0, 10.0]
    waiting = [Retry(entry, due, "x") for entry, due in zip(entries, dues, strict=True)]
    outbox.settle("a", outbox.claim("a"), Settlement(cursor=entries[-1].seq, retries=waiting))
    assert names(outbox.due("a", 100.0, 10)) == ["2", "4", "3", "1"]
    assert names(outbox.due("a", 100.0, 2)) == ["2", "4"]
    assert names(outbox.due("a", 30.0, 10)) == ["2", "4", "3"]
    assert outbox.next_due("a") == 10.0


def test_a_retry_that_fails_again_replaces_itself(outbox):
    outbox.append([draft("1")], {})
    [entry] = outbox.read("a", 10, FAR)
    epoch = outbox.claim("a")
    outbox.settle("a", epoch, Settlement(cursor=entry.seq, retries=[Retry(entry._replace(attempts=1), 10.0, "x")]))
    [again] = outbox.due("a", 10.0, 10)
    outbox.settle("a", epoch, Settlement(settled=[again], retries=[Retry(again._replace(attempts=2), 20.0, "y")]))
    assert outbox.due("a", 10.0, 10) == []
    [third] = outbox.due("a", 20.0, 10)
    assert third.attempts == 2
    assert look(outbox).pending == 1


def test_dead_letters_and_drops_are_counted_in_the_balance(outbox):
    outbox.append([*drafts(1, 4), draft("u", "identify")], {})
    entries = outbox.read("a", 10, FAR)
    outbox.settle(
        "a",
        outbox.claim("a"),
        Settlement(
            cursor=entries[-1].seq,
            delivered=1,
            dropped={"stale": 1, "bot": 1},
            dead=[DeadLetter(entries[3], "refused"), DeadLetter(entries[4], "refused")],
        ),
    )
    stats = look(outbox)
    assert (stats.delivered, stats.dropped, stats.dead, stats.pending) == (1, {"stale": 1, "bot": 1}, 1, 0)


def test_state_of_the_destination_is_kept_until_it_changes(outbox):
    epoch = outbox.claim("a")
    assert (look(outbox).breaker, look(outbox).last_error) == ("closed", None)
    outbox.settle("a", epoch, Settlement(error="refused", breaker="open"))
    assert (look(outbox).breaker, look(outbox).last_error) == ("open", "refused")
    outbox.settle("a", epoch, Settlement(breaker="closed"))
    assert (look(outbox).breaker, look(outbox).last_error) == ("closed", "refused")


def test_the_oldest_event_that_waits_is_known(outbox):
    assert look(outbox).oldest_pending is None
    outbox.append([draft("1", timestamp=30.0), draft("2", timestamp=10.0), draft("3", timestamp=20.0)], {})
    assert look(outbox).oldest_pending == 10.0
    [one, two] = outbox.read("a", 2, FAR)
    outbox.settle("a", outbox.claim("a"), Settlement(cursor=two.seq, delivered=1, retries=[Retry(one, 0.0, "x")]))
    assert look(outbox).oldest_pending == 20.0


def test_passed_is_false_for_a_consumer_that_nobody_knows(outbox):
    assert not outbox.passed("nobody", 0)


def test_passed_follows_the_cursor(outbox):
    last = outbox.append(drafts(1, 3), {})
    assert outbox.passed("a", last - 3)
    assert not outbox.passed("a", last)
    deliver(outbox)
    assert outbox.passed("a", last)


def test_overflow_drops_the_oldest_and_counts_it_for_each_consumer_that_lags(make):
    outbox = make(limit=5)
    outbox.register("a")
    outbox.register("b")
    outbox.append(drafts(1, 5), {})
    deliver(outbox, "b")
    outbox.append([draft("i", "identify"), *drafts(6, 8)], {})
    overflow(outbox)
    assert look(outbox, "a").dropped == {"overflow": 4}
    assert look(outbox, "b").dropped == {}
    assert names(outbox.read("a", 10, FAR)) == ["5", "i", "6", "7", "8"]
    assert deliver(outbox, "b") == ["i", "6", "7", "8"]


@pytest.mark.parametrize("delivered", [0, 2, 3, 6])
def test_what_overflows_while_it_is_sent_is_counted_once(make, delivered):
    outbox = make(limit=4)
    outbox.register("a")
    outbox.append(drafts(1, 3), {})
    batch = outbox.read("a", 10, FAR)
    outbox.append(drafts(4, 6), {})
    overflow(outbox)
    if delivered:
        last = batch[min(delivered, 3) - 1].seq
        outbox.settle("a", outbox.claim("a"), Settlement(cursor=last, delivered=min(delivered, 3)))
    else:
        outbox.settle("a", outbox.claim("a"), Settlement(error="down"))
    stats = look(outbox)
    assert stats.delivered == min(delivered, 3)
    assert stats.dropped.get("overflow", 0) == (2 if delivered == 0 else 0)
    rest = deliver(outbox)
    assert rest[-1] == "6"
    assert look(outbox).pending == 0


def test_retries_are_bounded_like_the_log_and_the_balance_holds(make):
    outbox = make(limit=5)
    outbox.register("a")
    for start in range(0, 20, 4):
        outbox.append(drafts(start, start + 3), {})
        batch = outbox.read("a", 10, FAR)
        waiting = [Retry(entry, 1.0, "x") for entry in batch]
        outbox.settle("a", outbox.claim("a"), Settlement(cursor=batch[-1].seq, retries=waiting))
    assert look(outbox).pending == 5
    assert look(outbox).dropped == {"overflow": 15}
    assert names(outbox.due("a", 1.0, 10)) == ["15", "16", "17", "18", "19"]


def test_threads_may_append_and_deliver_at_once(make):
    outbox = make(limit=10_000)
    outbox.register("a")
    outbox.register("b")
    seen = {"a": [], "b": []}
    done = threading.Event()

    def append(thread):
        for number in range(40):
            outbox.append([draft(f"{thread}-{number}-{each}") for each in range(5)], {"late_helper": 1})

    def consume(name):
        while True:
            over = done.is_set()
            if not (batch := deliver(outbox, name, limit=37)) and over:
                return
            seen[name] += batch

    writers = [threading.Thread(target=append, args=(thread,)) for thread in range(3)]
    readers = [threading.Thread(target=consume, args=(name,)) for name in seen]
    for thread in (*writers, *readers):
        thread.start()
    for thread in writers:
        thread.join()
    done.set()
    for thread in readers:
        thread.join()
    expected = sorted(f"{thread}-{number}-{each}" for thread in range(3) for number in range(40) for each in range(5))
    for name, got in seen.items():
        assert sorted(got) == expected
        for thread in range(3):
            own = [each for each in got if each.startswith(f"{thread}-")]
            assert own == sorted(own, key=lambda each: tuple(map(int, each.split("-"))))
        assert look(outbox, name).delivered == 600
    assert outbox.stats().counts == {"accepted": 600, "late_helper": 120}


def test_closing_twice_and_using_again_is_no_error(outbox):
    outbox.append([draft("1")], {})
    close = partial(outbox.close)
    close()
    close()
    assert names(outbox.read("a", 10, FAR)) == ["1"]


def test_it_says_how_far_behind_a_consumer_is(outbox):
    outbox.register("a")
    outbox.read("a", 1, FAR)
    assert outbox.behind("a") == 0
    outbox.append(drafts(1, 3), {})
    assert outbox.behind("a") == 3
    epoch = outbox.claim("a")
    outbox.settle("a", epoch, Settlement(cursor=outbox.read("a", 2, FAR)[-1].seq, delivered=2))
    assert outbox.behind("a") == 1
