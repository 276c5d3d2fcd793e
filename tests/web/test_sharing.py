"""Share links: what they open, to whom, for how long, and what they keep to themselves."""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from dashboard_sites import STACKS, visits
from visiting import Forms, Visitor
from web_sites import READER, SERVER, TOKEN, Site

from analytics_middleware.web.access import access_of
from analytics_middleware.web.share import DAYS, MAX_DAYS, MOST

Make = Callable[..., Site]
WHERE = quote('[{"field":"country","op":"eq","value":"GB"}]')
FUNNEL = "/analytics/funnels?step=pageview&step=buy&window=7d&breakdown=country&period=7d"
SHARED = [
    f"/analytics/?period=7d&metric=pageviews&where={WHERE}",
    FUNNEL,
    "/analytics/retention?every=day&period=7d",
    "/analytics/paths?event=pageview&period=7d",
]


def open_to_all(request: Any) -> bool:
    return True


def on(make: Make, name: str = "ASGI", **settings: Any) -> Visitor:
    """Somebody who may read and change, by the secret key or on Django by a form."""
    site = make(name, **{"authorize": signed_in(name), "authorize_changes": signed_in(name), **settings})
    assert site.analytics.store is not None
    site.analytics.store.apply(visits())
    return Visitor(site, headers={"x-user": "ann"})


def signed_in(name: str) -> Callable[[Any], bool]:
    if name == "ASGI":
        return lambda request: (b"x-user", b"ann") in request["headers"]
    if name == "WSGI":
        return lambda request: request.get("HTTP_X_USER") == "ann"
    return lambda request: request.headers.get("x-user") == "ann"


