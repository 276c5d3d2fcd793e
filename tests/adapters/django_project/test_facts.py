"""What the event of a Django request says: route, view, user, language, path."""

from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from django.urls import resolve
from django.utils.translation import gettext_lazy
from django_project.urls import Cart

from analytics_middleware import EventType, track
from analytics_middleware_django import AnalyticsMiddleware
from analytics_middleware_django.facts import template


@pytest.mark.parametrize(
    ("url", "pattern"),
    [
        ("/", "/"),
        ("/page", "/page"),
        ("/shop/eu/", "/shop/<slug:region>/"),
        ("/shop/eu/items/7/", "/shop/<slug:region>/items/<int:id>/"),
        ("/shop/eu/sale/08/", "/shop/<slug:region>/sale/(?P<month>[0-9]{2})/"),
        ("/articles/2026/", "/articles/(?P<year>[0-9]{4})/"),
        ("/nested/3", r"/nested/(\d+)"),
        ("/price/9$", r"/price/.*\$"),
        ("/by-re/end", "/by-re/end"),
        ("/en/about/", "/en/about/"),
        ("/missing", "/missing"),
    ],
)
def test_the_pattern_is_the_whole_route_as_written_without_anchors(
    url: str, pattern: str, analytics_events: list[Any]
) -> None:
    Client().get(url, headers={"accept": "text/html"})
    assert [event.matched_pattern for event in analytics_events] == [pattern]


@pytest.mark.parametrize(
    ("route", "expected"),
    [("", "/"), ("^$", "/"), ("/odd", "/odd"), (r"^a\$", r"/a\$"), (r"^a\\$", r"/a\\"), (r"^a\Z", "/a"), ("^a$", "/a")],
)
def test_only_anchors_are_taken_from_a_route(route: str, expected: str) -> None:
    assert template(route) == expected


def test_nothing_matched_means_no_pattern(analytics_events: list[Any]) -> None:
    Client().get("/nowhere", headers={"accept": "text/html"})
    [event] = analytics_events
    assert (event.matched_pattern, event.status_code, event.type) == (None, 404, EventType.PAGEVIEW)


def test_a_script_name_is_in_the_path_and_not_in_the_pattern(analytics_events: list[Any]) -> None:
    Client().get("/page", SCRIPT_NAME="/app")
    [event] = analytics_events
    assert (event.path, event.matched_pattern) == ("/app/page", "/page")


def test_a_path_is_excluded_without_the_script_name_too(analytics_events: list[Any]) -> None:
    with override_settings(ANALYTICS={"EXCLUDE": ["/page"]}):
        Client().get("/page", SCRIPT_NAME="/app")
    assert analytics_events == []


def test_an_actions_name_is_the_name_of_its_url_or_else_of_its_view(analytics_events: list[Any]) -> None:
    client = Client()
    client.post("/shop/eu/items/7/")
    client.post("/cart")
    assert [event.action_name for event in analytics_events] == ["shop:item", f"{Cart.__module__}.Cart"]


def test_path_and_query_are_as_the_client_sent_them(analytics_events: list[Any]) -> None:
    client = Client()
    client.get("/wo/%E6%9D%B1%E4%BA%AC", headers={"accept": "text/html"}, query_params={"utm_source": "a b"})
    [event] = analytics_events
    assert event.path == "/wo/東京"
    assert event.url == "http://testserver/wo/%E6%9D%B1%E4%BA%AC?utm_source=a+b"


def test_the_scheme_is_the_one_that_django_trusts(analytics_events: list[Any]) -> None:
    with override_settings(SECURE_PROXY_SSL_HEADER=("HTTP_X_FORWARDED_PROTO", "https")):
        Client().get("/page", headers={"x-forwarded-proto": "https"})
    assert analytics_events[0].url == "https://testserver/page"


def test_static_and_media_files_make_no_event(analytics_events: list[Any]) -> None:
    client = Client()
    for url in ("/static/app.html", "/media/photo.html"):
        assert client.get(url).status_code == 200
    assert analytics_events == []


def test_without_media_url_the_rest_of_the_site_is_still_recorded(analytics_events: list[Any]) -> None:
    with override_settings(MEDIA_URL="", STATIC_URL=None):
        Client().get("/page")
    assert len(analytics_events) == 1


