"""What the pages promise without a browser: who may see them, their headers, their JSON and CSV, on every stack."""

import csv
import io
import json
import logging
import re
import sys
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit
from zoneinfo import ZoneInfo

import pytest
from dashboard_sites import STACKS, visits
from starlette.applications import Starlette
from starlette.routing import Mount
from web_sites import READER, Site

from analytics_middleware import Event, EventType
from analytics_middleware.errors import MissingExtraError
from analytics_middleware.event import Identify, Visit
from analytics_middleware.outbox.sqlite import SqliteOutbox
from analytics_middleware.store import DuckDBStore, Insights, MemoryStore
from analytics_middleware.web import formats, templating
from analytics_middleware.web.access import access_of
from analytics_middleware.web.changes import MAX_BODY
from analytics_middleware.web.charts import line_chart, nice_ceiling, shade, share
from analytics_middleware.web.dashboard import PAGES
from analytics_middleware.web.links import web_address
from analytics_middleware.web.pages.scope import read_scope
from analytics_middleware.web.tables import csv_of, table

NOW = datetime(2025, 3, 12, 12, tzinfo=UTC)
ONE = '[{"field":"user_id","op":"eq","value":"u0007"}]'
PATHS = [f"/analytics/{page.name}" for page in PAGES]


@pytest.fixture(params=STACKS)
def dashboard(request: pytest.FixtureRequest, make: Callable[..., Site]) -> Site:
    """The dashboard on each stack in turn, with a read token."""
    site = make(request.param)
    assert site.analytics.store is not None
    site.analytics.store.apply(visits())
    return site


def test_it_is_closed_to_strangers_on_every_page(dashboard: Site):
    for path in PATHS:
        answer = dashboard.ask("GET", path)
        assert answer.status == 401
        assert answer.header("content-type") == "text/html; charset=utf-8"
        assert b"ann" not in answer.body
        assert answer.header("www-authenticate")
        refused = dashboard.ask("GET", path, headers={"accept": "application/json"})
        assert (refused.status, refused.error["code"]) == (401, "unauthorized")
    assert dashboard.ask("GET", "/analytics/no-such-page").status == 401
    assert dashboard.ask("GET", "/analytics/", headers={"authorization": "Bearer wrong"}).status == 401


def test_whoever_may_read_gets_every_page_uncached_and_with_a_strict_policy(dashboard: Site):
    for path in PATHS:
        answer = dashboard.ask("GET", path, headers=READER)
        assert answer.status == 200, answer.body
        policy = answer.header("content-security-policy") or ""
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert answer.header("cache-control") == "no-store"
        assert answer.header("x-content-type-options") == "nosniff"
        assert b"<style" not in answer.body
        assert b" style=" not in answer.body
        assert b" onclick=" not in answer.body
    assert dashboard.ask("GET", "/analytics/no-such-page", headers=READER).status == 404
    assert dashboard.ask("POST", "/analytics/", headers=READER).status in (403, 405)


def test_without_a_trailing_slash_the_overview_is_found_too(dashboard: Site):
    answer = dashboard.ask("GET", "/analytics", headers=READER)
    assert answer.status == 200 or (answer.header("location") or "").endswith("/analytics/")


def test_a_head_request_is_answered_without_a_body(dashboard: Site):
    answer = dashboard.ask("HEAD", "/analytics/", headers=READER)
    assert (answer.status, answer.body) == (200, b"")


def test_what_pages_load_is_public_kept_and_at_an_address_that_changes_with_it(dashboard: Site):
    page = dashboard.ask("GET", "/analytics/", headers=READER).body.decode()
    for name, kind in (("dashboard.css", "text/css"), ("dashboard.js", "text/javascript")):
        address = f"/analytics/static/{name}?v={templating.static_files()[name][2]}"
        assert f'"{address}"' in page
        answer = dashboard.ask("GET", address)
        assert (answer.status, answer.header("content-type")) == (200, f"{kind}; charset=utf-8")
        assert "immutable" in (answer.header("cache-control") or "")
        assert answer.header("x-content-type-options") == "nosniff"
        # As a page of the next release asks, while servers are exchanged one after the other.
        of_the_next = dashboard.ask("GET", f"/analytics/static/{name}?v=0123456789ab")
        assert (of_the_next.status, of_the_next.header("cache-control")) == (200, "no-store")
    for path in ("../dashboard.py", "..%2Fdashboard.py", "%2Fetc%2Fpasswd", "no-such-file"):
        assert dashboard.ask("GET", f"/analytics/static/{path}").status in (400, 401, 404)


