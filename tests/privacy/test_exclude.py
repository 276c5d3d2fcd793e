"""What is left out makes no event of any kind: the site's own people, addresses, programs, and paths."""

import asyncio

import pytest
from flask import Flask
from flask_login import LoginManager, UserMixin, login_user
from privacy_site import BROWSER, SECRET, Page

from analytics_middleware import Analytics, track, wsgi
from analytics_middleware.context import current
from analytics_middleware.exclusions import Exclusions, is_staff, parse
from analytics_middleware.request import Request
from analytics_middleware.testing import FakeCollector
from analytics_middleware_flask import FlaskAnalytics, get_analytics
from analytics_middleware_starlette import AnalyticsMiddleware


def tracking():
    track("seen")
    return Page()


def counted(site):
    site.events  # noqa: B018 - waits until everything is delivered
    return site.analytics.stats()["accepted"]


@pytest.mark.parametrize(
    ("exclude", "options"),
    [
        ("ip:203.0.113.0/24", {"peer": "203.0.113.9"}),
        ("ip:203.0.113.9", {"peer": "203.0.113.9"}),
        ("ip:2001:db8::/32", {"peer": "2001:db8::7"}),
        ("ip:203.0.113.0/24", {"peer": "::ffff:203.0.113.9"}),
        ("ip:198.51.100.7", {"peer": "10.0.0.1", "headers": {"x-forwarded-for": "198.51.100.7"}}),
        ("agent:curl/*", {"headers": {"user-agent": "curl/8.5.0"}}),
        ("agent:*UptimeRobot*", {"headers": {"user-agent": "Mozilla/5.0 (compatible; uptimerobot/2.0)"}}),
    ],
)
def test_excluded_addresses_and_programs_make_no_event_not_even_a_named_one(build, stack, exclude, options):
    site = build(stack, {"/track": tracking}, exclude=[exclude], trusted_proxies=["10.0.0.0/8"])
    site.visit("/track", **options)
    site.visit("/track", method="POST", **options)
    assert counted(site) == 0
    assert site.analytics.stats()["dropped"] == {}


@pytest.mark.parametrize(
    "options",
    [
        {"peer": "203.0.114.9"},
        {"peer": "2001:db9::7"},
        {"peer": "192.0.2.1", "headers": {"x-forwarded-for": "203.0.113.9"}},
        {"headers": {"user-agent": "Mozilla/5.0 curl/8"}, "peer": "192.0.2.1"},
        {"headers": {"user-agent": ""}, "peer": "192.0.2.1"},
    ],
)
def test_others_make_theirs(build, options):
    site = build("asgi", {"/track": tracking}, exclude=["ip:203.0.113.0/24", "ip:2001:db8::/32", "agent:curl/*"])
    site.visit("/track", **options)
    assert counted(site) == 2


def test_a_path_that_is_excluded_still_has_what_its_view_tracks_by_name(build):
    site = build("asgi", {"/internal/x": tracking}, exclude=["/internal/*"])
    site.visit("/internal/x")
    assert [event.event_name for event in site.events] == ["seen"]


@pytest.mark.parametrize("adapter", ["asgi", "wsgi"])
def test_a_path_is_excluded_as_the_application_knows_it_or_with_the_prefix_it_is_mounted_at(adapter, analytics_events):
    analytics = Analytics(exclude=["/health", "/shop/admin/*"])
    for path in ("/health", "/admin/users", "/healthy"):
        if adapter == "asgi":
            scope = {"type": "http", "method": "POST", "path": f"/shop{path}", "root_path": "/shop", "headers": []}
            asyncio.run(AnalyticsMiddleware(nothing_async, analytics=analytics)(scope, None, heard))
        else:
            environ = {"REQUEST_METHOD": "POST", "SCRIPT_NAME": "/shop", "PATH_INFO": path}
            wsgi.AnalyticsMiddleware(nothing, analytics=analytics)(environ, lambda *_: None).close()
    assert [event.path for event in analytics_events] == ["/shop/healthy"]


async def nothing_async(scope, receive, send):
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def heard(message): ...


def nothing(environ, start_response):
    start_response("204 No Content", [])
    return []


def test_excluded_visitors_are_given_no_cookie(build):
    site = build("asgi", exclude=["ip:203.0.113.0/24"], visitor="cookie", secret_key=SECRET)
    assert site.visit("/", peer="203.0.113.9").set_cookie == []
    assert site.visit("/", peer="192.0.2.1").set_cookie != []


