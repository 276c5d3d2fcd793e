"""Funnels, filters and annotations that people save: on every stack, by forms that work without JavaScript."""

import csv
import io
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from dashboard_sites import STACKS, visits
from markupsafe import escape
from visiting import OWN, Forms, Visitor
from web_sites import READER, SERVER, Site

from analytics_middleware.outbox.shelf import PrivateShelf
from analytics_middleware.web.access import access_of
from analytics_middleware.web.saved import MOST, MOST_ANNOTATIONS, saved_of

FUNNEL = "/analytics/funnels?step=pageview&step=buy&window=7d&order=any&breakdown=country&period=7d"
ATTACKS = [
    '"><img src=x onerror=alert(1)>',
    "</script><script>alert(2)</script>",
    "{{ 7*7 }}",
    "'; DROP TABLE shelf --",
]

Make = Callable[..., Site]


def open_to_all(request: Any) -> bool:
    return True


@pytest.fixture(params=STACKS)
def visitor(request: pytest.FixtureRequest, make: Make) -> Visitor:
    """Somebody who may read, on each stack in turn."""
    return on(make, request.param)


def on(make: Make, name: str = "ASGI", **settings: Any) -> Visitor:
    site = make(name, **{"authorize": open_to_all, "authorize_changes": open_to_all, **settings})
    assert site.analytics.store is not None
    site.analytics.store.apply(visits())
    return Visitor(site)


