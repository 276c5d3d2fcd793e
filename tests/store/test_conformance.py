"""The rules every store follows, one case each; `store` runs each case over every engine."""

from datetime import UTC, date, datetime, timedelta

import pytest

from analytics_middleware.event import Erase, Event, EventType, Identify, Visit
from analytics_middleware.money import Money
from analytics_middleware.store import (
    COOKIELESS_PREFIX,
    ActiveUsers,
    Count,
    Funnel,
    Lifecycle,
    Path,
    QuestionError,
    Retention,
    RetentionMatrix,
    Stickiness,
)

DAY = date(2025, 3, 10)  # a Monday
WEEK = {"start": DAY, "end": date(2025, 3, 17)}
ONE_DAY = {"start": DAY, "end": date(2025, 3, 11)}
FEBRUARY_ON = {"start": date(2025, 2, 1), "end": date(2025, 4, 1)}


def at(hour=0, minute=0, second=0, day=10, month=3, micro=0):
    return datetime(2025, month, day, hour, minute, second, micro, tzinfo=UTC)


def ev(name, when, user=None, anon=None, **fields):
    return Event(event_name=name, timestamp=when, user_id=user, anon_id=anon, **fields)


def page(path, when, user=None, anon=None, **fields):
    return Event(type=EventType.PAGEVIEW, path=path, timestamp=when, user_id=user, anon_id=anon, **fields)


def cookieless(name):
    return COOKIELESS_PREFIX + name


def counts(points):
    return [point.count for point in points]


def pairs(answer):
    return [(item.key, item.count) for item in answer]


class TestTime:
    def test_a_range_holds_its_start_and_not_its_end(self, store, ask):
        store.apply([ev("a", at(1)), ev("b", at(2)), ev("c", at(2) - timedelta(microseconds=1))])
        assert {item.key for item in ask.top_events(at(1), at(2))} == {"a", "c"}

    def test_empty_buckets_are_zero(self, store, ask):
        store.apply([ev("a", at(1)), ev("a", at(3, 59))])
        points = ask.volume("a", at(1), at(5), "hour")
        assert [(point.time.hour, point.count) for point in points] == [(1, 1), (2, 0), (3, 1), (4, 0)]

    def test_days_are_those_of_the_zone(self, store, ask):
        store.apply([ev("a", at(3))])  # 23:00 on the 9th in New York
        points = ask.volume("", date(2025, 3, 9), date(2025, 3, 11), tz="America/New_York")
        assert [(point.time, point.count) for point in points] == [(at(5, day=9), 1), (at(4), 0)]

    def test_the_day_clocks_go_forward_has_23_hours(self, store, ask):
        points = ask.volume("", date(2025, 3, 9), date(2025, 3, 10), "hour", tz="America/New_York")
        assert len(points) == 23

    def test_the_repeated_autumn_hour_is_a_bucket_of_its_own(self, store, ask):
        first = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, and again an hour later
        store.apply([ev("a", first), ev("a", first + timedelta(hours=1)), ev("a", first + timedelta(hours=1))])
        points = ask.volume("", date(2024, 10, 27), date(2024, 10, 28), "hour", tz="Europe/Berlin")
        assert counts(points) == [0, 0, 1, 2, *[0] * 21]

    def test_weeks_begin_on_monday_and_the_first_may_begin_before_the_range(self, store, ask):
        store.apply([ev("before", at(day=10)), ev("in", at(day=12))])
        points = ask.volume("", at(day=11), at(day=18), "week")
        assert [(point.time, point.count) for point in points] == [(at(day=10), 1), (at(day=17), 0)]

    def test_months_have_their_own_lengths(self, store, ask):
        store.apply([ev("a", at(day=28, month=2)), ev("a", at(day=1))])
        points = ask.volume("", **FEBRUARY_ON, bucket="month")
        assert [(point.time, point.count) for point in points] == [(at(day=1, month=2), 1), (at(day=1), 1)]

    def test_a_bucket_that_is_not_over_is_incomplete(self, ask):
        points = ask.volume("", date(2025, 3, 11), date(2025, 3, 14))
        assert [point.incomplete for point in points] == [False, True, True]


