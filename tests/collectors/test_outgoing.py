"""Requests that leave: what an answer means, what a secret shows, and how connections are kept."""

import os
import pickle
import socket
import time
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import msgspec
import pytest
from destinations.server import Received, Reply, Server
from destinations.vendor import numbered
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware import DeliveryError
from analytics_middleware.collectors.webhook import WebhookCollector
from analytics_middleware.outgoing.answers import error_for, excerpt, retry_after
from analytics_middleware.outgoing.secret import Secret, redact
from analytics_middleware.outgoing.transport import Answer
from analytics_middleware.outgoing.workers import Workers


def hook(server: Server, url: str | None = None, **options: Any) -> WebhookCollector:
    return WebhookCollector(url or f"{server.url}/x", **{"allow_http": True, "allow_private": True, **options})


# Retry-After, statuses.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("120", 120.0), (" 7 ", 7.0), ("1.5", 1.5), ("0", 0.0), ("Thu, 01 Jan 1970 00:16:40 GMT", 1000.0)]
    + [("Wed, 31 Dec 1969 00:00:00 GMT", 0.0)]
    + [
        (text, None)
        for text in ("", "soon", "-5", "1e9", "NaN", "inf", "9" * 40, "Thu, 99 Foo 2026", "²", "12 34", ",")
    ],
)
def test_retry_after_is_seconds_or_a_date_and_garbage_is_nothing(text: str, seconds: float | None) -> None:
    """RFC 9110 section 10.2.3, read at the epoch."""
    assert retry_after(Answer(429, {"retry-after": text}), now=0.0) == seconds


@given(st.text(max_size=60) | st.floats().map(str) | st.floats(0, 2e9).map(formatdate))
def test_no_retry_after_breaks_anything(text: str) -> None:
    """It is a finite number of seconds, or nothing."""
    seconds = retry_after(Answer(503, {"retry-after": text}))
    assert seconds is None or 0 <= seconds < 1e10


def test_statuses_mean_what_they_say() -> None:
    """Accepted, too large, refused for good, or to be tried again: after RFC 9110."""

    def kind(status: int) -> str:
        error = error_for(Answer(status, {}), "https://example.com")
        if error is None:
            return "ok"
        return "split" if error.too_large else "final" if error.permanent else "again"

    assert [kind(status) for status in (200, 202, 204, 299)] == ["ok"] * 4
    assert kind(413) == "split"
    assert [kind(status) for status in (400, 406, 411, 414, 415, 422, 431, 451)] == ["final"] * 8
    assert [kind(status) for status in (408, 425, 429, 500, 502, 503, 504, 599)] == ["again"] * 8
    # Redirects and what is about keys and URLs: the events are not at fault.
    assert [kind(status) for status in (301, 302, 307, 308, 401, 402, 403, 404, 405, 407, 410)] == ["again"] * 11


def test_an_answers_text_is_fit_for_a_log() -> None:
    """Short, one line, without control sequences."""
    answer = Answer(400, {}, b"no\r\n\x1b[31mred\xff" + b"x" * 5000)
    assert excerpt(answer).isprintable()
    assert len(excerpt(answer)) <= 200


# Secrets.


def test_a_secret_does_not_print() -> None:
    """In no way in which values get printed by accident."""
    secret = Secret("hunter2-hunter2")
    shown = f"{secret} {secret!r} {secret!s:>20} {[secret]} { {'a': secret} }"
    assert "hunter2" not in shown
    assert secret == Secret("hunter2-hunter2") != Secret("other")
    assert len({secret, Secret("hunter2-hunter2")}) == 1
    assert secret != "hunter2-hunter2"
    with pytest.raises(TypeError):
        pickle.dumps(secret)
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


def test_redaction_knows_the_forms_of_a_secret() -> None:
    """Plain, in a URL, in Basic authorisation."""
    secret = Secret("a/b+c d==")
    text = redact("x a/b+c d== a%2Fb%2Bc%20d%3D%3D a%2Fb%2Bc+d%3D%3D YS9iK2MgZD09Og==", [secret])
    assert text == "x *** *** *** ***"


# Connections.


def test_connections_are_kept_and_a_closed_one_is_noticed(server: Server) -> None:
    """A server that closes an idle connection costs no event."""
    collector = hook(server)
    server.handler = lambda _request: Reply(200, headers={"Connection": "close"})
    for _ in range(3):
        collector.collect(numbered(1))
        collector.flush()
    assert server.connections == 3
    server.handler = lambda _request: Reply(200)
    for _ in range(3):
        collector.collect(numbered(1))
        collector.flush()
    collector.close()
    assert server.connections == 4


