"""Who may read, who may write, and what a page of another site can't do."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from web_sites import READER, SECRET, SERVER, STACKS, TOKEN, Site

from analytics_middleware import Analytics
from analytics_middleware.outgoing.secret import Secret
from analytics_middleware.request import Request
from analytics_middleware.web.access import access_of
from analytics_middleware.web.login import COOKIE, COOKIE_SECONDS, TOKEN_SECONDS, Login
from analytics_middleware.web.signing import Signer

EVIL = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}
OWN = {"origin": "http://shop.example", "sec-fetch-site": "same-origin"}
CLOSED = {"read_token": None, "secret_key": None}


def opens(site: Site, **headers: str) -> bool:
    answer = site.ask("GET", "active", headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status in (200, 401)
    return answer.status == 200


# Reading.


def test_a_token_opens_reading_and_a_wrong_one_does_not(site: Site):
    assert opens(site, authorization=f"Bearer {TOKEN}")
    assert opens(site, authorization=f"bearer  {SECRET}")
    for wrong in (f"Bearer {TOKEN}x", "Bearer ", "Bearer", f"Basic {TOKEN}", TOKEN, "Bearer \xe9\xff", "Bearer None"):
        assert not opens(site, authorization=wrong)


def test_the_secret_key_of_the_framework_is_no_token(build):
    assert not opens(build("Flask"), authorization="Bearer flask's own secret")


@pytest.mark.parametrize("name", list(STACKS))
def test_authorize_decides_with_the_frameworks_own_request(build, name):
    def authorize(request):
        headers = request.get("HTTP_X_USER") if name == "WSGI" else None
        if name == "ASGI":
            headers = dict(request["headers"]).get(b"x-user", b"").decode()
        return (headers or getattr(request, "headers", {}).get("x-user")) == "ann"

    site = build(name, authorize=authorize)
    assert opens(site, x_user="ann")
    assert not opens(site, x_user="bob")
    assert not opens(site, x_user="staff")


@pytest.mark.parametrize("name", list(STACKS))
def test_authorize_may_be_a_coroutine(build, name):
    answers = [True, False]

    async def authorize(request):
        return answers.pop(0)

    site = build(name, authorize=authorize)
    assert opens(site)
    assert not opens(site)


def test_an_authorize_that_raises_opens_nothing_and_breaks_nothing(plain: Site, build, caplog):
    site = build(plain.name, authorize=lambda request: 1 / 0)
    assert not opens(site)
    assert "authorize raised" in caplog.text
    assert site.send({"name": "a"})


@pytest.mark.parametrize("name", ["Django WSGI with staff", "Django ASGI with staff"])
def test_django_opens_to_staff_unless_authorize_says_otherwise(build, name):
    site = build(name, **CLOSED)
    assert opens(site, x_user="staff")
    assert not opens(site, x_user="ann")
    assert not opens(site)


@pytest.mark.parametrize("name", list(STACKS))
def test_without_any_other_way_in_a_login_url_is_logged_once_and_good_once(build, name, caplog):
    site = build(name, **CLOSED)
    site.ask("GET", "/page")
    site.ask("GET", "active", headers={})
    # It leads to the pages where there are any; the token is good for both.
    urls = [f"login?token={token}" for token in re.findall(r"/analytics/login\?token=([\w-]+)", caplog.text)]
    if "staff" in name:
        assert urls == []
        return
    assert len(urls) == 1
    assert site.ask("HEAD", urls[0]).status == 401
    answer = site.ask("GET", urls[0])
    assert answer.json == {"data": {"signed_in": True}}
    cookie = answer.header("set-cookie") or ""
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert opens(site, cookie=cookie.partition(";")[0])
    assert not opens(site, cookie=cookie.partition(";")[0][:-2])
    again = site.ask("GET", urls[0])
    assert (again.status, again.header("set-cookie")) == (401, None)


WORKERS = """
import os, sys
from analytics_middleware import Analytics
from analytics_middleware.store import MemoryStore
from analytics_middleware.web.access import access_of

for _ in range(3):
    if os.fork() == 0:
        analytics = Analytics(data_dir=sys.argv[1], store=MemoryStore(), enabled=True)
        access_of(analytics)
        analytics.ensure_started()
        analytics.close(1)
        os._exit(0)
    os.wait()
