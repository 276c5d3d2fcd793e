"""The visitor cookie: who is given one and when, what it looks like, and when it changes hands."""

import asyncio
from contextlib import suppress

import pytest
from flask import Flask
from flask_login import LoginManager, UserMixin, login_user, logout_user
from privacy_site import BROWSER, HTML, SECRET, Page

from analytics_middleware import Analytics, ConfigurationError, set_user, track
from analytics_middleware.enrich.visitor import is_cookieless, issue
from analytics_middleware.testing import FakeCollector
from analytics_middleware.visitor_cookie import derived_key, may_be_shared
from analytics_middleware_flask import FlaskAnalytics, get_analytics
from analytics_middleware_starlette import AnalyticsMiddleware

NAME = "analytics_visitor"
COOKIE = {"visitor": "cookie", "secret_key": SECRET}


def given(cookie="", secret=SECRET):
    """A cookie that this site gave out before, and the id in it."""
    visitor_id, value = issue(secret.encode())
    return visitor_id, f"{cookie}{NAME}={value}"


def test_a_first_page_view_gives_a_cookie_whose_id_the_event_has_and_the_next_ones_too(build, stack):
    site = build(stack, **COOKIE)
    cookie = site.visit("/").cookies[NAME]
    assert site.visit("/", cookie=f"theme=dark; {NAME}={cookie.value}").set_cookie == []
    first, second = site.events
    assert first.anon_id == second.anon_id == cookie.value.partition(".")[0]
    assert len(first.anon_id) == 32
    assert not is_cookieless(first.anon_id)


def test_the_cookie_is_for_one_year_for_this_site_and_out_of_reach_for_scripts(build, stack):
    site = build(stack, **COOKIE)
    [header] = site.visit("/").set_cookie
    attributes = {part.strip().lower() for part in header.split(";")[1:]}
    assert attributes == {"max-age=31536000", "path=/", "httponly", "samesite=lax", "secure"}


@pytest.mark.parametrize(
    ("scheme", "headers", "secure"),
    [
        ("https", {}, True),
        ("http", {}, False),
        ("http", {"x-forwarded-proto": "https"}, True),
    ],
)
def test_over_tls_the_cookie_is_for_tls_only(build, stack, scheme, headers, secure):
    site = build(stack, **COOKIE)
    [header] = site.visit("/", scheme=scheme, headers=headers).set_cookie
    assert ("; secure" in header.lower()) is secure


@pytest.mark.parametrize("settings", [{}, {"visitor": None}, {"secret_key": SECRET}])
def test_without_the_setting_nobody_is_given_a_cookie(build, stack, settings):
    assert build(stack, **settings).visit("/").set_cookie == []


@pytest.mark.parametrize(
    ("path", "options"),
    [
        ("/", {"method": "HEAD"}),
        ("/", {"headers": {"sec-fetch-dest": "image"}}),
        ("/", {"headers": {"sec-fetch-dest": "iframe"}}),
        ("/", {"headers": {"sec-purpose": "prefetch"}}),
        ("/", {"headers": {"hx-request": "true"}}),
        ("/api", {}),
        ("/missing", {}),
        ("/public", {}),
        ("/cdn", {}),
        ("/moved", {"headers": {"sec-fetch-dest": "empty"}}),
        ("/unchanged", {}),
        ("/", {"headers": {"dnt": "1"}}),
        ("/", {"headers": {"sec-gpc": "1"}}),
        ("/health", {}),
    ],
)
def test_no_cookie_is_given_with(build, stack, path, options):
    """Assets, calls, prefetches, what caches may share, errors, probes, and to visitors who object."""
    pages = {
        "/api": lambda: Page("{}", headers=(("Content-Type", "application/json"),)),
        "/public": lambda: Page(headers=(("Content-Type", HTML), ("Cache-Control", "public, max-age=60"))),
        "/cdn": lambda: Page(headers=(("Content-Type", HTML), ("CDN-Cache-Control", "max-age=60"))),
        "/moved": lambda: Page("", 302, (("Location", "/"),)),
        "/unchanged": lambda: Page("", 304, ()),
        "/health": Page,
    }
    assert build(stack, pages, **COOKIE).visit(path, **options).set_cookie == []


@pytest.mark.parametrize("path", ["/", "/moved", "/form", "/private"])
def test_a_cookie_is_given_with_pages_redirects_and_forms(build, stack, path):
    pages = {
        "/moved": lambda: Page("", 302, (("Location", "/"),)),
        "/form": Page,
        "/private": lambda: Page(headers=(("Content-Type", HTML), ("Cache-Control", "private, max-age=60"))),
    }
    site = build(stack, pages, **COOKIE)
    assert NAME in site.visit(path, method="POST" if path == "/form" else "GET").cookies


@pytest.mark.parametrize(
    ("value", "shared"),
    [
        ("public", True),
        ("max-age=60", True),
        ("s-maxage=5, max-age=0", True),
        ("Public, Max-Age=60", True),
        ("max-age=0, must-revalidate", False),
        ("no-cache", False),
        ("private, max-age=60", False),
        ("no-store, max-age=60", False),
        ("", False),
    ],
)
def test_a_shared_cache_may_keep_what_cache_control_says(value, shared):
    """RFC 9111 section 5.2.2."""
    assert may_be_shared([(b"cache-control", value.encode())]) is shared
    assert may_be_shared([("Cache-Control", value)]) is shared