def share(visitor: Visitor, path: str, **filled: str) -> str:
    """Share the page at *path*; return where the link leads, as the page Saved says."""
    answer = visitor.submit(path, {"do": "share"}, **filled)
    assert answer.status == 303, answer.body
    location = answer.header("location") or ""
    assert location.startswith("/analytics/saved?made=")
    page = visitor.page(location)
    found = re.search(r'class="made".*?href="(/analytics/shared/[^"]+)"', page, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture(params=STACKS)
def visitor(request: pytest.FixtureRequest, make: Make) -> Visitor:
    return on(make, request.param)


def stranger(visitor: Visitor) -> Visitor:
    return Visitor(visitor.site)


# What a link opens.


def test_a_link_opens_its_page_and_its_twins_to_anybody_and_nothing_else(visitor: Visitor):
    visitor.submit("/analytics/", {"do": "annotate"}, text="for us alone")
    somebody = stranger(visitor)
    for path in SHARED:
        link = share(visitor, path)
        page = somebody.get(link)
        assert page.status == 200, page.body
        inside = Forms(page.body.decode())
        assert inside.found == []
        outside = [each for each in inside.addresses if not each.startswith(("#", "/analytics/static/", "data:"))]
        assert all(each.split("?")[0] == link for each in outside), outside
        ours = visitor.data(path)
        theirs = somebody.data(link)
        for each in (ours, theirs):
            for moving in ("now", "end", "start", "before", "annotations"):
                each["scope"].pop(moving)
        assert theirs == ours
        table = next(iter(ours["tables"]))
        file = somebody.get(f"{link}?format=csv&table={table}")
        assert (file.status, file.header("content-type")) == (200, "text/csv; charset=utf-8")
        assert "for us alone" not in page.body.decode()
        assert b">ann<" not in page.body
    for path in ("/analytics/", "/analytics/users", "/analytics/saved", "/analytics/erase?user_id=ann"):
        assert somebody.get(path).status == 401


def test_a_link_can_be_bent_to_nothing_else(visitor: Visitor):
    link = share(visitor, FUNNEL)
    somebody = stranger(visitor)
    for query in ("period=90d", "step=other", "where=[]", "user_id=ann", "breakdown=user_id", "page=users"):
        assert somebody.get(f"{link}?{query}").status == 400
    swapped = f"/analytics/shared/{link.rpartition('/')[2].swapcase()}"
    for path in (
        f"{link}/",
        f"{link}/users",
        f"{link}x",
        f"{link[:-1]}",
        f"{link}%00",
        swapped,
    ):
        assert somebody.get(path).status == (200 if path == f"{link}/" else 410)
    assert somebody.send(link, [("do", "funnel")]).status in (403, 405)


def test_a_link_sets_no_cookie_and_tells_nobody_its_address(visitor: Visitor, caplog: pytest.LogCaptureFixture):
    link = share(visitor, SHARED[0])
    with caplog.at_level(logging.DEBUG):
        answers = [stranger(visitor).get(each) for each in (link, f"{link}?format=json", f"{link}x", f"{link}?x=y")]
    assert [answer.status for answer in answers] == [200, 200, 410, 400]
    for answer in answers:
        assert answer.header("set-cookie") is None
        assert answer.header("referrer-policy") == "no-referrer"
        assert answer.header("cache-control") == "no-store"
        assert "noindex" in (answer.header("x-robots-tag") or "")
    token = link.rpartition("/")[2]
    ours = [record for record in caplog.records if record.name.startswith("analytics")]
    assert token not in " ".join(record.getMessage() for record in ours)
    assert token not in str(visitor.data("/analytics/saved"))


@pytest.mark.parametrize(
    ("page", "query"),
    [
        ("users", ""),
        ("users", "user_id=ann"),
        ("live", ""),
        ("events", "event=buy"),
        ("pipeline", ""),
        ("saved", ""),
        ("erase", "user_id=ann"),
        ("nowhere", ""),
        ("funnels", "step=buy&breakdown=user_id"),
        ("funnels", "step=buy&breakdown=traits.email"),
        ("", 'where=[{"field":"user_id","op":"eq","value":"ann"}]'),
        ("", 'where=[{"field":"traits.email","op":"contains","value":"@"}]'),
        ("", "period=9d"),
        ("", "format=csv"),
    ],
)
def test_what_shows_people_is_not_shared(make: Make, page: str, query: str):
    visitor = on(make)
    answer = visitor.send("/analytics/saved", [("do", "share"), ("back", f"{page}?{query}")])
    assert answer.status == 400
    assert visitor.data("/analytics/saved")["shares"] == []
    if page in ("users", "live", "events", "pipeline", "saved"):
        assert "Make a link" not in visitor.page(f"/analytics/{page}")


# For how long.


def test_a_link_ends_with_its_time(make: Make):
    visitor = on(make)
    signer = access_of(visitor.site.analytics).signer
    now = signer.clock()
    signer.clock = lambda: now
    month, day = share(visitor, FUNNEL), share(visitor, FUNNEL, days="1")
    signer.clock = lambda: now + 86_401
    assert [stranger(visitor).get(link).status for link in (month, day)] == [200, 410]
    assert len(visitor.data("/analytics/saved")["shares"]) == 1
    signer.clock = lambda: now + DAYS * 86_400 + 1
    answer = stranger(visitor).get(month)
    assert answer.status == 410
    assert b"expired or was revoked" in answer.body
    assert b'href="/analytics/"' not in answer.body


@pytest.mark.parametrize("days", ["0", "-1", str(MAX_DAYS + 1), "x", "1.5", "", "9" * 30, "²"])
def test_a_link_is_good_for_days_within_reason(make: Make, days: str):
    visitor = on(make)
    answer = visitor.send("/analytics/saved", [("do", "share"), ("back", ""), ("days", days)])
    # A field that is left empty is not there.
    assert answer.status == (400 if days else 303)


def test_a_link_that_is_revoked_opens_nothing_any_more(visitor: Visitor):
    first, second = share(visitor, FUNNEL, name="the board"), share(visitor, FUNNEL)
    key = next(each["id"] for each in visitor.data("/analytics/saved")["shares"] if each["name"] == "the board")
    assert visitor.submit("/analytics/saved", {"do": "delete", "kind": "share", "key": key}).status == 303
    assert [stranger(visitor).get(link).status for link in (first, second)] == [410, 200]


def test_there_is_room_for_so_many_links_and_expired_ones_make_room(make: Make):
    visitor = on(make)
    signer = access_of(visitor.site.analytics).signer
    now = signer.clock()
    signer.clock = lambda: now
    fields = [("do", "share"), ("back", ""), ("days", "1")]
    assert all(visitor.send("/analytics/saved", fields).status == 303 for _ in range(MOST))
    assert visitor.send("/analytics/saved", fields).status == 400
    signer.clock = lambda: now + 86_401
    assert visitor.send("/analytics/saved", fields).status == 303
    assert len(visitor.data("/analytics/saved")["shares"]) == 1


# Who may.


@pytest.mark.parametrize("junk", ["x", "A" * 43, "é" * 43, "A" * 10_000, "..", "%2e%2e%2fusers", "=" * 44])
def test_junk_opens_nothing(make: Make, junk: str):
    answer = make().ask("GET", f"/analytics/shared/{quote(junk, safe='%')}")
    assert answer.status == 410


def test_a_login_is_no_link_and_a_link_is_no_login(make: Make):
    visitor = on(make)
    access = access_of(visitor.site.analytics)
    link = share(visitor, FUNNEL)
    token = link.rpartition("/")[2]
    assert access.login.exchange(token) is None
    assert stranger(visitor).get(f"/analytics/shared/{access.login.token()}").status == 410
    stolen = stranger(visitor)
    stolen.headers = {"authorization": f"Bearer {token}"}
    assert stolen.get("/analytics/").status == 401


def test_a_token_that_reads_makes_no_links_and_is_not_shown_any(make: Make):
    visitor = on(make, authorize=None)
    visitor.headers = SERVER
    link = share(visitor, FUNNEL)
    visitor.headers = READER
    assert "/shared/" not in visitor.page("/analytics/saved")
    assert link.rpartition("/")[2] not in str(visitor.data("/analytics/saved"))
    assert visitor.send("/analytics/saved", [("do", "share"), ("back", "")]).status == 403
    assert TOKEN not in link


@pytest.mark.parametrize("secret", [None, "the-secret-key-of-both"])
def test_workers_that_share_a_data_directory_open_and_revoke_the_same_links(
    make: Make, tmp_path: Path, secret: str | None
):
    pytest.importorskip("duckdb")
    settings = {
        "authorize": open_to_all,
        "authorize_changes": open_to_all,
        "data_dir": tmp_path,
        "background": False,
        "secret_key": secret,
    }
    one, two = (Visitor(make(**settings)) for _ in range(2))
    link = share(one, "/analytics/?period=7d")
    assert two.get(link).status == 200
    two.submit("/analytics/saved", {"do": "delete", "kind": "share"})
    assert one.get(link).status == 410


def test_another_secret_opens_no_link(make: Make, tmp_path: Path):
    pytest.importorskip("duckdb")
    settings = {"authorize": open_to_all, "authorize_changes": open_to_all, "data_dir": tmp_path, "background": False}
    one, two = (Visitor(make(secret_key=f"a-secret-of-number-{number}", **settings)) for number in range(2))
    assert two.get(share(one, "/analytics/")).status == 410


def test_strangers_with_a_link_are_limited(make: Make):
    visitor = on(make, api_rate_limit=3)
    link = share(visitor, FUNNEL)
    statuses = [stranger(visitor).get(link).status for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]


# Embedding.


@pytest.mark.parametrize(
    ("ancestors", "policy", "frame_options"),
    [
        ((), "frame-ancestors 'none'", "DENY"),
        (("self",), "frame-ancestors 'self'", "SAMEORIGIN"),
        (("self", "https://intranet.example"), "frame-ancestors 'self' https://intranet.example", None),
    ],
)
def test_only_what_is_shared_is_embedded_and_only_where_it_may(
    make: Make, ancestors: tuple[str, ...], policy: str, frame_options: str | None
):
    visitor = on(make, frame_ancestors=ancestors)
    link = share(visitor, FUNNEL)
    framed = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "iframe"}
    for path in (link, f"{link}x"):
        answer = visitor.site.ask("GET", path, headers=framed)
        said = answer.header("content-security-policy") or ""
        assert (answer.status, said.endswith(policy)) == (200 if path == link else 410, True)
        assert said.startswith("default-src 'none'; script-src 'self'")
        assert answer.header("x-frame-options") == frame_options
    for path in ("/analytics/", "/analytics/saved", "/analytics/erase?user_id=ann", "/analytics/nowhere"):
        answer = visitor.get(path)
        assert "frame-ancestors 'none'" in (answer.header("content-security-policy") or "")
        assert answer.header("x-frame-options") == "DENY"