def saved(visitor: Visitor, what: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = visitor.data("/analytics/saved")[what]
    return found


# Saving, opening, renaming, deleting.


def test_a_funnel_is_saved_opened_renamed_replaced_and_deleted(visitor: Visitor):
    answer = visitor.submit(FUNNEL, {"do": "funnel"}, name="  To the till ")
    assert (answer.status, answer.header("location")) == (303, FUNNEL)
    kept = {"steps": ["pageview", "buy"], "window": "7d", "order": "any", "breakdown": "country"}
    assert saved(visitor, "funnels") == [{"name": "To the till", **kept}]
    links = [each for each in Forms(visitor.page("/analytics/funnels?period=30d")).addresses if "step=buy" in each]
    assert len(links) == 1
    opened = visitor.data(links[0])
    assert (opened["chosen"], opened["window_seconds"], opened["order"], opened["breakdown"]) == (
        ["pageview", "buy"], 7 * 86400, "any", "country",
    )  # fmt: skip
    assert opened["scope"]["period"] == "30d"
    named = {"do": "rename", "kind": "funnel", "key": "To the till"}
    assert visitor.submit("/analytics/saved", named, name="Till").status == 303
    assert [each["name"] for each in saved(visitor, "funnels")] == ["Till"]
    visitor.submit("/analytics/funnels?step=buy", {"do": "funnel"}, name="Till")
    assert saved(visitor, "funnels") == [
        {"name": "Till", "steps": ["buy"], "window": None, "order": "ordered", "breakdown": None}
    ]
    answer = visitor.submit("/analytics/saved", {"do": "delete", "kind": "funnel", "key": "Till"})
    assert (answer.status, answer.header("location")) == (303, "/analytics/saved")
    assert saved(visitor, "funnels") == []


def test_filters_are_saved_with_their_days_and_put_on_any_page(visitor: Visitor):
    where = '[{"field":"country","op":"eq","value":"DE"}]'
    visitor.submit(f"/analytics/?period=7d&where={where}", {"do": "filter"}, name="Germany")
    (kept,) = saved(visitor, "filters")
    assert kept == {"name": "Germany", "where": json.loads(where), "period": "7d", "from": None, "to": None}
    page = visitor.page("/analytics/events?event=pageview&period=30d")
    (link,) = [each for each in Forms(page).addresses if parse_qs(urlsplit(each).query).get("where") == [where]]
    opened = visitor.data(link)
    assert (opened["scope"]["period"], opened["event"], opened["count"]) == ("7d", "pageview", 2)


def test_an_annotation_stands_on_the_chart_in_the_table_behind_it_and_in_the_twin(visitor: Visitor):
    day = (datetime.now(UTC) - timedelta(days=3)).date().isoformat()
    assert visitor.submit("/analytics/?period=7d", {"do": "annotate"}, day=day, text="Prices up").status == 303
    for path in ("/analytics/?period=7d", "/analytics/events?event=buy&period=7d"):
        page = visitor.page(path)
        assert page.count('class="mark w50"') == 1
        assert page.count("<td>Prices up</td>") == 1
        assert '<th scope="col">Annotation</th>' in page
        (note,) = visitor.data(path)["scope"]["annotations"]
        assert (note["day"], note["text"]) == (day, "Prices up")
    for path in ("/analytics/?period=today", "/analytics/events?event=buy&period=yesterday"):
        assert "Prices up" not in visitor.page(path)
        assert visitor.data(path)["scope"]["annotations"] == []
    visitor.submit("/analytics/?period=7d", {"do": "delete", "kind": "annotation"})
    assert saved(visitor, "annotations") == []


def test_a_page_with_an_annotation_for_every_day_of_a_year_stays_light(make: Make):
    visitor = on(make)
    for number in range(365):
        day = (datetime.now(UTC).date() - timedelta(days=number)).isoformat()
        visitor.send(
            "/analytics/saved", [("do", "annotate"), ("day", day), ("text", f"Release {number:03}, as every day")]
        )
    first = (datetime.now(UTC).date() - timedelta(days=364)).isoformat()
    page = visitor.page(f"/analytics/?from={first}")
    assert len(page) < 60_000
    assert all(page.count(f"Release {number:03}") == (2 if number < 30 else 1) for number in range(365))


@pytest.mark.parametrize("period", ["from=2025-01-01&to=2025-12-31", "from=2025-03-05&to=2025-03-06"])
def test_an_annotation_belongs_to_the_bucket_that_its_day_begins_in(make: Make, period: str):
    visitor = on(make, timezone="Europe/Berlin")
    visitor.submit("/analytics/", {"do": "annotate"}, day="2025-03-05", text="here")
    rows = visitor.page(f"/analytics/?{period}").split("<tr")
    (row,) = [row for row in rows if "<td>here</td>" in row]
    assert ("Week of 3 Mar" if "12-31" in period else "Wed 00:00") in row


def test_saved_things_are_csv_files(make: Make):
    visitor = on(make)
    visitor.submit(FUNNEL, {"do": "funnel"}, name="=cmd()")
    visitor.submit("/analytics/", {"do": "annotate"}, day="2025-03-05", text="@x")
    for table, first in (("funnels", ["'=cmd()", "pageview → buy", "7d"]), ("annotations", ["2025-03-05", "'@x"])):
        answer = visitor.get(f"/analytics/saved?format=csv&table={table}")
        rows = list(csv.reader(io.StringIO(answer.body.decode("utf-8-sig"))))
        assert rows[1][: len(first)] == first


def test_workers_that_share_a_data_directory_see_the_same(make: Make, tmp_path: Path):
    pytest.importorskip("duckdb")
    one, two = (
        Visitor(make(authorize=open_to_all, authorize_changes=open_to_all, data_dir=tmp_path, background=False))
        for _ in range(2)
    )
    one.submit(FUNNEL, {"do": "funnel"}, name="both")
    assert [each["name"] for each in saved(two, "funnels")] == ["both"]
    two.submit("/analytics/saved", {"do": "delete", "kind": "funnel"})
    assert saved(one, "funnels") == []
    assert "No data directory" not in two.page("/analytics/saved")


def test_without_a_data_directory_the_page_says_that_it_is_one_processs_memory(make: Make):
    assert "known to one process only" in on(make).page("/analytics/saved")


def test_what_another_version_saved_is_left_alone(make: Make):
    visitor = on(make)
    shelf = saved_of(visitor.site.analytics).shelf
    assert isinstance(shelf, PrivateShelf)
    shelf.put("funnel", "new", b'{"name":"new","steps":["a"],"colour":"red"}', 9)
    shelf.put("filter", "broken", b"{", 9)
    shelf.put("share", "broken", b"[]", 9)
    assert visitor.get("/analytics/saved").status == 200
    assert saved(visitor, "funnels") == saved(visitor, "filters") == saved(visitor, "shares") == []
    assert shelf.get("funnel", "new") is not None


# What can't be saved.


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"do": "funnel", "name": "x" * 101, "step": "a"}, "name"),
        ({"do": "funnel", "name": " ", "step": "a"}, "name"),
        ({"do": "funnel", "name": "a"}, "steps"),
        ({"do": "funnel", "name": "a", "step": "x" * 257}, "steps"),
        ({"do": "funnel", "name": "a", "step": "a", "window": "soon"}, "window"),
        ({"do": "funnel", "name": "a", "step": "a", "order": "backwards"}, "order"),
        ({"do": "funnel", "name": "a", "step": "a", "breakdown": "password"}, "breakdown"),
        ({"do": "filter", "name": "a", "where": "x"}, "where"),
        ({"do": "filter", "name": "a", "where": '{"field":"country"}'}, "where"),
        ({"do": "filter", "name": "a", "where": '[{"field":"password","op":"eq","value":"x"}]'}, "where"),
        ({"do": "filter", "name": "a", "where": "[" * 5000}, "where"),
        ({"do": "filter", "name": "a", "period": "9d"}, "period"),
        ({"do": "filter", "name": "a", "from": "yesterday"}, "from"),
        ({"do": "annotate", "day": "2025-13-01", "text": "a"}, "day"),
        ({"do": "annotate", "day": "0001-01-01", "text": "a"}, "day"),
        ({"do": "annotate", "text": "a"}, "day"),
        ({"do": "annotate", "day": "2025-01-01", "text": ""}, "text"),
        ({"do": "annotate", "day": "2025-01-01", "text": "x" * 201}, "text"),
        ({"do": "rename", "kind": "funnel", "key": "nobody", "name": "a"}, "name"),
        ({"do": "rename", "kind": "annotation", "key": "a", "name": "a"}, "kind"),
        ({"do": "delete", "kind": "events", "key": "a"}, "kind"),
        ({"do": "format disk"}, "do"),
        ({}, "do"),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_kept(make: Make, fields: dict[str, str], named: str):
    visitor = on(make)
    answer = visitor.send("/analytics/saved", list(fields.items()))
    assert answer.status == 400
    visitor.headers = {"accept": "application/json"}
    assert visitor.send("/analytics/saved", list(fields.items())).error["field"].startswith(named)
    assert not any(saved(visitor, what) for what in ("funnels", "filters", "annotations", "shares"))