@pytest.mark.parametrize("forged", ["", "x", "0" * 32, f"{'0' * 32}.{'0' * 32}", "another site's"])
def test_a_cookie_that_was_not_given_out_here_is_replaced(build, stack, forged):
    if forged == "another site's":
        _, forged = issue(b"the key of another site")
    site = build(stack, **COOKIE)
    cookie = site.visit("/", cookie=f"{NAME}={forged}").cookies[NAME]
    [event] = site.events
    assert cookie.value.startswith(f"{event.anon_id}.")
    assert not forged.startswith(event.anon_id)


def test_visitors_who_object_lose_the_cookie_and_have_no_id(build, stack):
    site = build(stack, **COOKIE)
    _, cookie = given()
    gone = site.visit("/", cookie=cookie, headers={"sec-gpc": "1"}).cookies[NAME]
    assert (gone.value, gone["max-age"]) == ("", "0")
    assert [event.anon_id for event in site.events] == [None]


@pytest.mark.parametrize("answer", [False, None, 1, "yes", ZeroDivisionError])
def test_without_the_hooks_consent_there_is_no_cookie_and_the_visitor_is_counted_without_one(build, stack, answer):
    def consent(request):
        if answer is ZeroDivisionError:
            raise answer
        return answer

    site = build(stack, consent=consent, **COOKIE)
    assert site.visit("/").set_cookie == []
    _, cookie = given()
    assert site.visit("/", cookie=cookie).cookies[NAME]["max-age"] == "0"
    assert all(is_cookieless(event.anon_id) for event in site.events)


def test_with_the_hooks_consent_the_cookie_is_given(build, stack):
    site = build(stack, consent=lambda request: request.cookie("consent") == "all", **COOKIE)
    assert site.visit("/").set_cookie == []
    cookie = site.visit("/", cookie="consent=all").cookies[NAME]
    assert site.events[-1].anon_id == cookie.value.partition(".")[0]


def test_what_a_view_tracks_on_a_visitors_very_first_page_has_the_id_of_the_cookie(build, stack):
    def landing():
        track("experiment.assigned")
        return Page()

    site = build(stack, {"/landing": landing}, **COOKIE)
    cookie = site.visit("/landing").cookies[NAME]
    assert {event.anon_id for event in site.events} == {cookie.value.partition(".")[0]}
    assert len(site.events) == 2


@pytest.mark.parametrize("answer", ["shared", "gone", "call"])
def test_an_id_that_the_answer_gives_to_nobody_is_in_no_event(build, stack, answer):
    """Else each request of one browser would be a visitor who never comes again."""

    def view():
        track("article.viewed")
        return {
            "shared": Page(headers=(("Content-Type", HTML), ("Cache-Control", "public, max-age=60"))),
            "gone": Page("", 404),
            "call": Page("{}", headers=(("Content-Type", "application/json"),)),
        }[answer]

    site = build(stack, {"/article": view}, **COOKIE)
    assert site.visit("/article").set_cookie == []
    assert "article.viewed" in [event.event_name for event in site.events]
    assert {event.anon_id for event in site.events} == {None}


def test_an_id_is_in_no_event_when_there_is_no_answer(build):
    def view():
        track("article.viewed")
        raise LookupError

    site = build("asgi", {"/article": view}, **COOKIE)
    with suppress(LookupError):
        site.visit("/article")
    assert [event.event_name for event in site.events] == ["article.viewed", None]
    assert {event.anon_id for event in site.events} == {None}


def test_an_id_is_read_from_the_cookie_by_calls_that_are_given_none(build, stack):
    site = build(stack, {"/api": lambda: Page("{}", headers=(("Content-Type", "application/json"),))}, **COOKIE)
    visitor_id, cookie = given()
    site.get("/api", method="POST", cookie=cookie)
    site.get("/api", method="POST")
    assert [event.anon_id for event in site.events] == [visitor_id, None]


def test_signing_in_ties_the_cookie_to_the_user_who_keeps_it(build, stack):
    def login():
        set_user("ada")
        return Page("", 302, (("Location", "/"),))

    site = build(stack, {"/login": login}, **COOKIE)
    visitor_id, cookie = given()
    assert site.visit("/login", method="POST", cookie=cookie).set_cookie == []
    [event] = site.events
    assert (event.user_id, event.anon_id) == ("ada", visitor_id)


def test_set_user_none_gives_a_new_cookie_to_whoever_was_signed_in(build, stack):
    def logout():
        set_user("ada")
        set_user(None)
        return Page("{}", headers=(("Content-Type", "application/json"),))

    site = build(stack, {"/logout": logout}, **COOKIE)
    visitor_id, cookie = given()
    new = site.get("/logout", method="POST", cookie=cookie).cookies[NAME]
    assert visitor_id not in new.value
    [event] = site.events
    assert (event.user_id, event.anon_id) == (None, visitor_id)


