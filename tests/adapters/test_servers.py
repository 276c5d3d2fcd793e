"""The contract over a socket, on real servers: what arrives is exactly what happened, after a graceful end too."""

from collections import Counter

import pytest
from contract.pages import ENDLESS_CHUNK, LONG_CHUNKS
from contract.rows import ROWS, Row
from contract.servers import SERVERS, Run, row_agent, run
from contract.stacks import Stack, load, missing

every_server = pytest.mark.parametrize("name", SERVERS)

_runs: dict[str, Run | BaseException] = {}


@pytest.fixture
def served(name: str) -> Run:
    """What came of the server's life; lived once, whatever the order of the tests."""
    server = SERVERS[name]
    program = server.command[0]
    if framework := missing(server.stack) or (None if _installed(program) else program):
        pytest.skip(f"{framework} is not installed")
    if name not in _runs:
        try:
            _runs[name] = run(server)
        except Exception as error:
            _runs[name] = error
    result = _runs[name]
    if isinstance(result, BaseException):
        raise result
    return result


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


def stack_of(name: str) -> Stack:
    return load(SERVERS[name].stack)


@every_server
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_the_same_request_makes_the_same_event_on_every_server(name: str, served: Run, row: Row) -> None:
    assert row.summary(served.of(row_agent(row))) == row.expectation(stack_of(name))


@every_server
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_answers_are_the_same_to_the_byte_with_and_without_the_middleware(name: str, served: Run, row: Row) -> None:
    assert served.recorded[row.id] == served.plain[row.id]
    assert served.plain[row.id].startswith(b"HTTP/1.1 ")


@every_server
def test_every_worker_delivers_each_of_its_events_once_before_it_ends(name: str, served: Run) -> None:
    assert len(served.workers) == SERVERS[name].workers
    arrived = Counter(event.properties.get("n") for event in served.of("caller"))
    assert arrived == Counter(served.calls)
    assert {pid for pid, event in served.events if event.user_agent == "caller"} == served.workers


@every_server
def test_a_client_that_hangs_up_during_a_stream_is_a_499(name: str, served: Run) -> None:
    assert [(event.type.value, event.status_code, event.matched_pattern) for event in served.of("gone")] == [
        ("pageview", 499, stack_of(name).pattern("/endless"))
    ]


@every_server
def test_what_waits_for_a_batch_to_fill_is_delivered_when_the_server_ends(name: str, served: Run) -> None:
    at_once = Counter((pid, event.event_id) for pid, event in served.events)
    assert Counter((pid, event.event_id) for pid, event in served.patient) == at_once


@every_server
def test_a_request_under_way_when_the_server_is_told_to_end_is_recorded(name: str, served: Run) -> None:
    assert served.last_bytes > LONG_CHUNKS * len(ENDLESS_CHUNK)
    assert [(event.type.value, event.status_code, event.matched_pattern) for event in served.of("last")] == [
        ("pageview", 200, stack_of(name).pattern("/long"))
    ]


@every_server
def test_no_event_arrives_twice_or_from_nowhere(name: str, served: Run) -> None:
    ids = Counter(event.event_id for _, event in served.events)
    assert [event_id for event_id, count in ids.items() if count > 1] == []
    known = {"caller", "gone", "last", *(row_agent(row) for row in ROWS)}
    assert {event.user_agent for _, event in served.events} <= known


@every_server
def test_nothing_is_wrong_by_its_own_account(name: str, served: Run) -> None:
    told = [line for line in served.log.splitlines() if "analytics:" in line]
    # What one row provokes is logged, that there is no data directory, and how to sign in.
    expected = ("() ignored: ", "no data_dir", "reading is closed")
    assert [line for line in told if not any(part in line for part in expected)] == []