def test_a_name_is_not_taken_from_another_by_renaming(make: Make):
    visitor = on(make)
    for name in ("a", "b"):
        visitor.submit(FUNNEL, {"do": "funnel"}, name=name)
    for name in ("b", " ", "x" * 101):
        assert visitor.submit("/analytics/saved", {"do": "rename", "key": "a"}, name=name).status == 400
    assert [each["name"] for each in saved(visitor, "funnels")] == ["a", "b"]
    assert visitor.submit("/analytics/saved", {"do": "rename", "key": "a"}, name="a").status == 303


def test_there_is_room_for_so_many_and_then_one_is_told(make: Make):
    visitor = on(make)
    day = [("day", "2025-01-01"), ("text", "x"), ("do", "annotate")]
    for do, most in (("funnel", MOST), ("annotate", MOST_ANNOTATIONS)):
        fields = day if do == "annotate" else [("do", "funnel"), ("step", "a")]
        for number in range(most):
            assert visitor.send("/analytics/saved", [*fields, ("name", str(number))]).status == 303
        full = visitor.send("/analytics/saved", [*fields, ("name", "more")])
        assert (full.status, f"there are {most}".encode() in full.body) == (400, True)
    again = visitor.send("/analytics/saved", [("do", "funnel"), ("step", "b"), ("name", "7")])
    assert again.status == 303
    assert len(saved(visitor, "funnels")) == MOST