class TestWho:
    def test_past_events_of_a_cookie_become_the_users(self, store, ask):
        store.apply([ev("a", at(1), anon="cookie"), ev("b", at(2), "ann", "cookie"), ev("c", at(3), anon="cookie")])
        assert ask.active_users(**WEEK).count == 1
        assert len(ask.timeline("ann", **WEEK).events) == 3

    def test_identify_ties_a_cookie_to_a_user(self, store, ask):
        store.apply([ev("a", at(1), anon="cookie"), ev("b", at(2), "ann")])
        assert ask.active_users(**WEEK).count == 2
        store.apply([Identify(user_id="ann", anon_id="cookie", timestamp=at(3))])
        assert ask.active_users(**WEEK).count == 1

    def test_a_cookie_belongs_to_the_first_user_seen_with_it(self, store, ask):
        store.apply([ev("late", at(5), "bob", "cookie"), ev("early", at(4), "ann", "cookie")])
        store.apply([ev("nobody", at(1), anon="cookie")])
        assert [event.name for event in ask.timeline("ann", **WEEK).events] == ["early", "nobody"]
        assert [event.name for event in ask.timeline("bob", **WEEK).events] == ["late"]

    def test_at_one_instant_the_smaller_event_id_is_first(self, store, ask):
        store.apply([ev("x", at(5), "bob", "cookie", event_id="2"), ev("x", at(5), "ann", "cookie", event_id="1")])
        store.apply([ev("nobody", at(1), anon="cookie")])
        assert [event.name for event in ask.timeline("ann", **WEEK).events] == ["x", "nobody"]

    def test_two_users_are_never_merged(self, store, ask):
        store.apply([ev("a", at(1), "ann", "cookie"), ev("a", at(2), "bob", "cookie")])
        assert ask.active_users(**WEEK).count == 2

    def test_a_cookieless_visitor_is_never_merged(self, store, ask):
        store.apply([ev("a", at(1), anon=cookieless("x")), ev("b", at(2), "ann", cookieless("x"))])
        active = ask.active_users(**WEEK)
        assert (active.count, active.cookieless) == (2, 1)

    def test_cookieless_visitors_add_up_day_by_day(self, store, ask):
        store.apply([ev("a", at(1), anon=cookieless("x")), ev("a", at(2), anon=cookieless("x"))])
        store.apply([ev("a", at(1, day=11), anon=cookieless("x"))])
        active = ask.active_users(**WEEK)
        assert (active.count, active.cookieless) == (2, 2)

    def test_events_of_nobody_count_in_volumes_only(self, store, ask):
        store.apply([ev("a", at(1))])
        assert sum(counts(ask.volume("a", **WEEK))) == 1
        assert ask.active_users(**WEEK).count == 0
        assert ask.funnel(["a"], **WEEK)[0].count == 0

    @pytest.mark.parametrize(
        "nobody", ["", " ", "null", "undefined", "anonymous", "none", "None", "00000000-0000-0000-0000-000000000000"]
    )
    def test_placeholders_are_no_identity(self, store, ask, nobody):
        store.apply([ev("a", at(1), nobody), ev("a", at(1), None, nobody), ev("a", at(1), nobody, "cookie")])
        assert ask.active_users(**WEEK).count == 1

    def test_ids_are_case_sensitive(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(1), "Ann")])
        assert ask.active_users(**WEEK).count == 2

    def test_a_user_and_a_cookie_with_the_same_text_are_two(self, store, ask):
        store.apply([ev("a", at(1), "7"), ev("a", at(1), None, "7")])
        assert ask.active_users(**WEEK).count == 2


class TestBots:
    def bot(self, **fields):
        return page("/", at(1), anon="crawler", visit=Visit(is_bot=True), **fields)

    def test_bots_are_left_out_unless_asked_for(self, store, ask):
        store.apply([self.bot(), page("/", at(1), anon="human")])
        assert sum(counts(ask.volume("", **WEEK))) == 1
        assert sum(counts(ask.volume("", **WEEK, bots=True))) == 2

    def test_the_overview_says_how_many_were_left_out(self, store, ask):
        store.apply([self.bot(), self.bot(), page("/", at(1), anon="human")])
        assert (ask.overview(**WEEK).bots, ask.overview(**WEEK, bots=True).bots) == (2, 0)

    def test_events_other_than_page_views_and_users_are_never_bots(self, store, ask):
        store.apply([self.bot(user="ann"), ev("api", at(1), visit=Visit(is_bot=True))])
        assert sum(counts(ask.volume("", **WEEK))) == 2


class TestOnce:
    def test_an_event_seen_again_counts_once(self, store, ask):
        event = ev("a", at(1), "ann")
        store.apply([event, event])
        store.apply([event])
        assert sum(counts(ask.volume("", **WEEK))) == 1

    def test_late_events_change_the_past(self, store, ask):
        store.apply([ev("b", at(5), "ann")])
        assert counts(ask.funnel(["a", "b"], **WEEK)) == [0, 0]
        store.apply([ev("a", at(4), "ann")])
        assert counts(ask.funnel(["a", "b"], **WEEK)) == [1, 1]

    def test_events_more_than_an_hour_ahead_are_refused(self, store, ask):
        now = datetime.now(UTC)
        store.apply([ev("soon", now + timedelta(minutes=50)), ev("far", now + timedelta(minutes=70))])
        assert pairs(ask.top_events(now, now + timedelta(hours=3))) == [("soon", 1)]

    def test_a_copy_that_is_refused_does_not_stand_for_the_one_that_counts(self, store, ask):
        far = datetime.now(UTC) + timedelta(hours=200)
        store.apply([ev("x", far, "ann", event_id="x"), ev("x", at(1), "ann", event_id="x")])
        assert pairs(ask.top_events(**WEEK)) == [("x", 1)]
        assert ask.timeline("ann", **WEEK).user.first_seen == at(1)


