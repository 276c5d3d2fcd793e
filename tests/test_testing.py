"""What applications test with: captured events, and nothing leaves the process under a test runner."""

import contextvars
import gc
import threading

import pytest

from analytics_middleware import Analytics, Event, add_property
from analytics_middleware.testing import FakeCollector, capture_events

pytest_plugins = ["pytester"]


def names(events):
    return [event.event_name for event in events]


def test_the_fixture_collects_at_once_and_in_order(analytics_events):
    analytics = Analytics()
    analytics.track("one")
    assert names(analytics_events) == ["one"]
    analytics.track("two", {"plan": "annual"})
    assert names(analytics_events) == ["one", "two"]
    assert analytics_events[1].properties == {"plan": "annual"}


def test_analytics_made_before_and_within_the_capture_are_both_captured():
    before = Analytics()
    with capture_events() as events:
        within = Analytics()
        before.track("before")
        within.track("within")
    assert names(events) == ["before", "within"]


def test_while_events_are_captured_no_collector_gets_any():
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True)
    with capture_events() as events:
        analytics.track("captured")
        assert analytics.flush()
    analytics.track("after")
    assert analytics.flush()
    analytics.close()
    assert names(events) == ["captured"]
    assert names(collector.events) == ["after"]


def test_captures_nest_and_the_inner_one_has_its_own_events():
    analytics = Analytics()
    with capture_events() as outer:
        analytics.track("outer 1")
        with capture_events() as inner:
            analytics.track("inner")
        analytics.track("outer 2")
    analytics.track("nowhere")
    assert (names(outer), names(inner)) == (["outer 1", "outer 2"], ["inner"])


def test_a_capture_ends_with_its_block_even_if_that_raises():
    analytics = Analytics()
    with pytest.raises(LookupError), capture_events() as events:
        raise LookupError
    analytics.track("after")
    assert events == []
    assert not analytics.capturing
    assert not analytics.active


def test_captured_events_are_what_collectors_would_get():
    analytics = Analytics(processors=[lambda event: event.replace(event_name=event.event_name.upper())])
    with capture_events() as events:
        analytics.track("x", {"set": {2, 1}})
    assert names(events) == ["X"]
    assert events[0].properties == {"set": "[1,2]"}
    assert events[0] == Event.decode(events[0].encode())


def test_helpers_work_within_a_capture(analytics_events):
    with Analytics().context("job"):
        add_property("rows", 5)
    assert analytics_events[0].properties == {"rows": 5}


def test_events_of_other_threads_are_captured_too(analytics_events):
    analytics = Analytics()
    thread = threading.Thread(target=contextvars.Context().run, args=(analytics.track, "thread"))
    thread.start()
    thread.join()
    assert names(analytics_events) == ["thread"]


def test_analytics_that_is_switched_off_stays_off_in_a_capture(analytics_events):
    analytics = Analytics(enabled=False)
    assert not analytics.active
    analytics.track("x")
    assert analytics_events == []


def test_under_a_test_runner_analytics_is_off_and_starts_no_thread():
    collector = FakeCollector()
    analytics = Analytics([collector])
    before = threading.active_count()
    assert not analytics.active
    analytics.track("x")
    assert analytics.flush()
    analytics.close()
    assert threading.active_count() == before
    assert collector.events == []
    assert analytics.stats()["accepted"] == 0


def test_asked_for_analytics_is_on_under_a_test_runner():
    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True)
    analytics.track("x")
    assert analytics.flush()
    analytics.close()
    assert names(collector.events) == ["x"]


def test_an_analytics_that_nobody_holds_any_more_is_not_kept_alive_by_capturing():
    analytics = Analytics()
    alive = []

    class Flag:
        def __del__(self):
            alive.append("gone")

    analytics.flag = Flag()
    with capture_events():
        pass
    del analytics
    gc.collect()
    assert alive == ["gone"]


def test_the_plugin_gives_the_fixture_to_any_project(pytester):
    pytester.makepyfile(
        """
        from analytics_middleware import Analytics

        def test_it(analytics_events):
            Analytics().track("signup")
            assert [event.event_name for event in analytics_events] == ["signup"]
        """
    )
    pytester.runpytest_inprocess("-p", "no:randomly").assert_outcomes(passed=1)


def test_analytics_is_off_under_a_pytest_that_does_not_name_its_version(pytester):
    pytester.makepyfile(before_8_2="import os; del os.environ['PYTEST_VERSION']")
    pytester.makeconftest("from analytics_middleware import Analytics; analytics = Analytics()")
    pytester.makepyfile("def test_it():\n    from conftest import analytics\n    assert not analytics.active")
    pytester.runpytest_subprocess("-p", "before_8_2").assert_outcomes(passed=1)


def test_the_fake_collector_keeps_events_and_fails_when_told_to():
    fails = [OSError("down"), None]

    def fail(events):
        if error := fails.pop(0):
            raise error

    fake = FakeCollector("fake", fail=fail, max_batch=7)
    assert (fake.name, fake.max_batch) == ("fake", 7)
    fake.collect(Event(event_name="a"))
    with pytest.raises(OSError, match="down"):
        fake.flush()
    fake.collect(Event(event_name="a"))
    fake.flush()
    fake.close()
    assert (names(fake.events), fake.batches, fake.closed) == (["a"], 2, True)