def test_only_a_form_is_a_form(visitor: Visitor):
    token = [field for form in Forms(visitor.page(FUNNEL)).found for field in form.fields if "csrf" in field[0]][:1]
    headers = {**OWN, "x-csrftoken": token[0][1] if token else "", "content-type": "application/json"}
    cookie = "; ".join(f"{name}={value}" for name, value in visitor.cookies.items())
    answer = visitor.site.ask("POST", "/analytics/saved", b'{"do":"funnel"}', {**headers, "cookie": cookie})
    assert answer.status == 415
    headers["content-type"] = "application/x-www-form-urlencoded"
    for body in (b"do=\xff", b"do=%ff", b"&".join(b"a=b" for _ in range(101))):
        assert visitor.site.ask("POST", "/analytics/saved", body, {**headers, "cookie": cookie}).status == 400
    long = visitor.site.ask("POST", "/analytics/saved", b"a=" + b"x" * 70_000, {**headers, "cookie": cookie})
    assert long.status == 413


def test_a_form_leads_back_to_a_page_of_ours_and_nowhere_else(make: Make):
    visitor = on(make)
    for back in ("//evil.example", "https://evil.example/", "\r\nset-cookie: a=b", "../../", "/\\evil", "x?\r\nset: y"):
        answer = visitor.send(
            "/analytics/saved", [("do", "annotate"), ("day", "2025-01-01"), ("text", "x"), ("back", back)]
        )
        location = answer.header("location") or ""
        assert location in ("/analytics/", "/analytics/x", "/analytics/x?set=y", "/analytics/x?%0D%0Aset%3A+y="), back
        assert answer.header("set-cookie") is None


def test_there_is_nothing_to_post_to_but_forms(make: Make):
    visitor = on(make)
    for path in ("/analytics/", "/analytics/funnels", "/analytics/login", "/analytics/static/dashboard.css"):
        assert visitor.send(path, [("do", "funnel")]).status == 405


# Who may.


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example", "sec-fetch-site": "cross-site"},
        {"origin": "https://evil.example"},
        {"origin": "https://app.shop.example", "sec-fetch-site": "same-site"},
        {"origin": "https://friend.example", "sec-fetch-site": "cross-site"},
        {"origin": "http://shop.example", "sec-fetch-site": "cross-site"},
        {"origin": "null"},
        {"sec-fetch-site": "none"},
        {},
    ],
)
@pytest.mark.parametrize("path", ["/analytics/saved", "/analytics/erase"])
def test_a_page_of_another_site_can_change_nothing(make: Make, headers: dict[str, str], path: str):
    """Not even one that may use the API: a form is one of our own pages' or it is nobody's."""
    visitor = on(make, allowed_origins=["https://friend.example"])
    fields = [("do", "funnel"), ("name", "a"), ("step", "a"), ("user_id", "ann"), ("sure", "yes")]
    answer = visitor.send(path, fields, {"accept": "application/json", **headers})
    assert (answer.status, answer.error["code"]) == (403, "origin")
    assert saved(visitor, "funnels") == []
    assert visitor.send(path, fields, {"origin": "https://shop.example"}).status in (200, 303)


@pytest.mark.parametrize("name", ["Django WSGI", "Django ASGI"])
def test_django_asks_for_its_own_token_as_well(make: Make, name: str):
    visitor = on(make, name)
    fields = [("do", "annotate"), ("day", "2025-01-01"), ("text", "x")]
    assert visitor.send("/analytics/saved", fields).status == 403
    assert saved(visitor, "annotations") == []
    assert visitor.submit("/analytics/", {"do": "annotate"}, text="x").status == 303
    assert len(saved(visitor, "annotations")) == 1


def test_a_token_that_reads_sees_what_is_saved_and_no_form(make: Make):
    visitor = on(make, authorize=None)
    visitor.headers = SERVER
    visitor.submit(FUNNEL, {"do": "funnel"}, name="Till")
    visitor.headers = READER
    for path in (FUNNEL, "/analytics/", "/analytics/saved", "/analytics/users?user_id=ann"):
        page = visitor.page(path)
        assert 'method="post"' not in page
        assert "analytics/erase" not in page
    assert "Till" in visitor.page("/analytics/saved")
    answer = visitor.send("/analytics/saved", [("do", "delete"), ("kind", "funnel"), ("key", "Till")])
    assert answer.status == 403
    visitor.headers = {}
    assert visitor.send("/analytics/saved", [("do", "delete"), ("kind", "funnel"), ("key", "Till")]).status == 401
    visitor.headers = READER
    assert len(saved(visitor, "funnels")) == 1