def test_an_event_from_outside_a_request_is_never_left_out(build):
    site = build("asgi", exclude=["ip:0.0.0.0/0", "ip:::/0", "agent:*", "staff", "*"])
    site.analytics.track("renewed", user_id="ada")
    assert counted(site) == 1


class Person:
    is_authenticated = True
    is_active = True
    pk = identity = "ada"

    def __init__(self, **roles):
        self.__dict__.update(roles)


ROLES = [
    ({"is_staff": True}, True),
    ({"is_admin": True}, True),
    ({"is_staff": False, "is_admin": False}, False),
    ({}, False),
]


@pytest.mark.parametrize(("roles", "left_out"), ROLES)
def test_djangos_staff_are_left_out_where_the_request_knows_its_user(build, roles, left_out):
    def view():
        current.get().source.user = Person(**roles)
        track("seen")
        return Page()

    site = build("django", {"/view": view}, exclude=["staff"])
    site.visit("/view")
    assert counted(site) == (0 if left_out else 2)


def test_djangos_user_is_not_loaded_to_find_out(build):
    from django.utils.functional import SimpleLazyObject

    def view():
        current.get().source.user = SimpleLazyObject(lambda: pytest.fail("this would be a query"))
        return Page()

    site = build("django", {"/view": view}, exclude=["staff"])
    site.visit("/view")
    assert counted(site) == 1


@pytest.mark.parametrize(("roles", "left_out"), ROLES)
def test_flask_logins_staff_are_left_out(roles, left_out):
    class User(UserMixin, Person):
        id = "ada"

    app = Flask(__name__)
    app.secret_key = SECRET
    settings = {"collectors": [FakeCollector()], "enabled": True, "store": None, "exclude": ["staff"]}
    app.config["ANALYTICS"] = settings
    LoginManager(app).user_loader(lambda _: User(**roles))
    FlaskAnalytics(app)

    @app.get("/")
    def page():
        login_user(User(**roles))
        return "<h1>Hello</h1>"

    app.test_client().get("/", headers={"accept": "text/html", "user-agent": BROWSER}, buffered=True)
    analytics = get_analytics(app)
    assert analytics.flush(10)
    assert analytics.stats()["accepted"] == (0 if left_out else 1)
    analytics.close(5)


@pytest.mark.parametrize(
    ("user", "scopes", "left_out"),
    [
        (Person(is_staff=True), [], True),
        (Person(), ["authenticated", "staff"], True),
        (Person(), ["admin"], True),
        (Person(), ["authenticated"], False),
        (None, None, False),
    ],
)
def test_starlettes_staff_are_left_out_by_their_user_or_by_the_scopes_they_were_granted(user, scopes, left_out):
    class Credentials:
        def __init__(self, scopes):
            self.scopes = scopes

    async def app(scope, receive, send):
        if scopes is not None:
            scope["user"], scope["auth"] = user, Credentials(scopes)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/html")]})
        await send({"type": "http.response.body"})

    async def send(message):
        pass

    analytics = Analytics([FakeCollector()], enabled=True, store=None, exclude=["staff"])
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "scheme": "http"}
    asyncio.run(AnalyticsMiddleware(app, analytics=analytics)(scope, None, send))
    assert analytics.flush(10)
    assert analytics.stats()["accepted"] == (0 if left_out else 1)
    analytics.close(5)


def test_without_the_entry_staff_are_visitors_like_any_other(build):
    def view():
        current.get().source.user = Person(is_staff=True)
        return Page()

    site = build("django", {"/view": view})
    site.visit("/view")
    assert counted(site) == 1


@pytest.mark.parametrize(
    "entry", ["ip:", "ip:10.0.0.0/33", "ip:localhost", "agent:", "agent: ", "Staff", "staffs", "a", ""]
)
def test_an_entry_of_no_kind_is_an_error(entry):
    with pytest.raises(ValueError, match=r".*"):
        parse([entry])


def test_only_true_makes_somebody_staff():
    """A method called is_staff is no answer, and neither is a mock that has every attribute."""
    assert not is_staff(Person(is_staff=lambda: True))
    assert not is_staff(None)


def test_nothing_to_exclude_excludes_nothing():
    assert not Exclusions([]).visitor(Request(), None)
    assert not Exclusions([]).path("/health")