def test_every_page_has_a_twin_in_json_by_format_and_by_accept(dashboard: Site):
    for path in PATHS:
        twin = dashboard.ask("GET", f"{path}?format=json", headers=READER)
        assert (twin.status, twin.header("content-type")) == (200, "application/json")
        assert twin.header("cache-control") == "no-store"
        accepted = dashboard.ask("GET", path, headers={**READER, "accept": "application/json"})
        assert set(accepted.data) == set(twin.data)
        browser = {**READER, "accept": "text/html,application/xhtml+xml,application/json;q=0.9"}
        assert dashboard.ask("GET", path, headers=browser).header("content-type") == "text/html; charset=utf-8"


def test_every_table_is_a_csv_file(dashboard: Site):
    for path in PATHS:
        tables = dashboard.ask("GET", f"{path}?format=json", headers=READER).data["tables"]
        for name, expected in tables.items():
            answer = dashboard.ask("GET", f"{path}?format=csv&table={name}", headers=READER)
            assert answer.status == 200
            assert answer.header("content-type") == "text/csv; charset=utf-8"
            assert "attachment" in (answer.header("content-disposition") or "")
            rows = list(csv.reader(io.StringIO(answer.body.decode("utf-8-sig"))))
            assert rows[0] == expected["columns"]
            assert len(rows) == len(expected["rows"]) + 1
    wrong = dashboard.ask("GET", "/analytics/?format=csv&table=secrets", headers=READER)
    assert wrong.status == 400


@pytest.mark.parametrize("name", ["日付", "x\r\nX-Evil:1", "a\"; filename*=UTF-8''evil.html; x=\"", "a/../b"])
def test_a_name_out_of_the_query_cannot_choose_the_file_or_another_header(dashboard: Site, name: str):
    query = f"event=a&format=csv&property={quote(name)}&table={quote(f'properties.{name}')}"
    answer = dashboard.ask("GET", f"/analytics/events?{query}", headers=READER)
    assert answer.status == 200, answer.body
    assert answer.body.decode("utf-8-sig").splitlines() == ['"Value","Count"']
    assert re.fullmatch(r'attachment; filename="[A-Za-z0-9._-]+\.csv"', answer.header("content-disposition") or "")
    assert answer.header("x-evil") is None


def test_the_overview_counts_what_happened(dashboard: Site):
    data = dashboard.ask("GET", "/analytics/?period=7d&format=json", headers=READER).data
    tiles = {tile["metric"]: tile["value"] for tile in data["tiles"]}
    assert tiles == {
        "visitors": 3,
        "pageviews": 3,
        "sessions": 3,
        "bounce_rate": pytest.approx(2 / 3),
        "events": 5,
        "revenue.GBP": 2999,
    }
    assert data["tables"]["pages"]["rows"] == [["/x", 2, 3]]
    assert sum(point["value"] or 0 for point in data["points"]) >= 3
    where = quote('[{"field":"country","op":"eq","value":"DE"}]')
    only = dashboard.ask("GET", f"/analytics/?period=7d&format=json&where={where}", headers=READER).data
    assert only["tiles"][0]["value"] == 2
    assert only["tables"]["countries"]["rows"][0][:2] == ["DE", 1]


@pytest.mark.parametrize("name", ["ASGI", "WSGI", "Starlette", "Flask"])
def test_a_form_that_is_too_long_is_refused_like_everything_else_here(make: Callable[..., Site], name: str):
    answer = make(name).ask("POST", "/analytics/saved", b"x" * (MAX_BODY + 1), READER)
    assert (answer.status, answer.header("content-type")) == (413, "text/html; charset=utf-8")
    assert (answer.header("content-security-policy") or "").startswith("default-src 'none';")
    assert answer.header("cache-control") == "no-store"