class TestNamesAndValues:
    def test_the_name_is_event_name_else_action_name_else_type(self, store, ask):
        store.apply(
            [
                ev("named", at(1), type=EventType.ACTION, action_name="save"),
                Event(type=EventType.ACTION, action_name="save", timestamp=at(1)),
                page("/", at(1)),
            ]
        )
        assert pairs(ask.top_events(**WEEK)) == [("named", 1), ("pageview", 1), ("save", 1)]

    def test_values_are_counted_by_their_text(self, store, ask):
        values = [49, 49.0, "49", True, "true", 0.5, None, -0.0]
        store.apply([ev("buy", at(1), properties={"v": value}) for value in values])
        assert pairs(ask.top_properties("buy", "v", **WEEK)) == [("49", 3), ("true", 2), ("0", 1), ("0.5", 1)]

    def test_equal_counts_come_in_order_of_their_keys(self, store, ask):
        store.apply([ev(name, at(1)) for name in "cbab"])
        assert pairs(ask.top_events(**WEEK, limit=2)) == [("b", 2), ("a", 1)]

    def test_names_of_properties_are_counted_where_they_have_a_value(self, store, ask):
        store.apply([ev("buy", at(1), properties={"v": 49, "w": 1}), ev("buy", at(1), properties={"v": "x"})])
        store.apply([ev("buy", at(2), properties={"w": None}), ev("pay", at(1, day=11), properties={"z": 1})])
        store.apply([ev("buy", at(1, day=17), properties={"late": 1})])
        assert pairs(ask.property_names("buy", **WEEK)) == [("v", 2), ("w", 1)]
        assert pairs(ask.property_names(**WEEK)) == [("v", 2), ("w", 1), ("z", 1)]
        assert pairs(ask.property_names(**WEEK, limit=1)) == [("v", 2)]

    def test_names_of_rare_properties_are_found_too(self, store, ask):
        """Where there are too many for columns of their own."""
        store.apply([ev("buy", at(1), properties={f"p{n:02}": 1 for n in range(64)}) for _ in range(2)])
        store.apply([ev("buy", at(2), properties={"rare": 1, "none": None}), ev("other", at(2), properties={"o": 1})])
        names = pairs(ask.property_names("buy", **WEEK))
        assert names == [*((f"p{n:02}", 2) for n in range(64)), ("rare", 1)]


class TestFilters:
    @pytest.mark.parametrize(
        ("field", "op", "value", "names"),
        [
            ("country", "eq", "GB", "a"),
            ("country", "ne", "GB", "bc"),
            ("country", "in", ["GB", "FR"], "ab"),
            ("country", "not_in", ["GB"], "bc"),
            ("country", "contains", "R", "b"),
            ("country", "exists", None, "ab"),
            ("country", "not_exists", None, "c"),
            ("properties.n", "gt", 5, "b"),
            ("properties.n", "gte", 5, "ab"),
            ("properties.n", "lt", 7.5, "ab"),
            ("properties.n", "lte", 5, "a"),
            ("properties.n", "eq", "5", "a"),
            ("traits.plan", "eq", "pro", "a"),
            ("name", "in", ["a", "c"], "ac"),
        ],
    )
    def test_each_operator(self, store, ask, field, op, value, names):
        store.apply(
            [
                ev("a", at(1), "ann", visit=Visit(country="GB"), properties={"n": 5}),
                ev("b", at(1), "bob", visit=Visit(country="FR"), properties={"n": 7}),
                ev("c", at(1), properties={"n": "9"}),
                Identify(user_id="ann", traits={"plan": "pro"}, timestamp=at(2)),
            ]
        )
        found = ask.top_events(**WEEK, where=[{"field": field, "op": op, "value": value}])
        assert "".join(item.key for item in found) == names

    def test_all_filters_must_hold(self, store, ask):
        store.apply([ev("a", at(1), path="/x", method="GET"), ev("b", at(1), path="/x", method="PUT")])
        where = [{"field": "path", "op": "eq", "value": "/x"}, {"field": "method", "op": "eq", "value": "PUT"}]
        assert pairs(ask.top_events(**WEEK, where=where)) == [("b", 1)]


class TestBreakdown:
    def test_values_then_the_rest_then_absent(self, store, ask):
        for number in range(12):
            country = chr(ord("A") + number)
            store.apply([ev("a", at(1), visit=Visit(country=country)) for _ in range(20 - number)])
        store.apply([ev("a", at(1)) for _ in range(50)])
        groups = ask.volume("a", **ONE_DAY, breakdown="country")
        assert [(group.key, group.answer[0].count, group.rest) for group in groups[-4:]] == [
            ("I", 12, False),
            ("J", 11, False),
            ("other", 10 + 9, True),
            (None, 50, False),
        ]
        assert len(groups) == 12

    def test_a_value_called_other_is_not_the_rest(self, store, ask):
        store.apply([ev("a", at(1), properties={"p": "other"})])
        groups = ask.volume("a", **ONE_DAY, breakdown="properties.p")
        assert [(group.key, group.rest) for group in groups] == [("other", False)]

    def test_active_users_count_in_each_of_their_groups(self, store, ask):
        store.apply([ev("a", at(1), "ann", path="/x"), ev("a", at(1), "ann", path="/y"), ev("a", at(2), path="/y")])
        groups = ask.active_users(**WEEK, breakdown="path")
        assert [(group.key, group.answer.count) for group in groups] == [("/y", 1), ("/x", 1)]


def funnel_counts(ask, steps, **options):
    return counts(ask.funnel(steps, **{**WEEK, **options}))


