"""Anonymous ids: a keyed daily hash, a signed cookie, and what identifies nobody."""

import http.cookies
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.enrich.visitor import (
    COOKIELESS_PREFIX,
    cookieless_id,
    is_cookieless,
    is_identity,
    issue,
    read,
    set_cookie_header,
)

SALT = b"s" * 16
SECRET = b"k" * 32


def test_the_same_visitor_has_the_same_id_under_the_same_salt_only():
    visitor = ("198.51.100.1", "Firefox", "example.org")
    assert cookieless_id(SALT, *visitor) == cookieless_id(SALT, *visitor)
    assert cookieless_id(SALT, *visitor) != cookieless_id(b"t" * 16, *visitor)


@pytest.mark.parametrize(
    "other",
    [
        ("198.51.100.2", "Firefox", "example.org"),
        ("198.51.100.1", "Chrome", "example.org"),
        ("198.51.100.1", "Firefox", "example.com"),
        ("198.51.100.1F", "irefox", "example.org"),
        ("198.51.100.1", "Firefoxexample.org", ""),
        (None, "198.51.100.1Firefox", "example.org"),
    ],
)
def test_a_different_visitor_has_a_different_id(other):
    assert cookieless_id(SALT, *other) != cookieless_id(SALT, "198.51.100.1", "Firefox", "example.org")


def test_a_cookieless_id_is_short_and_marked():
    anon_id = cookieless_id(SALT, "198.51.100.1", "Firefox", "example.org")
    assert anon_id.startswith(COOKIELESS_PREFIX)
    assert len(anon_id) == 23
    assert is_cookieless(anon_id)


@pytest.mark.parametrize("salt", [b"", b"short", b"x" * 65])
def test_a_salt_too_short_or_long_is_refused(salt):
    with pytest.raises(ValueError, match="16 to 64"):
        cookieless_id(salt, "198.51.100.1", "Firefox", "example.org")


@given(st.text(), st.text(), st.text())
def test_any_text_can_be_hashed(ip, user_agent, site):
    assert is_cookieless(cookieless_id(SALT, ip, user_agent, site))


def test_lone_surrogates_can_be_hashed():
    assert is_cookieless(cookieless_id(SALT, "1.2.3.4", "\ud800", "example.org"))


def test_an_issued_cookie_is_read_back_and_is_not_cookieless():
    visitor_id, value = issue(SECRET)
    assert read(SECRET, value) == visitor_id
    assert len(visitor_id) == 32
    assert len(value) == 65
    assert not is_cookieless(visitor_id)
    assert is_identity(visitor_id)


def test_two_visitors_are_issued_different_ids():
    assert issue(SECRET)[0] != issue(SECRET)[0]


def test_a_cookie_of_another_secret_is_refused():
    assert read(b"other" * 8, issue(SECRET)[1]) is None


@given(st.data())
def test_a_cookie_changed_in_any_character_is_refused(data):
    value = issue(SECRET)[1]
    place = data.draw(st.integers(0, len(value) - 1))
    char = data.draw(st.characters().filter(lambda char: char != value[place]))
    assert read(SECRET, value[:place] + char + value[place + 1 :]) is None


@given(st.one_of(st.none(), st.text(), st.text(alphabet="0123456789abcdef.", max_size=80)))
def test_hostile_cookies_are_no_id(value):
    assert read(SECRET, value) is None


def test_trailing_text_makes_a_cookie_invalid():
    value = issue(SECRET)[1]
    assert [read(SECRET, text) for text in (value + "\n", " " + value, value.upper(), value * 2)] == [None] * 4


def test_the_cookie_is_for_http_only_first_party_and_lives_a_year():
    _, value = issue(SECRET)
    header = set_cookie_header("visitor", value, secure=True)
    morsel = http.cookies.SimpleCookie(header)["visitor"]
    assert morsel.value == value
    assert morsel["httponly"] is True
    assert morsel["secure"] is True
    assert morsel["samesite"] == "Lax"
    assert morsel["max-age"] == "31536000"
    assert (morsel["path"], morsel["domain"]) == ("/", "")


def test_without_tls_the_cookie_is_not_for_tls_alone():
    header = set_cookie_header("visitor", "v", secure=False)
    assert "Secure" not in header


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "  ",
        "null",
        "NULL",
        "undefined",
        "Anonymous",
        "none",
        "None ",
        str(uuid.UUID(int=0)),
        "0" * 32,
        "{00000000-0000-0000-0000-000000000000}",
    ],
)
def test_placeholders_are_no_identity(text):
    assert is_identity(text) is False


@pytest.mark.parametrize("text", ["0", "42", "nullable", "Nina", str(uuid.UUID(int=1)), "x" * 10_000, "nobody"])
def test_anything_else_is_an_identity(text):
    assert is_identity(text) is True