def test_a_filter_from_the_form_becomes_part_of_the_address(dashboard: Site):
    query = "period=7d&filter_field=country&filter_op=eq&filter_value=DE"
    answer = dashboard.ask("GET", f"/analytics/?{query}", headers=READER)
    assert answer.status == 303
    location = urlsplit(answer.header("location") or "")
    asked = parse_qs(location.query)
    assert location.path == "/analytics/"
    assert asked["period"] == ["7d"]
    assert json.loads(asked["where"][0]) == [{"field": "country", "op": "eq", "value": "DE"}]
    assert set(asked) == {"period", "where"}


@pytest.mark.parametrize(
    ("typed", "made", "chip"),
    [
        ("Route", {"field": "matched_pattern", "op": "eq", "value": "5"}, "route is 5"),
        ("event", {"field": "name", "op": "eq", "value": "5"}, "event is 5"),
        ("status code", {"field": "status_code", "op": "gte", "value": 5}, "status code ≥ 5"),
        ("properties.My_plan", {"field": "properties.My_plan", "op": "gte", "value": 5}, "properties.My_plan ≥ 5"),
    ],
)
def test_a_field_may_be_called_as_a_filter_shows_it(dashboard: Site, typed: str, made: dict[str, Any], chip: str):
    query = urlencode({"filter_field": typed, "filter_op": made["op"], "filter_value": "5"})
    answer = dashboard.ask("GET", f"/analytics/?{query}", headers=READER)
    location = answer.header("location") or ""
    assert json.loads(parse_qs(urlsplit(location).query)["where"][0]) == [made]
    assert f"Remove filter: {chip}" in unescape(dashboard.ask("GET", location, headers=READER).body.decode())


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("period=9d", "period"),
        ("from=yesterday", "from"),
        ("from=2025-03-02&to=2025-03-01", "to"),
        ("from=1900-01-01", "from"),
        ("tz=Mars/Olympus", "tz"),
        ("where=x", "where"),
        ('where=[{"field":"password","op":"eq","value":"x"}]', "where"),
        ("filter_field=password", "filter_field"),
        ("filter_field=duration&filter_op=gt&filter_value=x", "filter_value"),
        ("metric=happiness", "metric"),
        ("unknown=1", "unknown"),
    ],
)
def test_what_cannot_be_asked_is_named(make: Callable[..., Site], query: str, field: str):
    site = make()
    answer = site.ask("GET", f"/analytics/?{quote(query, safe='=&')}", headers=READER)
    assert answer.status == 400
    assert field in answer.body.decode()
    as_json = site.ask("GET", f"/analytics/?{quote(query, safe='=&')}&format=json", headers=READER)
    assert as_json.error["field"] == field


@pytest.mark.parametrize("name", ["ASGI", "WSGI", "Flask", "Django WSGI"])
def test_without_another_way_in_the_url_in_the_log_signs_in_once(
    make: Callable[..., Site], caplog: pytest.LogCaptureFixture, name: str
):
    with caplog.at_level(logging.WARNING):
        site = make(name, read_token=None)
        site.analytics.ensure_started()
        assert site.ask("GET", "/analytics/").status == 401
    said = next(record.getMessage() for record in caplog.records if "login?token=" in record.getMessage())
    path = next(word for word in said.split() if "login?token=" in word)
    assert path.startswith("/analytics/login?token=")
    assert site.ask("HEAD", path).status == 401
    answer = site.ask("GET", path)
    assert (answer.status, answer.header("location")) == (303, "/analytics/")
    cookie = (answer.header("set-cookie") or "").partition(";")[0]
    assert site.ask("GET", "/analytics/", headers={"cookie": cookie}).status == 200
    assert site.ask("GET", path).status == 401


@pytest.mark.parametrize("path", [*(page.name for page in PAGES), "erase", "login", "nowhere"])
def test_a_method_that_is_refused_is_not_among_those_that_are_allowed(make: Callable[..., Site], path: str):
    site = make()
    answer = site.ask("PUT", f"/analytics/{path}", headers=READER)
    allowed = set((answer.header("allow") or "").split(", "))
    assert answer.status == 405
    assert {"GET", "HEAD"} <= allowed
    assert ("POST" in allowed) == (site.ask("POST", f"/analytics/{path}", headers=READER).status != 405)


def test_a_login_url_with_another_parameter_is_refused_and_not_spent(make: Callable[..., Site]):
    site = make(read_token=None)
    path = access_of(site.analytics).login_path("/analytics")
    assert site.ask("GET", f"{path}&next=users").status == 400
    assert site.ask("GET", path).status == 303