class TestFunnel:
    def test_counts_and_conversion_per_step(self, store, ask):
        store.apply([ev("a", at(1), user) for user in ("ann", "bob", "cy", "di")])
        store.apply([ev("b", at(2), "ann"), ev("b", at(2), "bob"), ev("c", at(3), "ann"), ev("c", at(3), "cy")])
        steps = ask.funnel(["a", "b", "c"], **WEEK)
        assert [(step.event, step.count, step.conversion) for step in steps] == [
            ("a", 4, 1.0),
            ("b", 2, 0.5),
            ("c", 1, 0.25),
        ]

    def test_nobody_entered(self, ask):
        assert [(step.count, step.conversion) for step in ask.funnel(["a", "b"], **WEEK)] == [(0, 0.0), (0, 0.0)]

    def test_order_matters_and_others_may_lie_between(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("x", at(2), "ann"), ev("b", at(3), "ann")])
        assert funnel_counts(ask, ["a", "b"]) == [1, 1]
        assert funnel_counts(ask, ["b", "a"]) == [1, 0]

    def test_one_instant_may_be_taken_in_either_order(self, store, ask):
        store.apply([ev("b", at(1), "ann", event_id="1"), ev("a", at(1), "ann", event_id="2")])
        assert funnel_counts(ask, ["a", "b"]) == funnel_counts(ask, ["b", "a"]) == [1, 1]

    def test_a_step_named_twice_needs_two_events(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(1), "bob"), ev("a", at(1), "bob")])
        assert funnel_counts(ask, ["a", "a"]) == [2, 1]

    def test_the_window_includes_its_boundary(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("b", at(2), "ann")])
        assert funnel_counts(ask, ["a", "b"], window=timedelta(hours=1)) == [1, 1]
        assert funnel_counts(ask, ["a", "b"], window=timedelta(hours=1, microseconds=-1)) == [1, 0]

    def test_a_user_may_start_again(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(5), "ann"), ev("b", at(5, 30), "ann")])
        assert funnel_counts(ask, ["a", "b"], window=timedelta(hours=1)) == [1, 1]

    def test_only_events_in_the_range_count(self, store, ask):
        store.apply([ev("a", at(1, day=9), "ann"), ev("b", at(2), "ann"), ev("a", at(3), "ann")])
        assert funnel_counts(ask, ["a", "b"]) == [1, 0]

    def test_strict_allows_no_other_event_between(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("x", at(2), "ann"), ev("b", at(3), "ann")])
        store.apply([ev("a", at(1), "bob"), ev("x", at(1), "bob"), ev("a", at(2), "bob"), ev("b", at(3), "bob")])
        store.apply([ev("x", at(3), "bob")])
        assert funnel_counts(ask, ["a", "b"], order="strict") == [2, 1]

    def test_any_order_counts_distinct_steps_within_the_window(self, store, ask):
        store.apply([ev("c", at(1), "ann"), ev("a", at(2), "ann"), ev("a", at(3), "ann"), ev("b", at(9), "ann")])
        assert funnel_counts(ask, ["a", "b", "c"], order="any") == [1, 1, 1]
        assert funnel_counts(ask, ["a", "b", "c"], order="any", window=timedelta(hours=2)) == [1, 1, 0]

    def test_time_to_convert_is_from_the_latest_step_0_of_a_completing_attempt(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(2), "ann"), ev("b", at(2, 10), "ann"), ev("a", at(3), "ann")])
        store.apply([ev("a", at(1), "bob"), ev("b", at(1, 30), "bob"), ev("b", at(9), "bob")])
        assert ask.funnel(["a", "b"], **WEEK)[-1].median_seconds == (600 + 1800) / 2

    def test_breakdown_takes_the_value_of_that_step_0_event(self, store, ask):
        store.apply([ev("a", at(1), "ann", path="/x"), ev("a", at(2), "ann", path="/y"), ev("b", at(3), "ann")])
        store.apply([ev("a", at(4), "ann", path="/z"), ev("a", at(1), "bob", path="/z")])
        groups = ask.funnel(["a", "b"], **WEEK, breakdown="path")
        assert [(group.key, counts(group.answer)) for group in groups] == [("/y", [1, 1]), ("/z", [1, 0])]

    def test_cookieless_visitors_are_counted_apart_too(self, store, ask):
        store.apply([ev("a", at(1), anon=cookieless("x")), ev("a", at(1), "ann"), ev("b", at(2), "ann")])
        assert [(step.count, step.cookieless) for step in ask.funnel(["a", "b"], **WEEK)] == [(2, 1), (1, 0)]