def test_whom_authorize_lets_read_may_change_nothing_until_authorize_changes_says_so(visitor: Visitor, make: Make):
    reader = on(make, visitor.site.name, authorize_changes=None)
    assert 'method="post"' not in reader.page(FUNNEL)
    assert "authorize_changes" in reader.page("/analytics/saved")
    assert reader.get("/analytics/erase?user_id=ann").status == 403


@pytest.mark.parametrize("name", ["Django WSGI with staff", "Django ASGI with staff"])
def test_djangos_staff_may_save_and_erase(build: Make, name: str):
    site = build(name, read_token=None, secret_key=None)
    site.analytics.store.apply(visits())
    staff, customer = (Visitor(site, headers={"x-user": user}) for user in ("staff", "ann"))
    assert staff.submit("/analytics/", {"do": "annotate"}, text="x").status == 303
    assert staff.submit("/analytics/erase?user_id=ann", {"user_id": "ann"}, sure="yes").status == 200
    assert customer.get("/analytics/saved").status == 401


def test_whoever_signed_in_by_the_login_url_may_save(make: Make):
    site = make(read_token=None)
    visitor = Visitor(site)
    assert visitor.get(access_of(site.analytics).login_path("/analytics")).status == 303
    assert visitor.submit("/analytics/", {"do": "annotate"}, text="x").status == 303
    assert len(saved(visitor, "annotations")) == 1


def test_authorize_changes_says_who_of_the_readers_may(visitor: Visitor, make: Make):
    def changes(request: Any) -> bool:
        headers = getattr(request, "headers", None)
        if headers is None:
            return request.get("HTTP_X_USER") == "ann"
        return bool(headers.get("x-user") == "ann")

    name = visitor.site.name
    if name == "ASGI":
        changes = lambda request: (b"x-user", b"ann") in request["headers"]  # type: ignore[assignment]  # noqa: E731
    may, may_not = (
        (on(make, name, authorize_changes=changes) for _ in range(2))
        if "Django" not in name
        else ([on(make, name, authorize_changes=changes)] * 2)
    )
    may.headers = {"x-user": "ann"}
    assert may.submit(FUNNEL, {"do": "funnel"}, name="a").status == 303
    may_not.headers = {"x-user": "bob"}
    assert 'method="post"' not in may_not.page("/analytics/saved")
    assert may_not.send("/analytics/saved", [("do", "funnel"), ("name", "b"), ("step", "a")]).status == 403


# Hostile text.


@pytest.mark.parametrize("text", ATTACKS)
def test_whatever_people_write_is_shown_as_text(make: Make, text: str):
    visitor = on(make)
    visitor.send(
        "/analytics/saved", [("do", "funnel"), ("name", text), ("step", text), ("breakdown", f"traits.{text}")]
    )
    where = json.dumps([{"field": f"properties.{text}", "op": "eq", "value": text}])
    visitor.send("/analytics/saved", [("do", "filter"), ("name", text), ("where", where)])
    today = datetime.now(UTC).date().isoformat()
    visitor.send("/analytics/saved", [("do", "annotate"), ("day", today), ("text", text)])
    visitor.send("/analytics/saved", [("do", "share"), ("back", "?period=7d"), ("name", text)])
    assert all(len(saved(visitor, what)) == 1 for what in ("funnels", "filters", "annotations", "shares"))
    for path in ("/analytics/", "/analytics/funnels", "/analytics/events", "/analytics/saved", "/analytics/users"):
        page = visitor.page(path)
        assert "<img" not in page
        assert "<script>" not in page
        assert str(escape(text)) in page or path == "/analytics/users"
    for kind in ("funnel", "filter"):
        visitor.submit("/analytics/saved", {"do": "rename", "kind": kind}, name=f"{text}!")
        visitor.submit("/analytics/saved", {"do": "delete", "kind": kind})
    assert saved(visitor, "funnels") == saved(visitor, "filters") == []