def test_under_a_path_that_is_not_ascii_addresses_are_percent_encoded(make: Callable[..., Site]):
    site = make("Starlette", read_token=None)
    site.app = Starlette(routes=[Mount("/статистика", site.app)])
    mount = quote("/статистика/analytics")
    answer = site.ask("GET", access_of(site.analytics).login_path(mount))
    assert (answer.status, answer.header("location")) == (303, f"{mount}/")
    cookie = (answer.header("set-cookie") or "").partition(";")[0]
    page = site.ask("GET", f"{mount}/events", headers={"cookie": cookie})
    assert page.status == 200
    assert f'href="{mount}/users' in page.body.decode()


def test_a_page_of_another_site_can_link_here_but_read_nothing(make: Callable[..., Site]):
    site = make(authorize=lambda request: True)
    fetched = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
    assert site.ask("GET", "/analytics/", headers=fetched).status == 403
    followed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert site.ask("GET", "/analytics/", headers=followed).status == 200


def test_without_a_store_pages_say_so(make: Callable[..., Site]):
    answer = make(store=None).ask("GET", "/analytics/", headers=READER)
    assert answer.status == 503
    assert b"no store" in answer.body


def test_the_first_overview_after_a_compaction_reads_only_what_is_on_disk_already(
    tmp_path: Path, make: Callable[..., Site]
):
    """Whatever else it needs has to be read from the segments of all months, while somebody waits for the page."""
    outbox = SqliteOutbox(tmp_path)
    store = DuckDBStore(outbox, disk_from=0)
    store.apply(visits())
    assert store.maintain()
    before = sorted(tmp_path.glob("columns/*/*.npy"))
    assert before
    assert make(store=store).ask("GET", "/analytics/", headers=READER).status == 200
    for thread in threading.enumerate():
        if thread.name == "analytics-columns":
            thread.join()
    assert sorted(tmp_path.glob("columns/*/*.npy")) == before
    store.close()
    outbox.close()


def test_without_jinja2_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch, make: Callable[..., Site]):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    templating.environment.cache_clear()
    try:
        with pytest.raises(MissingExtraError, match=r"analytics-middleware\[dashboard\]"):
            make()
        answer = make("Django WSGI").ask("GET", "/analytics/", headers=READER)
        assert (answer.status, b"[dashboard]" in answer.body) == (503, True)
    finally:
        templating.environment.cache_clear()


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(1)", "\t=1", "\r=1", "  =1", "\xa0=1", "\u200b=1", "＝1", "\ufeff@x", '"=1', "|cmd"],
)
def test_no_text_in_a_csv_file_begins_a_formula(text: str):
    content = csv_of(table("t", "T", ("name", "count"), [(text, -5), (f"a\n{text}", 1)])).decode("utf-8-sig")
    rows = list(csv.reader(io.StringIO(content)))
    assert rows[1][0].startswith("'")
    # What is a number stays one, and no cell has a second line that could begin anything.
    assert rows[1][1] == "-5"
    assert len(content.splitlines()) == 3
    assert rows[2][0].startswith("a ")
    assert all(field.startswith('"') for field in content.splitlines()[0].split(","))


@pytest.mark.parametrize(
    ("text", "may"),
    [
        ("https://example.com/a?b=c", True),
        ("http://example.com", True),
        ("HTTPS://EXAMPLE.COM/", True),
        ("javascript:alert(1)", False),
        (" javascript:alert(1)", False),
        ("java\nscript:alert(1)", False),
        ("data:text/html,x", False),
        ("//example.com", False),
        ("https://", False),
        ("http://[", False),
        ("https://example.com/" + "x" * 3000, False),
        (None, False),
    ],
)
def test_only_pages_on_the_web_are_linked_to(text: str | None, may: bool):
    assert (web_address(text) is not None) is may