class TestRetention:
    def test_the_cohort_is_first_seen_ever_and_offsets_are_local_calendar_days(self, store, ask):
        store.apply([ev("a", at(23, 50, day=9), "ann"), ev("a", at(0, 10), "ann")])  # a day later in UTC
        store.apply([ev("a", at(12, day=9), "bob"), ev("a", at(12, day=1), "old"), ev("a", at(12, day=9), "old")])
        rows = ask.retention(at(15, day=9), offsets=(0, 1, 3, 4))
        assert [(row.offset_days, row.returned, row.incomplete) for row in rows] == [
            (0, 2, False),
            (1, 1, False),
            (3, 0, True),
            (4, 0, True),
        ]
        assert [row.returned for row in ask.retention(at(15, day=9), (0, 1), tz="Europe/Berlin")] == [1, 0]

    def test_cookieless_visitors_are_left_out(self, store, ask):
        store.apply([ev("a", at(1), anon=cookieless("x"))])
        assert ask.retention(DAY, (0,))[0].returned == 0

    def test_filters_never_make_anybody_new(self, store, ask):
        store.apply([ev("a", at(1, day=9), "ann"), ev("a", at(1), "ann", path="/x"), ev("a", at(1), "bob", path="/x")])
        store.apply([ev("a", at(1), "cy"), ev("a", at(1, day=11), "cy", path="/x"), ev("a", at(1, day=11), "bob")])
        where = [{"field": "path", "op": "eq", "value": "/x"}]
        assert [row.returned for row in ask.retention(DAY, (0, 1), where=where)] == [1, 0]

    def test_a_merge_can_show_that_somebody_was_seen_before(self, store, ask):
        store.apply([ev("a", at(1, day=9), anon="cookie"), ev("a", at(1), "ann")])
        assert ask.retention(DAY, (0,))[0].returned == 1
        store.apply([Identify(user_id="ann", anon_id="cookie", timestamp=at(2))])
        assert ask.retention(DAY, (0,))[0].returned == 0

    def test_matrix_cells_means_and_what_has_not_begun(self, store, ask):
        store.apply([ev("a", at(1, day=10), user) for user in ("ann", "bob", "cy")])
        store.apply([ev("a", at(1, day=11), user) for user in ("ann", "bob", "di")])
        store.apply([ev("a", at(1, day=12), "di")])
        matrix = ask.retention_matrix(at(day=10), at(day=13), period="day")
        cells = [[cell and (cell.returned, cell.incomplete) for cell in cohort.cells] for cohort in matrix.cohorts]
        assert [cohort.size for cohort in matrix.cohorts] == [3, 1, 0]
        assert cells == [
            [(3, False), (2, False), (0, True)],
            [(1, False), (1, True), None],
            [(0, True), None, None],
        ]
        assert matrix.means == [1.0, 2 / 3, None]

    def test_matrix_by_the_first_of_one_event_and_the_return_by_another(self, store, ask):
        store.apply([ev("signup", at(1, day=3), "ann"), ev("visit", at(1, day=1), "ann")])
        store.apply([ev("signup", at(1, day=11), "ann"), ev("visit", at(1, day=11), "ann")])
        matrix = ask.retention_matrix(at(day=3), at(day=12), event="signup", return_event="visit", periods=2)
        assert [(cohort.size, [cell and cell.returned for cell in cohort.cells]) for cohort in matrix.cohorts] == [
            (1, [0, 1]),
            (0, [0, None]),
        ]


class TestLifecycleAndStickiness:
    def test_each_state(self, store, ask):
        store.apply([ev("a", at(1, day=day), "ann") for day in (7, 9, 10)])
        store.apply([ev("a", at(1, day=10), "bob"), ev("a", at(1, day=8), "cy"), ev("a", at(1, day=10), "cy")])
        store.apply([ev("a", at(1, day=9), "di"), ev("a", at(1), anon=cookieless("x"))])
        [point] = ask.lifecycle(at(day=10), at(day=11))
        assert (point.new, point.returning, point.resurrecting, point.dormant) == (1, 1, 1, 1)

    def test_periods_are_whole_even_where_the_range_is_not(self, store, ask):
        store.apply([ev("a", at(1, day=10), "ann")])
        [point] = ask.lifecycle(at(day=12), at(day=13), period="week")
        assert (point.time, point.new, point.incomplete) == (at(day=10), 1, True)

    def test_days_active_within_a_week(self, store, ask):
        store.apply([ev("a", at(hour, day=day), "ann") for day in (10, 11) for hour in (1, 2)])
        store.apply([ev("a", at(1, day=12), "bob"), ev("a", at(1, day=12), anon=cookieless("x"))])
        [point] = ask.stickiness(**WEEK)
        assert (point.users, point.incomplete) == ([1, 1, 0, 0, 0, 0, 0], True)

    def test_days_active_within_a_month(self, store, ask):
        store.apply([ev("a", at(1, day=day, month=2), "ann") for day in (1, 15, 28)])
        [point] = ask.stickiness(at(day=5, month=2), at(day=6, month=2), within="month")
        assert point.users == [0, 0, 1, *[0] * 25]


class TestSessionsAndPaths:
    def test_a_gap_of_exactly_thirty_minutes_continues(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(1, 30), "ann"), ev("a", at(2, 0, 1), "ann")])
        summary = ask.sessions(**WEEK)
        assert (summary.count, summary.mean_duration, summary.median_duration) == (2, 900.0, 900.0)

    def test_a_late_event_may_join_two_sessions(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(1, 50), "ann")])
        assert ask.sessions(**WEEK).count == 2
        store.apply([ev("a", at(1, 25), "ann")])
        assert ask.sessions(**WEEK).count == 1

    def test_midnight_does_not_end_a_session_and_it_counts_where_it_begins(self, store, ask):
        store.apply([page("/", at(23, 50, day=9), "ann"), page("/", at(0, 10), "ann"), page("/", at(0, 20), "ann")])
        assert ask.sessions(at(day=9), at(day=10)).mean_duration == 1800
        assert ask.sessions(at(day=10), at(day=11)).count == 0

    def test_a_bounce_is_one_page_view_and_nothing_else(self, store, ask):
        store.apply([page("/", at(1), "one"), page("/", at(1), "two"), ev("x", at(1), "two"), ev("x", at(1), "three")])
        summary = ask.sessions(**WEEK)
        assert (summary.count, summary.bounces, summary.bounce_rate) == (3, 1, 1 / 3)

    def test_entry_and_exit_are_the_first_and_last_page_views(self, store, ask):
        store.apply([ev("x", at(1), "ann"), page("/in", at(1, 1), "ann"), page("/mid", at(1, 2), "ann")])
        store.apply([page("/out", at(1, 3), "ann"), ev("x", at(1, 4), "ann")])
        summary = ask.sessions(**WEEK)
        assert summary.entry_pages == [Count(key="/in", count=1)]
        assert summary.exit_pages == [Count(key="/out", count=1)]

    def test_filters_choose_sessions_and_leave_them_whole(self, store, ask):
        store.apply([page("/a", at(1), "ann"), page("/b", at(1, 10), "ann"), page("/a", at(1), "bob")])
        summary = ask.sessions(**WEEK, where=[{"field": "path", "op": "eq", "value": "/b"}])
        assert (summary.count, summary.bounces, summary.mean_duration) == (1, 0, 600.0)

    def test_breakdown_takes_the_value_of_the_first_event(self, store, ask):
        store.apply([page("/a", at(1), "ann", visit=Visit(source="Google")), page("/b", at(1, 1), "ann")])
        assert [(group.key, group.answer.count) for group in ask.sessions(**WEEK, breakdown="source")] == [
            ("Google", 1)
        ]

    def test_without_sessions_there_are_no_rates(self, ask):
        summary = ask.sessions(**WEEK)
        assert (summary.count, summary.bounce_rate, summary.mean_duration) == (0, None, None)

    def test_paths_begin_at_the_first_such_event_of_a_session(self, store, ask):
        store.apply([ev(name, at(1, minute), "ann") for minute, name in enumerate("xabacd")])
        store.apply([ev("a", at(5), "ann"), ev("a", at(1), "bob")])
        assert ask.paths("a", **WEEK) == [Path(events=[], count=2), Path(events=["b", "a", "c"], count=1)]
        assert ask.paths("c", "before", 2, **WEEK) == [Path(events=["b", "a"], count=1)]


