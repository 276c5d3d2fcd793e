"""The rule that says which requests are events, as a table without a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware import EventType
from analytics_middleware.classify import classify
from analytics_middleware.request import Request, wsgi_headers

HTML = "text/html; charset=utf-8"
PAGEVIEW, ACTION, CUSTOM = EventType.PAGEVIEW, EventType.ACTION, EventType.CUSTOM
DOCUMENT = {"Sec-Fetch-Dest": "document"}
WANTS_HTML = {"Accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}


def kind(method="GET", status=200, content_type=HTML, headers=None, *, event=None, action=None, track_all=False):
    pairs = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request(method=method, headers=pairs, status=status, content_type=content_type)
    return classify(request, event_name=event, action_name=action, track_all=track_all)


@pytest.mark.parametrize(
    ("request_facts", "expected"),
    [
        pytest.param({}, PAGEVIEW, id="a page"),
        pytest.param({"content_type": "application/xhtml+xml"}, PAGEVIEW, id="XHTML"),
        pytest.param({"status": 206}, PAGEVIEW, id="part of a page"),
        pytest.param({"headers": DOCUMENT}, PAGEVIEW, id="a browser's page"),
        pytest.param({"headers": {"Sec-Fetch-Dest": " Document "}}, PAGEVIEW, id="header in other case"),
        pytest.param({"content_type": "application/json"}, None, id="JSON"),
        pytest.param({"content_type": "application/json", "headers": DOCUMENT}, None, id="JSON in a tab"),
        pytest.param({"content_type": "text/plain"}, None, id="text"),
        pytest.param({"content_type": ""}, None, id="no content type"),
        pytest.param({"status": 204, "content_type": HTML}, None, id="no content"),
        pytest.param({"status": 205, "content_type": HTML}, None, id="reset content"),
        pytest.param({"status": None}, None, id="no answer"),
        pytest.param({"headers": {"Sec-Fetch-Dest": "iframe"}}, None, id="iframe"),
        pytest.param({"headers": {"Sec-Fetch-Dest": "empty"}}, None, id="fetch()"),
        pytest.param({"headers": {"HX-Request": "true"}}, None, id="htmx"),
        pytest.param({"headers": {"Turbo-Frame": "cart"}}, None, id="Turbo frame"),
        pytest.param({"headers": {"HX-Request": "true"}, "status": 500}, None, id="htmx that failed"),
        pytest.param({"status": 301}, None, id="redirect"),
        pytest.param({"status": 302, "headers": DOCUMENT}, None, id="redirect of a document"),
        pytest.param({"status": 304, "headers": DOCUMENT, "content_type": ""}, PAGEVIEW, id="304 of a document"),
        pytest.param({"status": 304, "headers": WANTS_HTML, "content_type": ""}, PAGEVIEW, id="304, wants HTML"),
        pytest.param({"status": 304, "content_type": ""}, None, id="304 of something"),
        pytest.param({"status": 304, "headers": {**WANTS_HTML, "Sec-Fetch-Dest": "image"}}, None, id="304 of an image"),
        pytest.param({"status": 404, "headers": DOCUMENT}, PAGEVIEW, id="404 of a document"),
        pytest.param({"status": 404, "headers": WANTS_HTML}, PAGEVIEW, id="404, wants HTML"),
        pytest.param({"status": 404, "headers": {"Accept": "*/*"}}, None, id="404, takes anything"),
        pytest.param({"status": 404, "headers": {"Accept": "TEXT/HTML"}}, PAGEVIEW, id="404, Accept in capitals"),
        pytest.param({"status": 404, "headers": {"Sec-Fetch-Dest": "style"}}, None, id="404 of a style sheet"),
        pytest.param({"status": 500, "headers": DOCUMENT, "content_type": ""}, PAGEVIEW, id="500 of a document"),
        pytest.param({"status": 499, "headers": DOCUMENT, "content_type": ""}, PAGEVIEW, id="client gone"),
        pytest.param({"status": 500, "content_type": "application/json"}, None, id="500 of an API"),
        pytest.param({"method": "POST"}, ACTION, id="POST"),
        pytest.param({"method": "PUT", "content_type": "application/json"}, ACTION, id="PUT"),
        pytest.param({"method": "PATCH", "status": 422}, ACTION, id="PATCH that failed"),
        pytest.param({"method": "DELETE", "status": 204, "content_type": ""}, ACTION, id="DELETE"),
        pytest.param({"method": "POST", "headers": {"HX-Request": "true"}}, ACTION, id="htmx POST"),
        pytest.param({"method": "HEAD"}, None, id="HEAD"),
        pytest.param({"method": "OPTIONS"}, None, id="OPTIONS"),
        pytest.param({"method": "TRACE"}, None, id="TRACE"),
        pytest.param({"method": "PROPFIND"}, None, id="PROPFIND"),
        pytest.param({"method": "get"}, None, id="method in lower case is another method"),
        pytest.param({"headers": {"Sec-Purpose": "prefetch;prerender"}}, None, id="prerender"),
        pytest.param({"headers": {"Purpose": "prefetch"}}, None, id="prefetch of old"),
        pytest.param({"headers": {"X-Moz": "prefetch"}}, None, id="Firefox prefetch"),
        pytest.param({"headers": {"X-Purpose": "Prefetch"}}, None, id="prefetch in capitals"),
        pytest.param({"headers": {"Sec-Purpose": "preview"}}, PAGEVIEW, id="another purpose"),
        pytest.param({"event": "search"}, CUSTOM, id="named event"),
        pytest.param({"event": "search", "action": "find", "method": "POST"}, CUSTOM, id="event outranks action"),
        pytest.param({"action": "find"}, ACTION, id="named action"),
        pytest.param({"event": "search", "content_type": "application/json"}, CUSTOM, id="named event of an API"),
        pytest.param({"event": "gone", "status": 302}, CUSTOM, id="named event of a redirect"),
        pytest.param({"event": "search", "method": "HEAD"}, None, id="HEAD runs the view for nobody"),
        pytest.param({"event": "x", "headers": {"Sec-Purpose": "prefetch"}}, None, id="prefetch runs it for nobody"),
        pytest.param({"event": "search", "method": "OPTIONS"}, None, id="OPTIONS, named"),
        pytest.param({"event": "", "action": ""}, PAGEVIEW, id="empty names are none"),
        pytest.param({"track_all": True}, PAGEVIEW, id="all: a page is a page"),
        pytest.param({"track_all": True, "content_type": "application/json"}, ACTION, id="all: JSON"),
        pytest.param({"track_all": True, "status": 302}, ACTION, id="all: redirect"),
        pytest.param({"track_all": True, "method": "HEAD"}, ACTION, id="all: HEAD"),
        pytest.param({"track_all": True, "method": "HEAD", "event": "x"}, ACTION, id="all: HEAD, named"),
        pytest.param({"track_all": True, "method": "OPTIONS"}, None, id="all: OPTIONS never"),
    ],
)
def test_the_rule(request_facts, expected):
    assert kind(**request_facts) is expected


names = st.sampled_from(["sec-fetch-dest", "accept", "hx-request", "sec-purpose", "purpose", "x-moz", "turbo-frame"])
requests = st.builds(
    Request,
    method=st.one_of(st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "PUT"]), st.text(max_size=8)),
    headers=st.lists(st.tuples(names.map(str.encode), st.binary(max_size=20))),
    status=st.one_of(st.none(), st.integers(0, 999)),
    content_type=st.one_of(st.just(HTML), st.text(max_size=20)),
)


@given(requests, st.booleans())
def test_without_names_no_request_is_custom_and_with_one_none_is_lost_to_another_kind(request_, track_all):
    plain = classify(request_, event_name=None, action_name=None, track_all=track_all)
    assert plain in (PAGEVIEW, ACTION, None)
    named = classify(request_, event_name="named", action_name=None, track_all=track_all)
    assert named is CUSTOM or named is plain


@given(requests)
def test_tracking_all_changes_nothing_of_what_is_an_event_anyway(request_):
    few = classify(request_, event_name=None, action_name=None, track_all=False)
    everything = classify(request_, event_name=None, action_name=None, track_all=True)
    assert everything is few or (few is None and everything is ACTION)


def test_the_rule_is_the_same_for_headers_as_wsgi_has_them():
    environ = {
        "HTTP_SEC_FETCH_DEST": "document",
        "HTTP_ACCEPT": "text/html",
        "SERVER_NAME": "x",
        "wsgi.input": object(),
    }
    headers = wsgi_headers(environ)
    assert set(headers) == {"HTTP_SEC_FETCH_DEST", "HTTP_ACCEPT"}
    request = Request(headers=headers, status=404)
    assert classify(request, event_name=None, action_name=None, track_all=False) is PAGEVIEW


def test_a_request_gives_every_occurrence_of_a_header_in_order():
    request = Request(headers=[(b"X-Forwarded-For", b"a"), (b"host", b"shop"), (b"x-forwarded-for", b"b, c")])
    assert request.headers["x-forwarded-for"] == ["a", "b, c"]
    assert request.header("x-forwarded-for") == "a, b, c"
    assert request.header("nothing") is None
    assert request.host == "shop"
    assert Request(host_fallback="server").host == "server"


@pytest.mark.parametrize(
    ("cookie", "value"),
    [
        ("a=1; b=2", "2"),
        ('b="2"', "2"),
        ("bb=1", None),
        ("b", None),
        ("", None),
        ("a=b=2; b=3=4", "3=4"),
        ("b=1; b=2", "1"),
    ],
)
def test_a_cookie_is_found_by_its_name(cookie, value):
    assert Request(headers=[(b"cookie", cookie.encode())]).cookie("b") == value
