"""Whose request it is: the answers of frameworks and of the hook, the same in whatever event they end up."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from contract.drivers import Request
from contract.rows import DOCUMENT
from contract.stacks import Stack

from analytics_middleware import Analytics, Event, track

adapters = pytest.mark.parametrize("stack", ["Django WSGI", "Flask", "Starlette"], indirect=True)
"""One of each: the bare layers know no users."""


class User:
    def __str__(self) -> str:
        return "ann@example.org"


async def later() -> str:
    return "u1"


def served_by(get_user_id: Callable[[Any], Any], stack: Stack) -> tuple[list[Event], dict[str, Any]]:
    """Return the events of a page that tracks one besides its own, and the counters."""
    with stack.serve({"enabled": True, "get_user_id": get_user_id}) as served:
        events: list[Event] = []
        served.analytics.capture(events.append)
        served.ask(Request("GET", "/checkout", DOCUMENT))
        return events, served.analytics.stats()


@adapters
def test_a_hook_whose_answer_must_be_awaited_gives_no_user_and_is_counted(stack: Stack) -> None:
    events, stats = served_by(lambda _request: later(), stack)
    assert len(events) == 2
    assert [event.user_id for event in events] == [None, None]
    assert stats["internal_errors"] > 0


@adapters
@pytest.mark.parametrize("answer", [User(), True, b"u1"], ids=["user", "bool", "bytes"])
def test_a_hook_whose_answer_is_no_id_gives_no_user_and_is_counted(stack: Stack, answer: object) -> None:
    events, stats = served_by(lambda _request: answer, stack)
    assert [event.user_id for event in events] == [None, None]
    assert stats["internal_errors"] > 0


@adapters
@pytest.mark.parametrize(
    ("answer", "user_id"),
    [
        (" bob ", "bob"),
        ("x" * 300, "x" * 256),
        ("a\ud800", "a?"),
        (7, "7"),
        (UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        ("", None),
        ("  ", None),
        (None, None),
    ],
)
def test_a_user_is_the_same_in_the_requests_event_and_in_those_it_tracks(
    stack: Stack, answer: object, user_id: str | None
) -> None:
    events, stats = served_by(lambda _request: answer, stack)
    assert len(events) == 2
    assert [event.user_id for event in events] == [user_id, user_id]
    assert stats["internal_errors"] == 0


def test_what_is_tracked_in_a_websocket_has_its_user_and_address(analytics_events: list[Event]) -> None:
    pytest.importorskip("starlette")
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.routing import WebSocketRoute
    from starlette.testclient import TestClient
    from starlette.websockets import WebSocket

    from analytics_middleware_starlette import AnalyticsMiddleware

    async def chat(socket: WebSocket) -> None:
        await socket.accept()
        track("chat.opened")
        await socket.close()

    analytics = Analytics(get_user_id=lambda connection: connection.headers["x-user"])
    app = Starlette(
        routes=[WebSocketRoute("/chat/{room}", chat)],
        middleware=[Middleware(AnalyticsMiddleware, analytics=analytics)],
    )
    with TestClient(app).websocket_connect("/chat/1?token=secret", headers={"x-user": "u7"}):
        pass
    [event] = analytics_events
    assert (event.user_id, event.matched_pattern) == ("u7", "/chat/{room}")
    assert event.url == "ws://testserver/chat/1"
