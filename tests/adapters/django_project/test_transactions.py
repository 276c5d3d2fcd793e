"""Events that wait for the database's word."""

import asyncio
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import RequestFactory, TestCase, override_settings

from analytics_middleware import Money
from analytics_middleware.context import current
from analytics_middleware_django import AnalyticsMiddleware, get_analytics, track_on_commit


@pytest.fixture(autouse=True)
def connected() -> None:
    connection.ensure_connection()


def names(events: list[Any]) -> list[str | None]:
    return [event.event_name for event in events]


def test_an_event_waits_for_the_outermost_commit(analytics_events: list[Any]) -> None:
    with transaction.atomic():
        with transaction.atomic():
            track_on_commit("order.placed", {"items": 2}, revenue=Money.of(29, "GBP"), user_id=7)
        assert analytics_events == []
    [event] = analytics_events
    assert (event.event_name, event.properties, event.user_id) == ("order.placed", {"items": 2}, "7")


def test_an_event_is_forgotten_with_its_transaction(analytics_events: list[Any]) -> None:
    with transaction.atomic():
        track_on_commit("kept")
        with transaction.atomic():
            track_on_commit("forgotten")
            transaction.set_rollback(True)
    assert names(analytics_events) == ["kept"]


def test_outside_a_transaction_an_event_is_sent_at_once(analytics_events: list[Any]) -> None:
    track_on_commit("at.once")
    assert names(analytics_events) == ["at.once"]


def test_it_can_be_called_from_async_code(analytics_events: list[Any]) -> None:
    async def job() -> None:
        track_on_commit("from.async")
        await sync_to_async(track_on_commit)("from.thread")

    asyncio.run(job())
    assert names(analytics_events) == ["from.async", "from.thread"]


def test_an_event_keeps_its_request_and_its_time_when_the_commit_comes_later(analytics_events: list[Any]) -> None:
    def view(request: Any) -> HttpResponse:
        track_on_commit("order.placed")
        return HttpResponse()

    with transaction.atomic():
        AnalyticsMiddleware(view)(RequestFactory().post("/checkout", headers={"user-agent": "Lynx"})).close()
        assert current.get() is None
    page, order = analytics_events
    assert (order.event_name, order.path, order.user_agent) == ("order.placed", "/checkout", "Lynx")
    assert page.timestamp <= order.timestamp


def test_in_a_request_arguments_that_make_no_event_are_counted_and_harm_nobody(analytics_events: list[Any]) -> None:
    def view(request: Any) -> HttpResponse:
        track_on_commit("")
        track_on_commit("order.placed", using="nowhere")
        return HttpResponse()

    AnalyticsMiddleware(view)(RequestFactory().get("/page")).close()
    assert names(analytics_events) == [None]
    assert get_analytics().stats()["bad_argument"] == 2


def test_outside_a_request_arguments_that_make_no_event_raise() -> None:
    with pytest.raises(ValueError, match="empty"):
        track_on_commit("")


def test_tests_see_it_by_djangos_own_means(analytics_events: list[Any]) -> None:
    with transaction.atomic():
        with TestCase.captureOnCommitCallbacks(execute=True):
            track_on_commit("order.placed")
        assert names(analytics_events) == ["order.placed"]
        transaction.set_rollback(True)


def test_analytics_that_is_off_sends_nothing_and_checks_nothing() -> None:
    with override_settings(ANALYTICS={"ENABLED": False}):
        track_on_commit("")
