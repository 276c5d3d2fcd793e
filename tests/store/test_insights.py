"""The questions as people ask them: defaults, dates, texts, and errors that name the parameter."""

from datetime import UTC, date, datetime, timedelta, timezone
from uuid import UUID

import msgspec
import pytest

from analytics_middleware.event import Event, Identify
from analytics_middleware.money import Money
from analytics_middleware.store import ActiveUsers, Filter, Funnel, Insights, MemoryStore, QuestionError, Users, Volume

NOW = datetime(2025, 3, 12, 3, tzinfo=UTC)  # still the 11th in New York
RANGE = {"start": datetime(2025, 1, 1, tzinfo=UTC), "end": datetime(2025, 1, 2, tzinfo=UTC)}


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def insights(store):
    return Insights(store, timezone="America/New_York", clock=lambda: NOW)


def times(points):
    return [point.time for point in points]


def test_the_default_range_is_the_last_seven_local_days(insights):
    found = times(insights.volume())
    assert len(found) == 7
    assert found[0] == datetime(2025, 3, 5, 5, tzinfo=UTC)
    assert found[-1] == datetime(2025, 3, 11, 4, tzinfo=UTC)  # clocks went forward on the 9th


def test_a_zone_of_its_own_moves_the_default_range(insights):
    assert times(insights.volume(tz="UTC"))[-1] == datetime(2025, 3, 12, tzinfo=UTC)


def test_without_a_start_the_range_is_seven_days_up_to_the_end(insights):
    assert times(insights.volume(end=date(2025, 2, 8), tz="UTC")) == [
        datetime(2025, 2, day, tzinfo=UTC) for day in range(1, 8)
    ]


def test_a_retention_without_a_start_is_of_the_first_of_the_last_seven_days(store, insights):
    events = [
        Event(user_id=name, timestamp=datetime(2025, 3, day, 12, tzinfo=UTC)) for name, day in (("a", 5), ("b", 6))
    ]
    store.apply(events)
    assert insights.range()["start"] == datetime(2025, 3, 5, 5, tzinfo=UTC)
    assert [row.returned for row in insights.retention(offsets=(0, 1))] == [1, 0]


@pytest.mark.parametrize(
    "start",
    [
        date(2025, 3, 10),
        "2025-03-10",
        "2025-03-10T04:00:00Z",
        "2025-03-10t05:00:00.000+01:00",
        datetime(2025, 3, 10, 4, tzinfo=UTC),
        datetime(2025, 3, 10, 5, tzinfo=timezone(timedelta(hours=1))),
    ],
)
def test_dates_instants_and_texts_mean_the_same(insights, start):
    assert times(insights.volume(start=start, end=date(2025, 3, 11))) == [datetime(2025, 3, 10, 4, tzinfo=UTC)]


@pytest.mark.parametrize(
    ("asked", "field", "message"),
    [
        ({"start": datetime(2025, 1, 1)}, "start", "2025-01-01T00:00:00 must have a time zone"),
        ({"end": datetime(2025, 1, 1)}, "end", "must have a time zone"),
        ({"start": "2025-03-10T04:00:00"}, "start", "'2025-03-10T04:00:00' must be a date or a time with its zone"),
        ({"start": "2025-02-30"}, "start", "'2025-02-30' must be a date"),
        ({"end": "yesterday"}, "end", "'yesterday' must be"),
        ({"start": 7}, "start", "7 must be a datetime, a date or RFC 3339 text"),
        ({"start": date(1, 1, 1)}, "start", "must lie between 1970 and 2200"),
        ({"end": date(9999, 12, 31)}, "end", "must lie between 1970 and 2200"),
        ({"start": date(2025, 3, 10), "end": date(2025, 3, 10)}, "end", "must be after start"),
        ({"bucket": "year"}, "bucket", "'year' is not one of hour, day, week, month"),
        ({"bucket": "hour", "start": date(1971, 1, 1)}, "bucket", "'hour' makes more than 100000 buckets"),
        ({"tz": "Mars/Base"}, "tz", "'Mars/Base' is not an IANA time zone"),
        ({"breakdown": "nonsense"}, "breakdown", "'nonsense' is not a field"),
        ({"where": [{"field": "x", "op": "eq", "value": 1}]}, "where", "'x' is not a field"),
    ],
)
def test_a_wrong_parameter_is_an_error_that_names_it(insights, asked, field, message):
    with pytest.raises(QuestionError) as caught:
        insights.volume(**asked)
    assert caught.value.field == field
    assert str(caught.value).startswith(f"{field}: ")
    assert message in str(caught.value)