@pytest.mark.parametrize(
    ("asked", "first", "last", "unit", "before"),
    [
        ({"period": "today"}, "2025-03-12", "2025-03-12", "hour", "2025-03-11T12:00"),
        ({"period": "yesterday"}, "2025-03-11", "2025-03-11", "hour", "2025-03-11T00:00"),
        ({"period": "7d"}, "2025-03-06", "2025-03-12", "day", "2025-03-05T12:00"),
        ({}, "2025-02-11", "2025-03-12", "day", "2025-02-10T12:00"),
        ({"period": "90d"}, "2024-12-13", "2025-03-12", "week", "2024-12-12T12:00"),
        ({"period": "365d"}, "2024-03-13", "2025-03-12", "week", "2024-03-12T12:00"),
        ({"period": "last-month"}, "2025-02-01", "2025-02-28", "day", "2025-02-01T00:00"),
        ({"period": "month"}, "2025-03-01", "2025-03-12", "day", "2025-02-28T12:00"),
        ({"from": "2025-01-01", "to": "2025-01-31"}, "2025-01-01", "2025-01-31", "day", "2025-01-01T00:00"),
    ],
)
def test_periods_are_local_days_compared_with_as_many_before_up_to_the_same_time(
    asked: dict[str, Any], first: str, last: str, unit: str, before: str
):
    """`before` is where the comparison ends: half a day in, it ends half a day into its own last day."""
    scope = read_scope(Insights(MemoryStore(), clock=lambda: NOW), asked)
    assert (scope.first, scope.last) == (date.fromisoformat(first), date.fromisoformat(last))
    assert scope.unit == unit
    assert scope.before is not None
    assert scope.before.end.isoformat()[:16] == before
    assert scope.before_whole is not None
    assert scope.before_whole.end == scope.start


@pytest.mark.parametrize(
    ("now", "period", "end"),
    [
        ("2026-11-10T12:00", "30d", "2026-10-11T12:00"),
        ("2026-11-10T23:30", "30d", "2026-10-11T23:30"),
        ("2026-04-10T13:00", "30d", "2026-03-11T13:00"),
        # The hour that a clock skips or shows twice, and the day on which it does so.
        ("2026-03-30T01:30", "today", "2026-03-29T02:30"),
        ("2026-10-26T01:30", "today", "2026-10-25T01:30"),
        ("2026-10-25T23:30", "today", "2026-10-24T23:30"),
    ],
)
def test_the_period_before_ends_at_the_same_time_of_day_whatever_the_clocks_did(now: str, period: str, end: str):
    london = ZoneInfo("Europe/London")
    clock = datetime.fromisoformat(now).replace(tzinfo=london)
    scope = read_scope(Insights(MemoryStore(), clock=lambda: clock), {"period": period, "tz": "Europe/London"})
    assert scope.before is not None
    assert scope.before.end.astimezone(london).isoformat()[:16] == end


def test_the_period_before_stays_within_its_days_where_clocks_went_back_over_midnight():
    now = datetime(2010, 11, 7, 3, tzinfo=UTC)  # 23:30 for the second time, in a day that had begun
    scope = read_scope(Insights(MemoryStore(), clock=lambda: now), {"period": "today", "tz": "America/St_Johns"})
    assert scope.before is not None
    assert scope.before_whole is not None
    assert scope.before_whole.start < scope.before.end <= scope.before_whole.end


def test_days_are_those_of_the_zone():
    scope = read_scope(Insights(MemoryStore(), clock=lambda: NOW), {"period": "today", "tz": "Asia/Tokyo"})
    assert scope.start == datetime(2025, 3, 11, 15, tzinfo=UTC)


def test_a_chart_dots_what_leads_to_the_unfinished_and_leaves_out_what_has_not_begun():
    drawn = line_chart([1, 2, 3, None], [4, 4, 4, 4], [False, False, True, True])
    assert drawn.svg.count("<polyline") == 3
    assert 'class="line dotted" points="333.3,' in drawn.svg
    assert drawn.ticks == (6.0, 4.0, 2.0, 0.0)
    assert "style" not in drawn.svg
    assert line_chart([]).ticks[0] == 3.0
    assert line_chart([-5, 5]).ticks[-1] < -4
    assert line_chart([7]).svg.count("polyline") == 1


@pytest.mark.parametrize("value", [0, 0.01, 0.2, 0.95, 1, 2, 7, 99, 1234, 10**9])
def test_an_axis_is_as_long_as_its_largest_value_and_not_much_longer(value: float):
    top = nice_ceiling(value)
    assert value <= top <= max(3.0, value * 3)