def test_set_user_none_for_somebody_who_was_nobody_changes_nothing(build, stack):
    """Some applications say it in every request of an anonymous visitor."""

    def view():
        set_user(None)
        return Page()

    site = build(stack, {"/view": view}, **COOKIE)
    assert site.visit("/view", cookie=given()[1]).set_cookie == []


def test_djangos_logout_gives_a_new_cookie(build):
    from django.contrib.auth import logout

    class Ada:
        is_authenticated = True
        is_active = True
        pk = "ada"

    class Session(dict):
        def flush(self):
            self.clear()

    site = build("django", **COOKIE)
    from django.http import HttpRequest

    def sign_out(user):
        request = HttpRequest()
        request.session = Session()
        if user is not None:
            request.user = user
        logout(request)
        return Page("", 302, (("Location", "/"),))

    class Nobody:
        is_authenticated = False

    site.pages["/logout"] = lambda: sign_out(Ada())
    site.pages["/logout-again"] = lambda: sign_out(Nobody())
    visitor_id, cookie = given()
    new = site.visit("/logout", method="POST", cookie=cookie).cookies[NAME]
    assert visitor_id not in new.value
    assert site.visit("/logout-again", method="POST", cookie=cookie).set_cookie == []


def test_flask_logins_logout_gives_a_new_cookie_and_flask_signs_with_its_own_key():
    class User(UserMixin):
        id = "ada"

    app = Flask(__name__)
    app.secret_key = SECRET
    app.config["ANALYTICS"] = {"collectors": [FakeCollector()], "enabled": True, "store": None, "visitor": "cookie"}
    LoginManager(app).user_loader(lambda _: User())
    FlaskAnalytics(app)

    @app.get("/")
    def page():
        return "<h1>Hello</h1>"

    @app.post("/login")
    def login():
        login_user(User())
        return "<h1>Hello</h1>"

    @app.post("/logout")
    def logout():
        logout_user()
        return {"ok": True}

    client = app.test_client()
    headers = {"accept": "text/html", "user-agent": BROWSER}

    def cookie():
        found = client.get_cookie(NAME)
        return found and found.value

    client.get("/", headers=headers, buffered=True)
    first = cookie()
    client.post("/logout", headers=headers, buffered=True)
    assert cookie() == first
    client.post("/login", headers=headers, buffered=True)
    assert cookie() == first
    client.post("/logout", headers=headers, buffered=True)
    assert cookie() != first
    get_analytics(app).close(5)


def test_starlettes_user_is_known_before_set_user_none():
    class User:
        is_authenticated = True
        identity = "ada"

    async def app(scope, receive, send):
        set_user(None)
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    collector = FakeCollector()
    analytics = Analytics([collector], enabled=True, store=None, **COOKIE)
    middleware = AnalyticsMiddleware(app, analytics=analytics)
    sent = []

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/logout",
        "user": User(),
        "scheme": "https",
        "headers": [(b"cookie", given()[1].encode())],
        "query_string": b"",
        "client": None,
    }
    asyncio.run(middleware(scope, None, send))
    analytics.close(5)
    assert [name for name, _ in sent[0]["headers"]] == [b"set-cookie"]


def test_a_response_object_that_is_used_again_does_not_keep_the_cookie_of_its_first_reader():
    headers = [(b"content-type", b"text/html")]

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body"})

    async def send(message):
        pass

    analytics = Analytics([FakeCollector()], enabled=True, store=None, **COOKIE)
    middleware = AnalyticsMiddleware(app, analytics=analytics)
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "scheme": "http"}
    asyncio.run(middleware(scope, None, send))
    analytics.close(5)
    assert headers == [(b"content-type", b"text/html")]


def test_djangos_cache_does_not_keep_an_answer_with_somebodys_cookie(build):
    site = build("django", **COOKIE)
    kept = []
    import analytics_middleware_django.middleware as middleware

    original = middleware.watch

    def watch(response, context):
        context.source._cache_update_cache = True
        request = context.source
        result = original(response, context)
        kept.append(request._cache_update_cache)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(middleware, "watch", watch)
        site.visit("/")
        site.visit("/", cookie=given()[1])
    assert kept == [False, True]


def test_a_name_that_promises_tls_is_used_over_tls_only(build, stack):
    site = build(stack, cookie_name="__Host-visitor", **COOKIE)
    assert site.visit("/", scheme="http").set_cookie == []
    assert "__Host-visitor" in site.visit("/", scheme="https").cookies


def test_a_cookie_without_a_key_is_an_error_at_the_start():
    with pytest.raises(ConfigurationError, match="secret_key"):
        Analytics(visitor="cookie")
    app = Flask(__name__)
    app.config["ANALYTICS"] = {"visitor": "cookie"}
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        FlaskAnalytics(app)


def test_the_frameworks_key_is_never_itself_the_key_here():
    """Somebody who learns the one must not have the other; and a short one is no key."""
    assert derived_key(SECRET).reveal() not in (SECRET, "")
    assert derived_key(SECRET) == derived_key(SECRET.encode())
    assert derived_key("short") is derived_key(None) is None