def test_answers_without_a_length_are_read(server: Server) -> None:
    """Chunked, empty, and until the end of the connection."""
    raw = [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nuntil the end",
    ]
    collector = hook(server)
    for data in raw:
        server.handler = lambda _request, data=data: lambda _r, line: line.send(data)
        collector.collect(numbered(1))
        collector.flush()
    assert collector.reported == "200 until the end"
    collector.close()


@pytest.mark.parametrize("interim", [(100,), (102,), (103, 103, 100, 103)])
def test_interim_answers_are_passed_over(server: Server, interim: tuple[int, ...]) -> None:
    """Early hints, say: taken for the final answer they would have events sent again and again."""
    said = b"".join(b"HTTP/1.1 %d Wait\r\nLink: </a>\r\n\r\n" % status for status in interim)
    server.handler = lambda _request: lambda _r, line: line.send(said + Reply(202, "taken").encoded())
    collector = hook(server)
    collector.collect(numbered(1))
    collector.flush()
    collector.close()
    assert collector.reported == "202 taken"


def test_a_server_that_never_comes_to_an_answer_is_given_up(server: Server) -> None:
    """As one that sends nonsense: it may have taken the events."""
    said = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000
    server.handler = lambda _request: lambda _r, line: line.send(said)
    collector = hook(server)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError, match="no answer") as caught:
        collector.flush()
    collector.close()
    assert caught.value.ambiguous


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_uses_connections_of_its_own(server: Server) -> None:
    """The parent's stays in order, whatever the child does."""
    collector = hook(server)

    def send() -> None:
        collector.collect(numbered(1))
        collector.flush()

    send()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            send()
            collector.close()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(pid, 0)[1] == 0
    send()
    collector.close()
    assert [request.connection for request in server.requests] == [1, 2, 1]


def test_the_total_time_is_bounded_whatever_drips(server: Server) -> None:
    """A server that sends a byte now and then is given up at the time-out, not later."""

    def drip(_request: Received, line: Any) -> None:
        line.drip(b"HTTP/1.1 200 OK\r\n" + b"x" * 1000, 0.05)

    server.handler = lambda _request: drip
    collector = hook(server, timeout=0.3)
    collector.collect(numbered(1))
    began = time.monotonic()
    with pytest.raises(DeliveryError, match="time-out") as caught:
        collector.flush()
    assert time.monotonic() - began < 2
    assert caught.value.ambiguous


def test_a_large_body_to_a_server_that_does_not_read_is_not_ambiguous() -> None:
    """As long as a part is missing no server can have acted on it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        options: dict[str, Any] = {"allow_http": True, "allow_private": True, "timeout": 0.3}
        collector = WebhookCollector(url, max_bytes=50_000_000, **options)
        for index in range(40):
            collector.collect(numbered(index, properties={f"k{key}": "v" * 4096 for key in range(64)}))
        with pytest.raises(DeliveryError) as caught:
            collector.flush()
        collector.close()
    assert not caught.value.ambiguous


def test_no_proxy_of_the_environment_is_used(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless the collector is told."""
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    collector = hook(server)
    collector.collect(numbered(1))
    collector.flush()
    collector.close()
    assert len(server.requests) == 1


def test_a_given_proxy_is_asked_for_a_tunnel(server: Server) -> None:
    """CONNECT with the destination's name, which the proxy resolves."""
    server.handler = lambda _request: lambda _r, line: line.send(b"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n")
    collector = WebhookCollector("https://hooks.example/x", proxy=server.url)
    collector.collect(numbered(1))
    with pytest.raises(DeliveryError, match="407") as caught:
        collector.flush()
    collector.close()
    assert not caught.value.ambiguous
    assert (server.requests[0].method, server.requests[0].target) == ("CONNECT", "hooks.example:443")


# Workers.


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers(4, "test-worker")
    yield made
    made.close(5)


def test_workers_return_results_in_order(workers: Workers) -> None:
    """However many items and whichever thread did them."""
    assert workers.map(lambda number: number * 2, range(100)) == [number * 2 for number in range(100)]
    assert workers.map(lambda number: number, []) == []


def test_workers_begin_nothing_once_told_to_stop(workers: Workers) -> None:
    """What was not begun has no result."""
    results = workers.map(lambda number: number, range(1000), lambda result: result == 5)
    assert results[:6] == list(range(6))
    assert results[-1] is None