def test_the_hours_of_two_days_can_be_told_apart():
    hours = [datetime(2026, 10, 24, 22, tzinfo=UTC) + timedelta(hours=each) for each in (0, 8, 25)]
    assert [formats.short_bucket(each, "hour", "Europe/Berlin") for each in hours] == ["25 Oct", "07:00", "26 Oct"]


def test_an_axis_of_rates_ends_at_one_and_an_axis_of_counts_has_whole_numbers():
    assert line_chart([], rates=True).ticks[0] <= 1
    assert line_chart([1.0], rates=True).ticks[0] == 1
    assert line_chart([0.02, None], rates=True).ticks == pytest.approx((0.03, 0.02, 0.01, 0))
    assert line_chart([0, 1]).ticks == (3.0, 2.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("value", "metric", "text"),
    [
        (99_999, "revenue.GBP", "£999.99"),
        (123_456, "revenue.GBP", "£1,235"),
        (-123_456_789, "revenue.EUR", "−€1.2M"),
        (10**15, "revenue.JPY", "¥1,000T"),
        (123_456_789, "revenue.KWD", "123.5k KWD"),
        (None, "revenue.GBP", "–"),
        (1_234_567, "visitors", "1.2M"),
        (0.25, "bounce_rate", "25%"),
    ],
)
def test_a_tile_has_room_for_any_amount(value: float | None, metric: str, text: str):
    assert formats.brief(value, metric) == text


def test_whoever_points_at_a_number_sees_all_of_it():
    assert formats.exact(1_234_567, "visitors") == "1,234,567"
    assert formats.exact(123_456_789, "revenue.GBP") == "£1,234,567.89"
    assert [formats.exact(value, "bounce_rate") for value in (0.25, None)] == ["25%", "–"]


@pytest.mark.parametrize("text", ["\u200b", " \u2028", "\u202e\u2066", "\ufe0f"])
def test_a_name_that_cannot_be_seen_has_a_word_in_its_place(text: str):
    assert formats.shortened(text) == "(blank)"
    assert [formats.shortened(each) for each in ("", "a\u200b", "🎉", "سعر")] == ["", "a\u200b", "🎉", "سعر"]


def test_bars_and_shades_stay_within_their_bounds():
    assert [share(value, 10) for value in (0, None, -3, 0.001, 5, 10, 20)] == [0, 0, 0, 1, 50, 100, 100]
    assert [shade(value) for value in (None, 0, 0.001, 0.5, 1, 3)] == [0, 0, 1, 5, 10, 10]


def test_live_users_and_pipeline_tell_of_an_event_on_disk_sealed_or_not(make: Callable[..., Site], tmp_path: Path):
    pytest.importorskip("duckdb")
    site = make(data_dir=tmp_path, background=False)
    site.analytics.track("order.placed", {"plan": "pro"}, user_id="ann")
    site.analytics.flush(0.1)
    for _ in range(2):
        live = site.ask("GET", "/analytics/live?format=json", headers=READER).data
        assert live["visitors"] == 1
        assert [(each["name"], each["user_id"]) for each in live["stream"]] == [("order.placed", "ann")]
        events = site.ask("GET", "/analytics/events?event=order.placed&format=json", headers=READER).data
        assert (events["count"], events["properties"]) == (1, ["plan"])
        # Sealed it is there as well.
        site.analytics.maintain()
    user = site.ask("GET", "/analytics/users?user_id=ann&format=json", headers=READER).data
    assert [each["name"] for each in user["timeline"]] == ["order.placed"]
    pipeline = site.ask("GET", "/analytics/pipeline?format=json", headers=READER).data
    assert pipeline["durable"]
    assert pipeline["counters"]["accepted"] == 1


def test_a_funnel_says_where_users_were_lost(dashboard: Site):
    query = "step=pageview&step=buy&breakdown=country&period=7d&window="
    data = dashboard.ask("GET", f"/analytics/funnels?{query}&format=json", headers=READER).data
    assert [(step["count"], step["lost"]) for step in data["steps"]] == [(3, 0), (1, 2)]
    assert data["steps"][1]["from_previous"] == pytest.approx(1 / 3)
    assert data["tables"]["breakdown"]["rows"] == [["DE", 2, 0, 0.0], ["GB", 1, 1, 1.0]]