WRONG = [
    (lambda i: i.top_events(limit=0), "limit"),
    (lambda i: i.top_events(limit=True), "limit"),
    (lambda i: i.top_properties("a", ""), "prop"),
    (lambda i: i.top_values("secret"), "field"),
    (lambda i: i.funnel([]), "steps"),
    (lambda i: i.funnel("ab"), "steps"),
    (lambda i: i.funnel(["a", ""]), "steps"),
    (lambda i: i.funnel(["a"] * 21), "steps"),
    (lambda i: i.funnel(["a"], window=timedelta(0)), "window"),
    (lambda i: i.funnel(["a"], window=timedelta.max), "window"),
    (lambda i: i.funnel(["a"], window="a day"), "window"),
    (lambda i: i.funnel(["a"], window="0h"), "window"),
    (lambda i: i.funnel(["a"], order="random"), "order"),
    (lambda i: i.retention("2025-01-01", ()), "offsets"),
    (lambda i: i.retention("2025-01-01", (-1,)), "offsets"),
    (lambda i: i.retention("2025-01-01", 1), "offsets"),
    (lambda i: i.volume(where={"field": "path", "op": "exists"}), "where"),
    (lambda i: i.volume(where=Filter("path", "exists")), "where"),
    (lambda i: i.volume(where="path"), "where"),
    (lambda i: i.retention(datetime(2025, 1, 1)), "start"),
    (lambda i: i.retention_matrix(period="hour"), "period"),
    (lambda i: i.retention_matrix(start=date(2000, 1, 1), period="day"), "period"),
    (lambda i: i.paths(""), "event"),
    (lambda i: i.paths(5), "event"),
    (lambda i: i.volume(5), "event"),
    (lambda i: i.volume(["a"]), "event"),
    (lambda i: i.top_properties(None, "a"), "event"),
    (lambda i: i.retention_matrix(return_event=5), "return_event"),
    (lambda i: i.traits(object()), "user_id"),
    (lambda i: i.traits(None), "user_id"),
    (lambda i: i.paths("a", "sideways"), "direction"),
    (lambda i: i.paths("a", depth=0), "depth"),
    (lambda i: i.lifecycle(period="hour"), "period"),
    (lambda i: i.stickiness(within="day"), "within"),
    (lambda i: i.sessions(timeout=timedelta(0)), "timeout"),
    (lambda i: i.dashboard_summary(days=0), "days"),
    (lambda i: i.timeline(), "user_id"),
    (lambda i: i.timeline("a", "b"), "user_id"),
    (lambda i: i.users(Volume(**RANGE)), "of"),
    (lambda i: i.users(ActiveUsers(**RANGE, breakdown="path")), "of"),
    (lambda i: i.users(ActiveUsers(**RANGE), 1), "cell"),
    (lambda i: i.users(Funnel(**RANGE, steps=("a",)), 1), "cell"),
    (lambda i: i.users(Funnel(**RANGE, steps=("a",)), 0, NOW), "at"),
]


@pytest.mark.parametrize(("ask", "field"), WRONG, ids=[f"{field}{number}" for number, (_, field) in enumerate(WRONG)])
def test_every_question_checks_its_own_parameters(insights, ask, field):
    with pytest.raises(QuestionError) as caught:
        ask(insights)
    assert caught.value.field == field


@pytest.mark.parametrize("user_id", [42, UUID(int=42)])
def test_a_user_is_asked_for_by_any_kind_of_id(store, insights, user_id):
    store.apply([Identify(user_id=str(user_id), traits={"plan": "pro"}, timestamp=NOW)])
    store.apply([Event(event_name="a", user_id=str(user_id), timestamp=NOW)])
    assert insights.traits(user_id) == {"plan": "pro"}
    assert [event.name for event in insights.timeline(user_id).events] == ["a"]