"""


def test_a_server_logs_one_login_url_at_its_start_and_a_day_later_however_many_workers_it_starts(tmp_path):
    def urls_of_a_server() -> list[str]:
        server = subprocess.run(
            [sys.executable, "-c", WORKERS, str(tmp_path)],
            capture_output=True,
            text=True,
            check=True,
            process_group=0,
            timeout=30,
        )
        return re.findall(r"login\?token=\S+", server.stderr)

    started, again = urls_of_a_server(), urls_of_a_server()
    assert len({*started, *again}) == len(started) + len(again) == 2
    login = Login(Signer(lambda: None, tmp_path), tmp_path)
    assert [login.is_first_to_announce() for _ in range(2)] == [True, False]
    for file in (tmp_path / "logins").iterdir():
        os.utime(file, (0, file.stat().st_mtime - TOKEN_SECONDS))
    assert [login.is_first_to_announce() for _ in range(2)] == [True, False]


@pytest.mark.parametrize("way", [{"read_token": TOKEN}, {"authorize": lambda request: False}])
def test_where_another_way_in_is_set_no_login_url_is_made_or_taken(build, way, caplog):
    site = build("ASGI", **{**CLOSED, **way})
    site.send({"name": "a"})
    assert "login?token" not in caplog.text
    assert site.ask("GET", access_of(site.analytics).login_path("")[1:]).status == 401


@pytest.fixture
def switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def test_threads_that_ask_first_at_the_same_time_share_one_login(switch_often: None):
    threads = 8
    for _ in range(20):
        analytics = Analytics(enabled=True)
        together = Barrier(threads)

        def ask(_: int, together: Barrier = together, analytics: Analytics = analytics) -> int:
            together.wait()
            return id(access_of(analytics))

        with ThreadPoolExecutor(threads) as pool:
            assert len(set(pool.map(ask, range(threads)))) == 1


def request_with(cookie: str) -> Request:
    return Request(headers=[(b"cookie", f"{COOKIE}={cookie}".encode())])


def test_tokens_and_cookies_expire_and_are_not_good_for_each_other():
    now = [1_700_000_000.0]
    login = Login(Signer(lambda: b"s" * 32, None, clock=lambda: now[0]), None)
    token = login.token()
    cookie = login.exchange(token)
    assert cookie is not None
    assert login.valid(request_with(cookie))
    assert not login.valid(request_with(login.token()))
    assert login.exchange(cookie) is None
    late = login.token()
    now[0] += TOKEN_SECONDS
    assert login.exchange(late) is None
    now[0] += COOKIE_SECONDS
    assert not login.valid(request_with(cookie))


@pytest.mark.parametrize("junk", ["", "x", "é" * 43, "A" * 43, "A" * 10_000, "../../etc/passwd", "=" * 44])
def test_junk_is_no_token(junk):
    assert Login(Signer(lambda: None, None), None).exchange(junk) is None


def test_processes_that_share_a_data_directory_share_logins_and_spend_them_together(tmp_path):
    first, second = (Login(Signer(lambda: None, tmp_path / "data"), tmp_path / "data") for _ in range(2))
    token = first.token()
    cookie = second.exchange(token)
    assert cookie is not None
    assert first.exchange(token) is None
    assert first.valid(request_with(cookie))
    assert ((tmp_path / "data" / "login.key").stat().st_mode & 0o777) == 0o600
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["login.key", "logins"]


def test_a_data_directory_that_can_not_be_used_is_no_obstacle_to_logging_in_once(tmp_path):
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    for directory in (in_the_way, in_the_way / "data"):
        login = Login(Signer(lambda: None, directory), directory)
        token = login.token()
        cookie = login.exchange(token)
        assert cookie is not None
        assert login.valid(request_with(cookie))
        assert login.exchange(token) is None


def test_another_secret_makes_other_tokens():
    one, other = (Login(Signer(lambda secret=secret: secret * 32, None), None) for secret in (b"a", b"b"))
    assert one.exchange(other.token()) is None


def test_no_secret_is_in_the_log(build, caplog):
    site = build("Flask")
    site.ask("GET", "active", headers={"authorization": "Bearer wrong"})
    site.send({"name": "a"}, headers=SERVER)
    assert TOKEN not in caplog.text
    assert SECRET not in caplog.text
    assert Secret(TOKEN) == site.analytics.settings.read_token


# Writing.


def test_a_write_key_is_asked_of_strangers_in_the_query_or_a_header(site: Site, build):
    site = build(site.name, write_key="public-key-1")
    body = {"events": [{"name": "a"}]}
    for path, headers in (("events", {}), ("events?key=other", {}), ("events", {"x-analytics-key": "public-key-2"})):
        answer = site.post(path, body, headers)
        assert (answer.status, answer.error["code"], answer.error["field"]) == (401, "write_key", "key")
    assert site.post("events?key=public-key-1", body).status == 202
    assert site.post("events", body, {"x-analytics-key": "public-key-1"}).status == 202
    assert site.post("events", body, SERVER).status == 202
    assert len(site.taken()) == 3


def test_the_write_key_proves_nothing_about_users(build):
    site = build("ASGI", write_key="public-key-1")
    (event,) = site.send({"name": "a", "user_id": "ann"}, headers={"x-analytics-key": "public-key-1"})
    assert event.user_id is None


def test_a_wrong_secret_is_told_rather_than_taken_for_a_stranger(site: Site):
    answer = site.post("events", {"events": [{"name": "a"}]}, {"authorization": "Bearer old-secret"})
    assert (answer.status, answer.error["code"]) == (401, "token")
    assert site.taken() == []


# Other sites' pages.


def test_a_page_of_another_site_can_send_nothing_in_anybodys_name(site: Site):
    body = {"events": [{"name": "a"}]}
    for headers in (
        EVIL,
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "https://shop.example.evil.example"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "cross-site"},
        {"origin": "http://[bad", "host": "shop.example"},
    ):
        answer = site.post("events", body, {"x-user": "ann", **headers})
        assert (answer.status, answer.error["code"]) == (403, "origin"), headers
    assert site.taken() == []


@pytest.mark.parametrize(
    "headers",
    [
        OWN,
        {"origin": "http://shop.example"},
        {"origin": "https://shop.example"},
        {"sec-fetch-site": "same-origin"},
        {"sec-fetch-site": "none"},
        {},
    ],
)
def test_the_sites_own_pages_and_programs_can(site: Site, headers):
    assert site.send({"name": "a"}, headers=headers)


def test_django_lets_the_api_do_without_its_csrf_token(build):
    site = build("Django WSGI with staff")
    assert site.send({"name": "a"}, headers={"x-user": "ann", **OWN})


def test_a_page_of_another_site_cannot_read_with_the_readers_cookies(build):
    site = build("Django WSGI with staff", **CLOSED)
    assert site.ask("GET", "active", headers={"x-user": "staff", **EVIL}).status == 403
    followed = {"x-user": "staff", "sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}
    assert site.ask("GET", "active", headers=followed).status == 200


def test_cors_is_for_the_origins_that_are_allowed(site: Site, build):
    site = build(site.name, allowed_origins=["https://app.example"])
    friend = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
    preflight = site.ask("OPTIONS", "events", headers={**friend, "access-control-request-method": "POST"})
    assert preflight.status == 204
    assert preflight.header("access-control-allow-origin") == "https://app.example"
    assert preflight.header("access-control-allow-methods") == "POST, OPTIONS"
    assert "content-type" in preflight.header("access-control-allow-headers")
    sent = site.post("events", {"events": [{"name": "a"}]}, friend)
    assert (sent.status, sent.header("access-control-allow-origin")) == (202, "https://app.example")
    assert site.taken()[0].hostname == "app.example"
    assert site.ask("GET", "active", headers={**friend, **READER}).status == 200
    for origin in ("https://evil.example", "https://app.example.evil.example", "http://app.example", "null"):
        denied = site.ask("OPTIONS", "events", headers={"origin": origin, "access-control-request-method": "POST"})
        assert denied.header("access-control-allow-origin") is None
        assert denied.header("access-control-allow-methods") is None
    assert "access-control-allow-credentials" not in str([sent.headers, preflight.headers]).lower()
    assert "Origin" in sent.header("vary")


def test_a_page_of_an_allowed_origin_is_told_that_its_body_was_refused_and_it_is_counted(site: Site, build):
    site = build(site.name, allowed_origins=["https://app.example"])
    friend = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
    answers = [
        site.ask("POST", "events", b"x" * 65_537, friend),
        site.ask("POST", "events", [b"x" * 40_000] * 2, friend),
        site.post("events", b"\x1f\x8b", {**friend, "content-encoding": "gzip"}),
    ]
    assert [answer.status for answer in answers] == [413, 413, 415]
    for answer in answers:
        assert answer.header("access-control-allow-origin") == "https://app.example"
        assert "Origin" in answer.header("vary")
    stranger = site.ask("POST", "events", b"x" * 65_537, EVIL)
    assert (stranger.status, stranger.header("access-control-allow-origin")) == (413, None)
    assert site.analytics.stats()["ingest_refused"] == 4
