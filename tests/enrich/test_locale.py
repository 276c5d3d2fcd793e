"""Accept-Language becomes one canonically cased language tag."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.enrich.locale import MAX_HEADER, accept_language, canonical_tag


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("en-GB,en;q=0.9,de;q=0.8", "en-GB"),
        ("de;q=0.8, en-gb;q=0.9", "en-GB"),
        ("fr;q=0.5, it;q=0.5", "fr"),
        ("*", None),
        ("*, pt-br;q=0.3", "pt-BR"),
        ("en;q=0", None),
        ("en;q=0, nl;q=0.001", "nl"),
        ("zh-hant-tw", "zh-Hant-TW"),
        ("SR-LATN-rs", "sr-Latn-RS"),
        ("es-419", "es-419"),
        ("sl-ROZAJ-biske", "sl-rozaj-biske"),
        ("de-DE-U-CO-PHONEBK", "de-DE-u-co-phonebk"),
        ("en-x-US", "en-x-us"),
        ("en_US", "en-US"),
        ("DE ; Q=0.7 , fr ; q=0.6", "de"),
        ("en;q=1.5, de;q=0.1", "de"),
        ("en;q=nan, de;q=0.1", "de"),
        ("en;level=1, de;q=0.1", "de"),
        ("e, x-klingon, 12, de", "de"),
        ("<script>, de", "de"),
        ("", None),
        (None, None),
        (",,,", None),
        (", en", "en"),
    ],
)
def test_the_best_match_is_found(header, expected):
    assert accept_language(header) == expected


def test_a_tag_cut_by_the_length_limit_is_not_another_language():
    padding = "xx;q=0.1," * (MAX_HEADER // 9)
    header = padding + " " * (MAX_HEADER - len(padding) - 2) + "deu-AT"
    assert header[MAX_HEADER - 2 :] == "deu-AT"
    assert accept_language(header) == "xx"


def test_entries_beyond_the_thirty_second_are_not_read():
    assert accept_language("*," * 32 + "de") is None
    assert accept_language("*," * 31 + "de") == "de"


@given(st.one_of(st.text(max_size=700), st.text(alphabet="abzAZ019-_,;=q.* ", max_size=700)))
def test_any_header_gives_a_well_formed_tag_or_none(header):
    tag = accept_language(header)
    assert tag is None or re.fullmatch(r"[a-z]{2,8}(-[A-Za-z0-9]{1,8})*", tag)
    assert tag is None or canonical_tag(tag) == tag