class TestRevenue:
    def test_currencies_are_never_added_together(self, store, ask):
        store.apply([ev("buy", at(1), "ann", revenue=Money("10.00", "EUR")), ev("buy", at(1), "ann")])
        store.apply([ev("buy", at(1, day=11), "bob", revenue=Money("5.00", "EUR"))])
        store.apply([ev("buy", at(1), "bob", revenue=Money(300, "JPY"))])
        euro, yen = ask.revenue(at(day=10), at(day=12))
        assert (euro.currency, euro.total, euro.count, euro.users, euro.per_user) == ("EUR", 1500, 2, 2, 750.0)
        assert [(point.total, point.count) for point in euro.points] == [(1000, 1), (500, 1)]
        assert (yen.currency, yen.total) == ("JPY", 300)

    def test_refunds_are_negative_and_make_nobody_a_paying_user(self, store, ask):
        store.apply(
            [ev("buy", at(1), "ann", revenue=Money(10, "EUR")), ev("x", at(2), "ann", revenue=Money(-4, "EUR"))]
        )
        store.apply([ev("x", at(2), "bob", revenue=Money(-1, "EUR"))])
        [euro] = ask.revenue(**WEEK)
        assert (euro.total, euro.count, euro.users) == (500, 3, 1)

    def test_without_paying_users_there_is_no_average(self, store, ask):
        store.apply([ev("buy", at(1), revenue=Money(10, "EUR"))])
        [euro] = ask.revenue(**WEEK)
        assert (euro.users, euro.per_user) == (0, None)


class TestOverviewAndDashboard:
    def test_overview_leaves_errors_out_of_page_views(self, store, ask):
        store.apply([page("/", at(1), "ann", status_code=200), page("/x", at(1, 5), "ann", status_code=404)])
        store.apply([ev("x", at(1), anon=cookieless("x"))])
        totals = ask.overview(**WEEK)
        assert (totals.visitors, totals.pageviews, totals.errors, totals.events) == (2, 1, 1, 3)
        assert (totals.sessions, totals.bounce_rate, totals.mean_duration, totals.cookieless) == (2, 0.0, 150.0, 1)

    def test_a_trend_says_of_each_bucket_what_the_overview_would(self, store, ask):
        store.apply([page("/", at(23, 50), "ann"), page("/x", at(0, 10, day=11), "ann")])
        store.apply([page("/", at(9, day=11), "bob"), page("/gone", at(9, day=12), anon="k", status_code=404)])
        store.apply([ev("x", at(hour, day=day), anon=cookieless("x")) for day in (10, 12) for hour in (1, 2)])
        points = ask.trend(at(12), at(day=14))
        assert [(p.visitors, p.pageviews, p.events, p.sessions, p.bounce_rate) for p in points] == [
            (1, 1, 1, 1, 0.0),
            (2, 2, 2, 1, 1.0),
            (2, 0, 3, 3, 1 / 3),
            (0, 0, 0, 0, None),
        ]
        assert [(point.errors, point.cookieless, point.incomplete) for point in points[1:]] == [
            (0, 0, False),
            (1, 1, True),
            (0, 0, True),
        ]
        whole = ask.overview(at(12), at(day=14))
        assert (whole.visitors, whole.sessions) == (4, 5)

    def test_a_trend_by_week_counts_cookieless_visitors_day_by_day(self, store, ask):
        store.apply([ev("x", at(1, day=day), anon=cookieless("x")) for day in (9, 10, 11, 11)])
        points = ask.trend(at(day=9), at(day=17), "week")
        assert [(point.time, point.visitors, point.cookieless) for point in points] == [
            (at(day=3), 1, 1),
            (at(day=10), 2, 2),
        ]

    def test_top_values_come_by_users_without_error_pages(self, store, ask):
        store.apply([page("/", at(1), user) for user in ("ann", "bob")])
        store.apply([page("/often", at(hour), "ann") for hour in range(3)])
        store.apply([page("/gone", at(1), "ann", status_code=410)])
        found = ask.top_values("path", "pageview", **WEEK)
        assert [(item.key, item.users, item.count) for item in found] == [("/", 2, 2), ("/often", 1, 3)]
        assert len(ask.top_values("path", "pageview", **WEEK, errors=True)) == 3

    def test_dashboard_covers_local_days_including_today(self, store, ask):
        store.apply([ev("a", at(1, day=12), "ann"), ev("a", at(23, day=11), "bob"), ev("a", at(0, day=6), "cy")])
        store.apply([ev("a", at(23, day=5), "old"), ev("b", at(1, day=12), anon=cookieless("x"))])
        board = ask.dashboard_summary()
        assert (board.total_events, board.dau, board.wau) == (4, 2, 4)
        assert (board.dau_cookieless, board.wau_cookieless) == (1, 1)
        assert pairs(board.top_events) == [("a", 3), ("b", 1)]
        assert ask.dashboard_summary(days=1).total_events == 2
        assert ask.dashboard_summary(tz="Asia/Tokyo").dau == 3  # 23:00 yesterday is today there