def test_a_length_of_time_may_be_text(store, insights):
    store.apply([Event(event_name="a", user_id="ann", timestamp=NOW - timedelta(hours=1))])
    store.apply([Event(event_name="b", user_id="ann", timestamp=NOW)])
    steps = ["a", "b"]
    assert insights.funnel(steps, window="1h") == insights.funnel(steps, window=timedelta(hours=1))
    assert insights.funnel(steps, window="1h")[1].count == 1
    assert insights.funnel(steps, window="59m")[1].count == 0
    assert insights.sessions(timeout="2h").count == insights.overview(timeout="2h").sessions == 1
    assert [point.sessions for point in insights.trend(timeout="59m")][-1] == 2
    assert insights.paths("a", timeout="2h")[0].events == ["b"]


def test_an_unknown_default_zone_is_an_error_at_once():
    with pytest.raises(QuestionError, match=r"^tz: 'Mars/Base'"):
        Insights(MemoryStore(), timezone="Mars/Base")


def test_filters_are_objects_or_mappings(store, insights):
    store.apply([Event(event_name="a", path="/x", timestamp=NOW), Event(event_name="b", timestamp=NOW)])
    as_object = insights.top_events(where=[Filter("path", "eq", "/x")])
    as_mapping = insights.top_events(where=[{"field": "path", "op": "eq", "value": "/x"}])
    assert [item.key for item in as_object] == [item.key for item in as_mapping] == ["a"]


@pytest.mark.parametrize(
    "ask",
    [
        lambda i, **by: i.volume(**by),
        lambda i, **by: i.active_users(**by),
        lambda i, **by: i.funnel(["a"], **by),
        lambda i, **by: i.sessions(**by),
        lambda i, **by: i.revenue(**by),
    ],
    ids=["volume", "active users", "funnel", "sessions", "revenue"],
)
def test_a_breakdown_has_as_many_values_as_asked_for(store, insights, ask):
    money = Money("1", "EUR")
    store.apply(
        [
            Event(event_name="a", user_id=f"u{number}", path=f"/{number:02}", timestamp=NOW, revenue=money)
            for number in range(12)
        ]
    )
    keys = [f"/{number:02}" for number in range(12)]
    assert [group.key for group in ask(insights, breakdown="path")] == [*keys[:10], "other"]
    assert [group.key for group in ask(insights, breakdown="path", breakdown_limit=2)] == [*keys[:2], "other"]
    assert [group.key for group in ask(insights, breakdown="path", breakdown_limit=50)] == keys
    with pytest.raises(QuestionError, match=r"^breakdown_limit: 0 is not a whole number from 1 to 1000"):
        ask(insights, breakdown="path", breakdown_limit=0)


def test_answers_have_the_shapes_of_the_seeds_as_json(store, insights):
    store.apply([Event(event_name="a", user_id="ann", timestamp=NOW)])
    assert msgspec.to_builtins(insights.volume()[0]) == {"time": "2025-03-05T05:00:00Z", "count": 0}
    assert msgspec.to_builtins(insights.volume()[-1])["incomplete"] is True
    assert msgspec.to_builtins(insights.top_events()) == [{"key": "a", "count": 1}]
    assert msgspec.to_builtins(insights.funnel(["a"])) == [
        {"event": "a", "count": 1, "conversion": 1.0, "median_seconds": 0.0}
    ]
    assert msgspec.to_builtins(insights.active_users()) == {"count": 1}
    assert msgspec.to_builtins(insights.retention("2025-03-10")[0]) == {"offset_days": 0, "returned": 0}
    assert msgspec.to_builtins(insights.dashboard_summary()) == {
        "total_events": 1,
        "dau": 1,
        "wau": 1,
        "top_events": [{"key": "a", "count": 1}],
    }


def test_a_question_is_kept_in_utc_and_can_be_compared():
    east = timezone(timedelta(hours=2))
    moved = {name: value.astimezone(east) for name, value in RANGE.items()}
    assert ActiveUsers(**moved) == ActiveUsers(**RANGE)
    assert Users(of=ActiveUsers(**moved)) == Users(of=ActiveUsers(**RANGE))