def test_a_funnel_by_a_field_also_counts_those_of_other_values_and_of_none(make: Callable[..., Site]):
    site = make()
    assert site.analytics.store is not None
    countries = [None, *(f"C{number:02}" for number in range(14))]
    site.analytics.store.apply(
        [
            Event(event_name="buy", user_id=f"{country}{number}", visit=Visit(country=country))
            for country in countries
            for number in range(1 if country is None else 2)
        ]
    )
    query = "step=buy&breakdown=country"
    rows = site.ask("GET", f"/analytics/funnels?{query}&format=json", headers=READER).data["tables"]["breakdown"][
        "rows"
    ]
    assert sum(row[1] for row in rows) == 29
    assert {row[0]: row[1] for row in rows if row[0].startswith("(")} == {"(all others)": 8, "(none)": 1}
    page = site.ask("GET", f"/analytics/funnels?{query}", headers=READER).body.decode()
    assert "(all others)" in page
    assert "(none)" in page


def test_of_many_users_those_seen_last_are_listed_and_it_says_so(make: Callable[..., Site]):
    site = make()
    assert site.analytics.store is not None
    now = datetime.now(UTC)
    # The greater the number in the id, the later they were seen.
    site.analytics.store.apply(
        [Event(user_id=f"u{number:04}", timestamp=now - timedelta(seconds=2000 - number)) for number in range(1100)]
    )
    latest = [f"u{number:04}" for number in range(1099, -1, -1)]
    query = "/analytics/users?period=7d"
    data = site.ask("GET", f"{query}&format=json", headers=READER).data
    assert (data["total"], [row["user_id"] for row in data["rows"]]) == (1100, latest[:50])
    content = site.ask("GET", f"{query}&format=csv", headers=READER).body.decode("utf-8-sig")
    assert [row[0] for row in csv.reader(io.StringIO(content))] == ["User", *latest[:1000]]
    page = site.ask("GET", query, headers=READER).body.decode()
    assert "The 50 seen last are listed." in page
    assert "seen last are listed" not in site.ask("GET", f"{query}&where={quote(ONE)}", headers=READER).body.decode()


def test_a_users_values_are_shown_in_the_form_that_filters_take(make: Callable[..., Site]):
    site = make()
    values: dict[str, Any] = {"trial": True, "seats": 49.0, "rate": 0.5, "gone": None, "plan": "pro"}
    assert site.analytics.store is not None
    site.analytics.store.apply(
        [
            Event(event_name="buy", user_id="ann", properties=values),
            Identify(user_id="ann", traits={"staff": False, "age": 49.0}, timestamp=datetime.now(UTC)),
        ]
    )
    page = site.ask("GET", "/analytics/users?user_id=ann", headers=READER).body.decode()
    tags = re.findall(r'class="tag">(.*?)</span>', page)
    assert sorted(tags) == ["age: 49", "plan: pro", "rate: 0.5", "seats: 49", "staff: false", "trial: true"]
    one = site.ask("GET", "/analytics/users?user_id=ann&format=csv", headers=READER).body.decode()
    assert '"trial=true, seats=49, rate=0.5, plan=pro"' in one
    everybody = site.ask("GET", "/analytics/users?format=csv", headers=READER).body.decode()
    assert '"staff=false, age=49"' in everybody or '"age=49, staff=false"' in everybody


def test_a_value_that_ends_in_an_equals_sign_is_a_value(make: Callable[..., Site]):
    site = make()
    assert site.analytics.store is not None
    site.analytics.store.apply([Event(event_name="buy", user_id="YWI="), Event(event_name="buy", user_id="ann")])
    for user in ("YWI=", "YWI%3D"):
        data = site.ask("GET", f"/analytics/users?user_id={user}&anon_id=&format=json", headers=READER).data
        assert data["user"]["user_id"] == "YWI="
        assert len(data["timeline"]) == 1


def test_retention_begins_with_the_first_newcomers(dashboard: Site):
    data = dashboard.ask("GET", "/analytics/retention?period=30d&every=day&format=json", headers=READER).data
    assert data["cohorts"][0]["size"] == 1
    assert sum(cohort["size"] for cohort in data["cohorts"]) == 3
    assert data["cohorts"][0]["cells"][0]["rate"] == 1.0


