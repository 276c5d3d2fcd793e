"""The contract of the REST API, the same on every stack."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from web_sites import READER, SERVER, Site

from analytics_middleware.web.questions import QUESTIONS

WEEK_BUCKETS = 7

# Everything that can be asked, with what it needs; the shape is of the answer, or of its first item.
SHAPES = {
    "volume": ({}, [{"time", "count"}]),
    "top": ({}, [{"key", "count"}]),
    "property-names": ({}, [{"key", "count"}]),
    "values": ({"field": "name"}, [{"key", "count", "users"}]),
    "overview": ({}, {"visitors", "pageviews", "events", "sessions", "bounce_rate", "mean_duration"}),
    "trend": ({}, [{"time", "visitors", "pageviews", "events", "sessions", "bounce_rate"}]),
    "active": ({}, {"count"}),
    "dashboard": ({}, {"total_events", "dau", "wau", "top_events"}),
    "funnel": ({"step": ["signup", "buy"]}, [{"event", "count", "conversion"}]),
    "retention": ({}, [{"offset_days", "returned"}]),
    "retention-matrix": ({}, {"cohorts", "means"}),
    "paths": ({"event": "signup"}, [{"events", "count"}]),
    "lifecycle": ({}, [{"time", "new", "returning", "resurrecting", "dormant"}]),
    "stickiness": ({}, [{"time", "users"}]),
    "sessions": ({}, {"count", "bounces", "bounce_rate", "mean_duration", "median_duration"}),
    "revenue": ({}, [{"currency", "total", "count", "users", "per_user", "points"}]),
    "users": ({"of": "active"}, [{"user_id", "anon_id", "first_seen", "last_seen"}]),
    "timeline": ({"user_id": "ann"}, {"user", "events"}),
    "latest": ({}, [{"event_id", "time", "name", "type", "user_id"}]),
    "traits": ({"user_id": "ann"}, {"plan"}),
}


def visit(site: Site) -> None:
    site.send(
        {"name": "signup", "user_id": "ann", "properties": {"plan": "pro"}, "age_ms": 3000},
        {"name": "buy", "user_id": "ann", "revenue": {"amount": "29.99", "currency": "GBP"}, "age_ms": 2000},
        {"name": "signup", "user_id": "bob", "properties": {"plan": "free"}, "age_ms": 1000},
        headers=SERVER,
    )
    assert site.post("identify", {"user_id": "ann", "traits": {"plan": "pro"}}, SERVER).status == 202
    site.taken()


def test_every_question_has_a_shape_here():
    assert {question.path.strip("/") for question in QUESTIONS} == set(SHAPES)


def test_every_question_is_answered_in_its_shape(site: Site):
    visit(site)
    for path, (query, shape) in SHAPES.items():
        answer = site.get(path, **query)
        assert answer.status == 200, (path, answer.body)
        assert answer.header("content-type") == "application/json"
        assert set(answer.json) == {"data"}
        if isinstance(shape, list):
            assert shape[0] <= set(answer.data[0]), path
        else:
            assert shape <= set(answer.data), path


def test_the_numbers_are_those_of_the_events_sent(site: Site):
    visit(site)
    assert site.get("top").data == [{"key": "signup", "count": 2}, {"key": "buy", "count": 1}]
    assert site.get("top", event="signup", property="plan", limit=1).data == [{"key": "free", "count": 1}]
    assert site.get("property-names", event="signup").data == [{"key": "plan", "count": 2}]
    assert site.get("trend").data[-1]["visitors"] == site.get("active").data["count"] == 2
    assert [step["count"] for step in site.get("funnel", step=["signup", "buy"]).data] == [2, 1]
    assert site.get("funnel", step=["signup", "buy"], window="30m", order="strict").data[1]["conversion"] == 0.5
    assert site.get("dashboard", days=1).data["total_events"] == 3
    assert site.get("revenue").data[0]["total"] == 2999
    assert [row["user_id"] for row in site.get("users", of="funnel", step=["signup", "buy"], cell=1).data] == ["ann"]
    groups = site.get("active", breakdown="properties.plan").data
    assert [(group["key"], group["answer"]["count"]) for group in groups] == [("free", 1), ("pro", 1), (None, 1)]
    groups = site.get("active", breakdown="properties.plan", breakdown_limit=1).data
    assert [group["key"] for group in groups] == ["free", "other", None]
    where = json.dumps([{"field": "traits.plan", "op": "eq", "value": "pro"}])
    assert site.get("volume", where=where, event="signup").data[-1]["count"] == 1


def test_without_a_range_questions_are_about_the_last_seven_local_days(plain: Site):
    points = plain.get("volume").data
    assert len(points) == WEEK_BUCKETS
    assert points[-1]["incomplete"] is True
    assert [row["offset_days"] for row in plain.get("retention").data] == [0, 1, 7]
    assert len(plain.get("volume", bucket="hour", from_="2025-03-30", to="2025-03-31", tz="Europe/Berlin").data) == 23


def test_a_date_is_a_days_beginning_in_tz_and_a_plus_may_be_left_unencoded(plain: Site):
    by_date = plain.get("volume", from_="2025-07-01", to="2025-07-02", tz="Europe/Berlin").data
    assert [point["time"] for point in by_date] == ["2025-06-30T22:00:00Z"]
    unencoded = "volume?from=2025-07-01T00:00:00+02:00&to=2025-07-02T00:00:00%2B02:00&tz=Europe/Berlin"
    assert plain.ask("GET", unencoded, headers=READER).data == by_date


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("volume", {"from": "yesterday"}, "from"),
        ("volume", {"from": "2025-03-01T00:00:00"}, "from"),
        ("volume", {"from": "2025-02-30"}, "from"),
        ("volume", {"from": "0001-01-01"}, "from"),
        ("volume", {"from": "2025-03-02", "to": "2025-03-01"}, "to"),
        ("volume", {"to": "9999-12-31T23:59:59-23:59"}, "to"),
        ("volume", {"bucket": "minute"}, "bucket"),
        ("volume", {"tz": "Mars/Olympus"}, "tz"),
        ("volume", {"tz": "../../etc/passwd"}, "tz"),
        ("volume", {"bots": "perhaps"}, "bots"),
        ("volume", {"breakdown": "password"}, "breakdown"),
        ("volume", {"where": "{}"}, "where"),
        ("volume", {"where": "[1]"}, "where"),
        ("volume", {"where": "[{"}, "where"),
        ("volume", {"where": '[{"field": "path", "op": "like", "value": "x"}]'}, "where"),
        ("volume", {"where": '[{"field": "duration", "op": "gt", "value": 1' + "0" * 400 + "}]"}, "where"),
        ("volume", {"where": "[" * 5000}, "where"),
        ("volume", {"colour": "red"}, "colour"),
        ("volume", {"event": ["a", "b"]}, "event"),
        ("volume", {"from": "1970-01-01", "to": "2199-01-01", "bucket": "hour"}, "bucket"),
        ("top", {"limit": "0"}, "limit"),
        ("top", {"limit": "1e3"}, "limit"),
        ("top", {"limit": "9" * 5000}, "limit"),
        ("top", {"event": "signup"}, "event"),
        ("values", {}, "field"),
        ("values", {"field": "secrets"}, "field"),
        ("funnel", {}, "step"),
        ("funnel", {"step": ["a", ""]}, "step"),
        ("funnel", {"step": ["a"] * 21}, "step"),
        ("funnel", {"step": "a", "window": "soon"}, "window"),
        ("funnel", {"step": "a", "window": "999999w"}, "window"),
        ("funnel", {"step": "a", "order": "reverse"}, "order"),
        ("retention", {"offset": "-1"}, "offset"),
        ("retention", {"offset": "later"}, "offset"),
        ("retention-matrix", {"from": "1970-01-01", "period": "day"}, "period"),
        ("dashboard", {"days": "0"}, "days"),
        ("paths", {}, "event"),
        ("users", {"of": "volume"}, "of"),
        ("users", {"of": "funnel"}, "step"),
        ("users", {"of": "funnel", "step": "a", "cell": "5"}, "cell"),
        ("users", {"of": "funnel", "step": "a", "cell": "x"}, "cell"),
        ("users", {"of": "lifecycle", "cell": "new"}, "at"),
        ("users", {"of": "active", "step": "a"}, "step"),
        ("timeline", {}, "user_id"),
        ("timeline", {"user_id": "a", "anon_id": "b"}, "user_id"),
        ("traits", {}, "user_id"),
    ],
)
def test_a_wrong_question_is_a_400_that_names_the_parameter_in_the_querys_own_words(build, path, query, field):
    site = build("WSGI")
    answer = site.get(path, **query)
    assert answer.status == 400, answer.body
    assert answer.error["field"] == field
    assert answer.error["code"] == "invalid"
    assert field in answer.error["message"]


def test_a_wrong_question_names_its_parameter_on_every_stack(site: Site):
    answer = site.get("volume", from_="yesterday")
    assert (answer.status, answer.error["field"]) == (400, "from")


def test_reading_is_closed_by_default_on_every_stack(site: Site):
    for path, (query, _) in SHAPES.items():
        answer = site.get(path, headers={}, **query)
        assert (answer.status, answer.error["code"]) == (401, "unauthorized"), path
        assert answer.header("www-authenticate") is not None


def test_events_are_accepted_from_anybody_and_counted_in_the_answer(site: Site):
    answer = site.post("events", {"events": [{"name": "a"}, {"name": "b"}]})
    assert (answer.status, answer.json) == (202, {"accepted": 2})
    assert [event.event_name for event in site.taken()] == ["a", "b"]


def test_the_api_makes_no_automatic_events(site: Site):
    html = {"accept": "text/html", "sec-fetch-dest": "document", **READER}
    site.ask("GET", "volume", headers=html)
    site.ask("GET", "nowhere", headers=html)
    site.ask("GET", "volume", headers={"accept": "text/html"})
    site.ask("DELETE", "events")
    assert [event.event_name for event in site.send({"name": "only this"})] == ["only this"]
    site.ask("GET", "/page", headers=html)
    assert [event.type for event in site.taken()] == ["pageview"]


def test_a_wrong_path_or_method_is_told_in_json(site: Site):
    answer = site.ask("GET", "nowhere", headers=READER)
    assert (answer.status, answer.error["code"]) == (404, "not_found")
    answer = site.ask("GET", "events", headers=READER)
    assert (answer.status, answer.error["code"], answer.header("allow")) == (405, "method", "POST, OPTIONS")


def test_head_is_get_without_a_body(site: Site):
    head = site.ask("HEAD", "active", headers=READER)
    assert (head.status, head.body, head.header("content-type")) == (200, b"", "application/json")


def test_answers_are_kept_by_no_cache_and_taken_for_nothing_else(site: Site):
    answer = site.get("active")
    assert answer.header("cache-control") == "no-store"
    assert answer.header("x-content-type-options") == "nosniff"
    assert "Cookie" in answer.header("vary")


def test_a_mount_elsewhere_and_a_root_path_are_found(build):
    site = build("ASGI", api_path="/stats/api")
    assert site.ask("GET", "/api/analytics/../stats/api/active", headers=READER).status != 200
    scoped = build("Starlette")
    from starlette.applications import Starlette
    from starlette.routing import Mount

    scoped.app = Starlette(routes=[Mount("/below", scoped.app)])
    assert scoped.ask("GET", "/below/api/analytics/active", headers=READER).status == 200


def test_without_a_store_questions_are_a_503_that_says_so(build):
    site = build("ASGI", store=None)
    answer = site.get("active")
    assert (answer.status, answer.error["code"]) == (503, "unavailable")


def test_a_failure_inside_is_a_500_that_tells_nothing(build, monkeypatch, caplog):
    site = build("WSGI")
    monkeypatch.setattr(type(site.analytics.store), "active_users", lambda *_args: 1 / 0)
    answer = site.get("active")
    assert (answer.status, answer.error["code"]) == (500, "internal")
    assert b"division" not in answer.body
    assert "division by zero" in caplog.text


def test_a_late_event_changes_the_past(plain: Site):
    yesterday = datetime.now(UTC) - timedelta(hours=23)
    plain.send({"name": "late", "timestamp": yesterday.isoformat()})
    assert sum(point["count"] for point in plain.get("volume", event="late").data) == 1
