"""Every collector that sends over HTTP survives what networks and servers do, and loses no count of any event."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from destinations import server as faults
from destinations.all import VENDORS
from destinations.delivering import OUTBOXES, Delivery
from destinations.server import Received, Reply, Server, unused_port
from destinations.vendor import Vendor, numbered, numbers

EVENTS = 5

# The destination says that it took nothing: everything waits, and arrives once it is well.
REFUSALS: dict[str, Any] = {
    "429 with seconds": Reply(429, headers={"Retry-After": "120"}),
    "429 with a date": Reply(429, headers={"Retry-After": "Sat, 01 Jan 2000 00:00:00 GMT"}),
    "429 with garbage": Reply(429, headers={"Retry-After": "tomorrow, \x7f or 9e999"}),
    "500": Reply(500, "Internal Server Error"),
    "503 with HTML": Reply(503, "<html>" + "busy " * 5000, {"Content-Type": "text/html"}),
    "redirect": Reply(302, headers={"Location": "http://127.0.0.1:1/elsewhere"}),
    "401": Reply(401, {"error": "no such key"}),
}
# The whole request may have arrived; nobody can tell.
SILENCES: dict[str, Any] = {
    "hang": faults.hang,
    "hang up": faults.hang_up,
    "reset": faults.reset_without_answer,
    "slow headers": faults.slow_headers,
    "giant headers": faults.giant_headers,
    "many headers": faults.many_headers,
    "not HTTP": faults.not_http,
}
# A success was said, and then the line broke.
HALVES: dict[str, Any] = {
    "reset mid-body": faults.reset_mid_body,
    "slow body": faults.slow_body,
    "endless body": faults.endless_body,
    "truncated gzip": faults.truncated_gzip,
    "gzip bomb": faults.gzip_bomb,
}


class Sick:
    """Answers the first *times* requests with *fault*, then as the vendor does."""

    def __init__(self, vendor: Vendor, fault: Any, times: int) -> None:
        self._vendor = vendor
        self._fault = fault
        self.times = times

    def __call__(self, request: Received) -> Any:
        if self.times:
            self.times -= 1
            return self._fault
        return self._vendor.answer(request)


@pytest.fixture(params=VENDORS, ids=lambda vendor: vendor.name)
def vendor(request: pytest.FixtureRequest) -> Vendor:
    made: Vendor = request.param()
    return made


@pytest.fixture(params=OUTBOXES)
def outbox(request: pytest.FixtureRequest) -> str:
    kind: str = request.param
    return kind


@pytest.fixture
def deliver(vendor: Vendor, outbox: str, server: Server, tmp_path: Path) -> Iterator[Delivery]:
    delivery = Delivery(vendor.make(server.url, timeout=0.5), outbox, tmp_path)
    yield delivery
    delivery.close()


def put(delivery: Delivery) -> None:
    delivery.put(*(numbered(index) for index in range(EVENTS)))


@pytest.mark.parametrize("fault", REFUSALS)
def test_what_was_refused_for_now_arrives_later(vendor: Vendor, deliver: Delivery, server: Server, fault: str) -> None:
    """No event is dropped or dead, and each arrives exactly once."""
    server.handler = Sick(vendor, REFUSALS[fault], 3)
    put(deliver)
    stats = deliver.finish()
    assert vendor.violations == []
    if fault in vendor.final:
        assert stats.dropped == {}
        assert stats.delivered == len(vendor.accepted) == EVENTS - stats.dead
        return
    assert (stats.delivered, stats.dead, stats.dropped) == (EVENTS, 0, {})
    assert sorted(vendor.accepted) == list(range(EVENTS))


def test_retry_after_is_a_floor(vendor: Vendor, deliver: Delivery, server: Server) -> None:
    """After a 429 that asks for two minutes nothing is sent for two minutes."""
    server.handler = Sick(vendor, REFUSALS["429 with seconds"], 1)
    put(deliver)
    began = deliver.now
    deliver.step()
    deliver.finish()
    assert deliver.now - began >= 120


@pytest.mark.parametrize("fault", SILENCES)
def test_what_may_have_arrived_is_sent_again_only_where_repeats_are_recognised(
    vendor: Vendor, deliver: Delivery, server: Server, fault: str
) -> None:
    """Elsewhere it is dropped and counted as ambiguous: the destination would count it twice."""
    server.handler = Sick(vendor, SILENCES[fault], 2)
    put(deliver)
    stats = deliver.finish()
    assert stats.dead == 0
    assert sorted(vendor.accepted) == sorted(set(vendor.accepted))
    if deliver.collector.dedupes:
        assert (stats.delivered, stats.dropped) == (EVENTS, {})
        assert sorted(vendor.accepted) == list(range(EVENTS))
    else:
        assert stats.dropped.keys() == {"ambiguous"}
        assert stats.delivered == len(vendor.accepted) == EVENTS - stats.dropped["ambiguous"]


@pytest.mark.parametrize("fault", HALVES)
def test_a_success_whose_text_is_lost_is_settled(vendor: Vendor, deliver: Delivery, server: Server, fault: str) -> None:
    """Where the text matters it counts as unknown, elsewhere as a success; within the time-out, whatever its size."""
    server.handler = Sick(vendor, HALVES[fault], 1)
    put(deliver)
    began = time.monotonic()
    stats = deliver.finish()
    assert time.monotonic() - began < 10
    assert stats.dead == 0
    assert stats.dropped.keys() <= {"ambiguous"}
    assert vendor.violations == []


def test_nobody_listens(vendor: Vendor, outbox: str, tmp_path: Path) -> None:
    """A refused connection costs no event anything: it waits, unattempted."""
    delivery = Delivery(vendor.make(f"http://127.0.0.1:{unused_port()}"), outbox, tmp_path)
    put(delivery)
    for _ in range(8):
        delivery.step()
    stats = delivery.stats
    delivery.close()
    assert (stats.pending, stats.breaker) == (EVENTS, "open")
    assert "onnection" in (stats.last_error or "")


def test_a_batch_that_is_too_large_is_split(vendor: Vendor, deliver: Delivery, server: Server) -> None:
    """413 halves the batch until it fits; an event that is too large alone is a dead letter."""

    def handler(request: Received) -> Reply:
        found = numbers(request)
        return Reply(413, "Payload Too Large") if len(found) > 2 or 3 in found else vendor.answer(request)

    server.handler = handler
    put(deliver)
    stats = deliver.finish()
    assert (stats.delivered, stats.dead, stats.dropped) == (EVENTS - 1, 1, {})
    assert sorted(vendor.accepted) == [0, 1, 2, 4]


def test_a_destination_that_fails_halfway_gets_only_what_it_did_not_take(
    vendor: Vendor, deliver: Delivery, server: Server
) -> None:
    """After one good request it fails for a while; nothing that it took is sent again."""
    script = iter([True, False, False, False])
    server.handler = lambda request: vendor.answer(request) if next(script, True) else Reply(503, "busy")
    put(deliver)
    stats = deliver.finish()
    assert (stats.delivered, stats.dead, stats.dropped) == (EVENTS, 0, {})
    assert sorted(vendor.accepted) == list(range(EVENTS))


def test_a_destination_that_hangs_for_long_costs_few_events(vendor: Vendor, deliver: Delivery, server: Server) -> None:
    """Beyond the first batch, what repeats can't be recognised of is risked one event at a time, ever more seldom."""
    server.handler = lambda _request: faults.hang_up
    deliver.put(*(numbered(index) for index in range(300)))
    for _ in range(8):
        deliver.step()
    lost = deliver.stats.dropped.get("ambiguous", 0)
    collector = deliver.collector
    # Where a request has one event, only those under way at once; GA4's have up to 25.
    first = collector.concurrency if vendor.name in ("plausible", "openpanel") else collector.max_batch
    assert lost <= (0 if collector.dedupes else first + 8)