def test_the_language_is_the_one_that_locale_middleware_chose(analytics_events: list[Any]) -> None:
    Client().get("/page", headers={"accept-language": "de-AT,en;q=0.5"})
    assert analytics_events[0].locale == "de"


def test_the_language_is_written_as_browsers_write_it(analytics_events: list[Any]) -> None:
    # Django says "pt-br".
    with override_settings(LANGUAGES=[("en", "English"), ("pt-br", "Brazilian Portuguese")]):
        Client().get("/page", headers={"accept-language": "pt-BR"})
    assert analytics_events[0].locale == "pt-BR"


def test_a_language_that_is_a_lazy_text_is_kept(analytics_events: list[Any]) -> None:
    middleware = ["analytics_middleware_django.AnalyticsMiddleware", f"{__name__}.LazyLanguage"]
    with override_settings(MIDDLEWARE=middleware):
        Client().get("/page")
    assert analytics_events[0].locale == "the house style"


class LazyLanguage:
    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        request.LANGUAGE_CODE = gettext_lazy("the house style")
        return self.get_response(request)


def test_without_locale_middleware_the_language_is_the_browsers(analytics_events: list[Any]) -> None:
    with override_settings(MIDDLEWARE=["analytics_middleware_django.AnalyticsMiddleware"]):
        Client().get("/page", headers={"accept-language": "de-AT,en;q=0.5"})
    assert analytics_events[0].locale == "de-AT"


# Users: known if the request knows them, never asked for.


def test_a_user_that_the_view_looked_at_is_the_events(ada: Any, analytics_events: list[Any]) -> None:
    client = Client()
    client.force_login(ada)
    client.get("/who")
    assert analytics_events[0].user_id == str(ada.pk)


def test_a_user_that_an_async_view_awaited_is_the_events(ada: Any, analytics_events: list[Any]) -> None:
    client = AsyncClient()
    client.force_login(ada)
    async_to_sync(client.get)("/who-async")
    assert analytics_events[0].user_id == str(ada.pk)


def test_a_user_is_known_from_a_session_that_the_view_loaded(ada: Any, analytics_events: list[Any]) -> None:
    client = Client()
    client.force_login(ada)
    with CaptureQueriesContext(connection) as queries:
        client.get("/visits")
    assert analytics_events[0].user_id == str(ada.pk)
    assert len(queries) == 1, "the session, and not the user"


def test_nobody_is_looked_up_for_the_events_sake(ada: Any, analytics_events: list[Any]) -> None:
    """A page that ignores the session causes no query and varies on no cookie, signed in or not."""
    client = Client()
    client.force_login(ada)
    with CaptureQueriesContext(connection) as queries:
        response = client.get("/page")
    assert len(queries) == 0
    assert "Cookie" not in response.headers.get("Vary", "")
    assert analytics_events[0].user_id is None


def test_an_anonymous_user_is_no_user(database: None, analytics_events: list[Any]) -> None:
    Client().get("/who")
    assert analytics_events[0].user_id is None


def test_get_user_id_gets_the_request_and_replaces_djangos_users(ada: Any, analytics_events: list[Any]) -> None:
    client = Client()
    client.force_login(ada)
    with override_settings(ANALYTICS={"GET_USER_ID": lambda request: request.headers["x-tenant"]}):
        client.get("/who", headers={"x-tenant": "t1"})
    assert analytics_events[0].user_id == "t1"


def test_a_get_user_id_that_raises_costs_the_user_and_nothing_else(analytics_events: list[Any]) -> None:
    with override_settings(ANALYTICS={"GET_USER_ID": lambda request: 1 / 0}):
        assert Client().get("/shop/eu/").status_code == 200
    [event] = analytics_events
    assert (event.user_id, event.matched_pattern) == (None, "/shop/<slug:region>/")


def test_an_event_tracked_in_a_view_knows_the_route(analytics_events: list[Any]) -> None:
    def view(request: Any) -> Any:
        request.resolver_match = resolve("/shop/eu/")
        track("looked")
        return HttpResponse()

    AnalyticsMiddleware(view)(RequestFactory().get("/shop/eu/")).close()
    assert [(event.event_name, event.matched_pattern) for event in analytics_events] == [
        ("looked", "/shop/<slug:region>/"),
        (None, "/shop/<slug:region>/"),
    ]