class TestIdentify:
    def test_traits_merge_key_by_key_in_order_of_time(self, store, ask):
        store.apply([Identify(user_id="ann", traits={"plan": "pro", "city": "Bath"}, timestamp=at(5))])
        store.apply([Identify(user_id="ann", traits={"plan": "free", "age": 30}, timestamp=at(4))])
        assert ask.traits("ann") == {"plan": "pro", "city": "Bath", "age": 30}

    def test_null_removes_a_trait_even_when_the_value_comes_late(self, store, ask):
        store.apply([Identify(user_id="ann", traits={"plan": None}, timestamp=at(5))])
        store.apply([Identify(user_id="ann", traits={"plan": "free"}, timestamp=at(4))])
        assert ask.traits("ann") == {}

    def test_identify_is_no_event(self, store, ask):
        store.apply([Identify(user_id="ann", traits={"a": 1}, timestamp=at(5))])
        assert ask.active_users(**WEEK).count == 0
        assert ask.timeline("ann", **WEEK).user is None

    def test_nobody_has_no_traits(self, store, ask):
        store.apply([Identify(user_id="null", traits={"a": 1}, timestamp=at(5))])
        assert ask.traits("null") == ask.traits("stranger") == {}


class TestErase:
    def everything(self):
        return [
            ev("anon", at(1), anon="cookie"),
            ev("known", at(2), "ann", "cookie"),
            ev("known", at(2), "ann"),
            Identify(user_id="ann", anon_id="phone", traits={"plan": "pro"}, timestamp=at(3)),
            ev("anon", at(2), anon="phone"),
            ev("other", at(2), "bob"),
        ]

    def names(self, ask):
        return pairs(ask.top_events(**WEEK))

    def test_nothing_of_the_user_remains(self, store, ask):
        store.apply([*self.everything(), Erase(user_id="ann", timestamp=at(4))])
        assert self.names(ask) == [("other", 1)]
        assert ask.traits("ann") == {}
        assert ask.timeline("ann", **WEEK).user is None

    @pytest.mark.parametrize("order", ["same", "reversed"])
    def test_what_comes_again_stays_erased(self, store, ask, order):
        records = self.everything()
        store.apply([*records, Erase(user_id="ann", timestamp=at(4))])
        store.apply(records if order == "same" else records[::-1])
        assert self.names(ask) == [("other", 1)]
        assert ask.traits("ann") == {}

    def test_it_does_not_matter_when_the_wish_arrives(self, store, ask):
        anon, known, *rest = self.everything()
        store.apply([anon, Erase(user_id="ann", timestamp=at(4)), *rest, known])
        assert self.names(ask) == [("other", 1)]

    def test_somebody_who_signs_up_again_counts_as_new(self, store, ask):
        store.apply([*self.everything(), Erase(user_id="ann", timestamp=at(4))])
        store.apply([ev("again", at(4, micro=1), "ann"), ev("again", at(5), anon="cookie"), ev("edge", at(4), "ann")])
        assert self.names(ask) == [("again", 2), ("other", 1)]
        assert ask.timeline("ann", **WEEK).user.first_seen == at(4, micro=1)
        assert ask.active_users(**WEEK).count == 3  # the cookie is nobody's now

    def test_another_user_of_the_same_browser_keeps_their_own_events(self, store, ask):
        store.apply([*self.everything(), ev("theirs", at(3), "bob", "cookie"), Erase(user_id="ann", timestamp=at(4))])
        assert self.names(ask) == [("other", 1), ("theirs", 1)]

    @pytest.mark.parametrize("anon", ["cookie", None])
    def test_a_copy_from_before_the_erasure_does_not_stand_for_one_from_after_it(self, store, ask, anon):
        store.apply([ev("known", at(2), "ann", "cookie"), Erase(user_id="ann", timestamp=at(4))])
        user = None if anon else "ann"
        store.apply([ev("x", at(hour), user, anon, event_id="x") for hour in (1, 5, 6)])
        assert self.names(ask) == [("x", 1)]
        assert [point.count for point in ask.volume("x", at(5), at(7), "hour")] == [1, 0]

    def test_a_copy_of_an_event_that_counts_says_nothing_of_who_is_who(self, store, ask):
        store.apply([Erase(user_id="ann", timestamp=at(4)), ev("anon", at(1), anon="cookie")])
        store.apply([ev("x", at(2), "bob", event_id="x"), ev("x", at(3), "ann", "cookie", event_id="x")])
        assert self.names(ask) == [("anon", 1), ("x", 1)]

    @pytest.mark.parametrize("order", ["before", "after"])
    def test_a_wish_that_tells_whose_a_browser_was_takes_what_it_did(self, store, ask, order):
        records = [
            ev("anon", at(1), anon="tablet"),
            ev("anon", at(2), anon=cookieless("x")),
            ev("later", at(5), anon="tablet"),
        ]
        wishes = [
            Erase(user_id="ann", timestamp=at(4)),
            Erase(user_id="ann", anon_id="tablet", timestamp=at(4)),
            Erase(user_id="ann", anon_id=cookieless("x"), timestamp=at(4)),
        ]
        store.apply([*records, *wishes] if order == "before" else [*wishes, *records])
        store.apply([ev("anon", at(3), anon="tablet")])
        assert self.names(ask) == [("anon", 1), ("later", 1)]


