"""The funnel's matcher against the definition, read aloud: try every choice of one event per step."""

from datetime import UTC, datetime, timedelta
from itertools import permutations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from analytics_middleware.store._funnel import best_attempt

START = datetime(2025, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def stream(*pairs):
    return sorted(((START + second * SECOND, name) for second, name in pairs), key=lambda pair: pair[0])


def attempts(events, steps, window, order):
    """Every attempt: the events it takes (as indexes) for its first steps, or for some of the steps."""
    sizes = range(1, len(steps) + 1)
    for size in sizes:
        for chosen in permutations(range(len(events)), size):
            times = [events[index][0] for index in chosen]
            names = [events[index][1] for index in chosen]
            if window is not None and max(times) - min(times) > window:
                continue
            if order == "any":
                remaining = list(steps)
                if all(name in remaining and (remaining.remove(name) or True) for name in names):
                    yield chosen
                continue
            if names != list(steps[:size]) or times != sorted(times):
                continue
            foreign = (at for at, name in events if name not in steps)
            if order == "strict" and any(times[0] < at < times[-1] for at in foreign):
                continue
            yield chosen


def expected(events, steps, window, order):
    """Steps of the best attempt, the latest instant such an attempt begins at, the earliest end from there."""
    found = list(attempts(events, steps, window, order))
    if not found:
        return None
    best = max(len(chosen) for chosen in found)
    spans = [(min(events[i][0] for i in c), max(events[i][0] for i in c)) for c in found if len(c) == best]
    begin = max(begin for begin, _ in spans)
    return best, begin, min(end for start, end in spans if start == begin)


names = st.sampled_from("abcx")
streams = st.lists(st.tuples(st.integers(0, 5), names), max_size=6).map(lambda pairs: stream(*pairs))
windows = st.none() | st.integers(1, 4).map(lambda seconds: seconds * SECOND)


@settings(max_examples=400, deadline=None)
@given(streams, st.lists(st.sampled_from("abc"), min_size=1, max_size=4), windows,
       st.sampled_from(["ordered", "strict", "any"]))  # fmt: skip
@example(stream((0, "a"), (1, "x"), (1, "b")), ["a", "b"], None, "strict")
@example(stream((0, "b"), (0, "a"), (0, "a")), ["a", "b", "a"], None, "ordered")
def test_the_matcher_finds_what_the_definition_says(events, steps, window, order):
    attempt = best_attempt(events, steps, window, order)
    found = None if attempt is None else (attempt.steps, events[attempt.first][0], attempt.end)
    assert found == expected(events, steps, window, order)


def test_of_several_step_0_events_at_one_instant_the_last_stands_for_the_attempt():
    attempt = best_attempt(stream((1, "a"), (1, "a"), (2, "b")), ["a", "b"], None, "ordered")
    assert attempt is not None
    assert attempt.first == 1


def test_many_beginnings_of_an_unfinished_funnel_are_no_trouble():
    """Fifty thousand page views of somebody who never buys: no beginning makes a search through all the others."""
    views = stream(*((second, "a") for second in range(50_000)))
    for order in ("ordered", "strict", "any"):
        attempt = best_attempt(views, ["a", "b"], None, order)
        assert attempt is not None
        assert attempt.steps == 1