def test_pages_stay_small_where_every_row_has_dozens_of_long_values(make: Callable[..., Site]):
    long = {f"{'<' * 30}{number}": '"' * 200 for number in range(64)}
    now = datetime.now(UTC)
    records: list[Any] = []
    for number in range(130):
        name, at = f"{'<' * 190}{number % 60}", now - timedelta(minutes=number)
        records.append(Event(event_name=name, user_id="ann", timestamp=at, path="/" + '"' * 300, properties=long))
        records.append(Event(event_name=name, user_id=f"{number}{'<' * 150}", timestamp=at))
        records.append(Identify(user_id=f"{number}{'<' * 150}", traits=long, timestamp=at))
    store = MemoryStore()
    store.apply(records)
    site = make(store=store)
    for path in ("users", "users?user_id=ann", "events", "funnels", "retention", "paths", "live"):
        answer = site.ask("GET", f"/analytics/{path}", headers=READER)
        assert answer.status == 200
        assert len(answer.body) <= 100_000, path
    shown = site.ask("GET", "/analytics/users?user_id=ann", headers=READER).body.decode()
    assert "and 63 more" in shown
    assert "The latest 60 events are listed" in shown
    file = site.ask("GET", "/analytics/users?user_id=ann&format=csv", headers=READER)
    assert len(list(csv.reader(io.StringIO(file.body.decode("utf-8-sig"))))) == 131


def test_names_to_choose_from_are_sent_back_as_they_are(make: Callable[..., Site]):
    store = MemoryStore()
    names = ("two  spaces", "\u200b", "plain", "n" * 70)
    store.apply([Event(event_name=name, user_id="ann", timestamp=datetime.now(UTC)) for name in names])
    page = make(store=store).ask("GET", f"/analytics/funnels?step={'n' * 70}", headers=READER).body.decode()
    for option in ('value="two  spaces">two  spaces', 'value="\u200b">(blank)', "<option>plain", f'value="{"n" * 70}"'):
        assert option in page


@pytest.mark.parametrize("stack", ["Django WSGI with staff", "Django ASGI with staff"])
def test_whoever_is_not_signed_in_is_shown_the_way_if_the_site_has_one(make: Callable[..., Site], stack: str):
    from django.conf import settings
    from django.test.utils import override_settings
    from django.urls import clear_url_caches, path

    site = make(stack)
    assert "Sign in" not in site.ask("GET", "/analytics/").body.decode()
    with override_settings(LOGIN_URL="https://sso.example/in?site=1"):
        shown = unescape(site.ask("GET", "/analytics/funnels?step=a").body.decode())
        assert 'href="https://sso.example/in?site=1&next=%2Fanalytics%2Ffunnels%3Fstep%3Da">Sign in' in shown
    settings.ROOT_URLCONF.urlpatterns.append(path("in/", print, name="entrance"))
    clear_url_caches()
    with override_settings(LOGIN_URL="entrance"):
        answer = site.ask("GET", "/analytics/users?user_id=ann")
        assert 'href="/in/?next=%2Fanalytics%2Fusers%3Fuser_id%3Dann">Sign in' in unescape(answer.body.decode())
        assert answer.status == 401
        # A form can't be sent again from there.
        assert "Sign in" not in site.ask("POST", "/analytics/saved").body.decode()


def test_within_a_route_its_paths_are_listed_and_errors_where_they_are_asked_for(make: Callable[..., Site]):
    def seen(path: str, route: str | None, status: int) -> Event:
        at = datetime.now(UTC) - timedelta(minutes=5)
        return Event(
            type=EventType.PAGEVIEW, timestamp=at, user_id="ann", path=path, matched_pattern=route, status_code=status
        )

    store = MemoryStore()
    store.apply([seen("/posts/a", "/posts/{slug}", 200), seen("/about", "/about", 200), seen("/posts/gone", None, 404)])
    site = make(store=store)

    def pages(**where: Any) -> tuple[str, list[Any]]:
        query = urlencode({"format": "json", "where": json.dumps([where])} if where else {"format": "json"})
        found = site.ask("GET", f"/analytics/?{query}", headers=READER).data["tables"]["pages"]
        return found["field"], sorted(row[0] for row in found["rows"])

    assert pages() == ("matched_pattern", ["/about", "/posts/{slug}"])
    assert pages(field="matched_pattern", op="eq", value="/posts/{slug}") == ("path", ["/posts/a"])
    assert pages(field="status_code", op="gte", value=400) == ("path", ["/posts/gone"])