class TestUsersBehindNumbers:
    def test_as_many_rows_as_active_users(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(1), anon="cookie"), ev("b", at(1), "bob")])
        store.apply([ev("a", at(1, day=day), anon=cookieless("x")) for day in (10, 11)])
        rows = ask.users(ActiveUsers(start=at(), end=at(day=17), event="a"))
        assert [(row.user_id, row.anon_id, row.day) for row in rows] == [
            (None, cookieless("x"), at(day=10)),
            (None, cookieless("x"), at(day=11)),
            ("ann", None, None),
            (None, "cookie", None),
        ]

    def test_those_seen_last_come_first_and_a_limit_keeps_them(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(2), "bob"), ev("a", at(2), anon="k"), ev("a", at(3), "cyd")])
        store.apply([ev("a", at(2), anon=cookieless("x")), ev("a", at(2), "abe")])
        # Seen last after the range.
        store.apply([ev("a", at(1), "zoe"), ev("b", at(1, day=12), "zoe")])
        question = ActiveUsers(start=at(), end=at(5))
        names = ["zoe", "cyd", "abe", "bob", "k", cookieless("x"), "ann"]
        for limit in (None, 1, 2, 5):
            assert [row.user_id or row.anon_id for row in ask.users(question, limit=limit)] == names[:limit]

    def test_behind_a_funnel_step(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(1), "bob"), ev("b", at(2), "bob")])
        question = Funnel(start=at(), end=at(day=17), steps=("a", "b"))
        assert [row.user_id for row in ask.users(question, 0)] == ["bob", "ann"]
        assert [row.user_id for row in ask.users(question, 1)] == ["bob"]

    def test_behind_retention_lifecycle_and_stickiness(self, store, ask):
        store.apply([ev("a", at(1), "ann"), ev("a", at(1), "bob"), ev("a", at(1, day=11), "bob")])
        span = {"start": at(), "end": at(day=12)}
        asked = [
            ask.users(Retention(start=at(), offsets=(1,)), 1),
            ask.users(RetentionMatrix(**span, period="day"), 1, at()),
            ask.users(Lifecycle(**span), "returning", at(day=11)),
            ask.users(Stickiness(**span), 2, at()),
        ]
        assert [[row.user_id for row in rows] for rows in asked] == [["bob"]] * 4

    def test_a_row_tells_when_they_were_seen_and_their_traits(self, store, ask):
        store.apply([ev("a", at(1, day=1), "ann"), ev("a", at(1), "ann"), ev("a", at(1, day=11), "ann")])
        store.apply([Identify(user_id="ann", traits={"plan": "pro"}, timestamp=at(2))])
        [row] = ask.users(ActiveUsers(start=at(), end=at(5)))
        assert (row.first_seen, row.last_seen, row.traits) == (at(1, day=1), at(1, day=11), {"plan": "pro"})

    def test_a_time_that_is_no_point_of_the_question_is_an_error(self, ask):
        with pytest.raises(QuestionError, match="not the beginning"):
            ask.users(Lifecycle(start=at(), end=at(day=12)), "new", at(7))

    def test_timeline_is_newest_first_and_reached_by_cookie_too(self, store, ask):
        store.apply([ev("a", at(1), anon="cookie"), ev("b", at(2), "ann", "cookie", revenue=Money("9.99", "EUR"))])
        timeline = ask.timeline(anon_id="cookie", **WEEK)
        assert timeline.user.user_id == "ann"
        assert [(event.name, event.revenue) for event in timeline.events] == [("b", 999), ("a", None)]
        assert len(ask.timeline("ann", **WEEK, limit=1).events) == 1

    def test_the_latest_events_of_everybody_come_newest_first(self, store, ask):
        store.apply([ev("a", at(1), anon="k"), ev("b", at(2), "ann", "k", visit=Visit(country="GB", device="mobile"))])
        store.apply([ev("c", at(3), anon="l", event_id="1"), ev("d", at(3), event_id="2", properties={"p": 1})])
        store.apply([ev("e", at(1, day=18), "ann")])
        found = ask.latest(**WEEK)
        assert [(event.name, event.user_id) for event in found] == [
            ("d", None),
            ("c", None),
            ("b", "ann"),
            ("a", "ann"),
        ]
        assert (found[0].properties, found[2].country, found[2].device) == ({"p": 1}, "GB", "mobile")
        assert [event.name for event in ask.latest(**WEEK, limit=1)] == ["d"]
        assert [event.name for event in ask.latest("a", **WEEK)] == ["a"]

    def test_cookieless_visitors_have_no_timeline(self, store, ask):
        store.apply([ev("a", at(1), anon=cookieless("x"))])
        assert ask.timeline(anon_id=cookieless("x"), **WEEK).events == []
