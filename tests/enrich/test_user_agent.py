"""User agents: browser, system and device from ua-parser; crawlers from a short list and crawler-user-agents."""

import functools
import sys

import crawleruseragents
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_middleware.enrich import user_agent
from analytics_middleware.enrich.user_agent import MAX_USER_AGENT, Agent, is_crawler, parse

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) "
ANDROID = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) "
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
IPAD = "Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
MAC = "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "

PEOPLE = [
    (WINDOWS + "Chrome/120.0.0.0 Safari/537.36", Agent("Chrome", "120", "Windows", "desktop")),
    (WINDOWS + "Chrome/120.0.0.0 Safari/537.36 Edg/120.0.0.0", Agent("Edge", "120", "Windows", "desktop")),
    (
        "Mozilla/5.0 (Windows NT 6.1; Tablet PC 2.0; rv:115.0) Gecko/20100101 Firefox/115.0",
        Agent("Firefox", "115", "Windows", "desktop"),
    ),
    (
        "Mozilla/5.0 (X11; Ubuntu; Linux x86_64; rv:121.0) Gecko/20100101 Firefox/121.0",
        Agent("Firefox", "121", "Ubuntu", "desktop"),
    ),
    (
        WINDOWS.replace("Windows NT 10.0; Win64; x64", "X11; CrOS x86_64 14541.0.0") + "Chrome/119.0.0.0 Safari/537.36",
        Agent("Chrome", "119", "ChromeOS", "desktop"),
    ),
    (MAC + "Version/17.4 Safari/605.1.15", Agent("Safari", "17.4", "macOS", "desktop")),
    (IPHONE + "Version/17.4 Mobile/15E148 Safari/604.1", Agent("Safari", "17.4", "iOS", "mobile")),
    (IPHONE + "CriOS/120.0.6099.119 Mobile/15E148 Safari/604.1", Agent("Chrome", "120", "iOS", "mobile")),
    (IPHONE + "FxiOS/121.0 Mobile/15E148 Safari/605.1.15", Agent("Firefox", "121", "iOS", "mobile")),
    (IPAD + "Version/16.6 Mobile/15E148 Safari/604.1", Agent("Safari", "16.6", "iOS", "tablet")),
    (ANDROID + "Chrome/120.0.0.0 Mobile Safari/537.36", Agent("Chrome", "120", "Android", "mobile")),
    (ANDROID + "Chrome/120.0.0.0 Safari/537.36", Agent("Chrome", "120", "Android", "tablet")),
    (
        "Mozilla/5.0 (Android 14; Mobile; rv:121.0) Gecko/121.0 Firefox/121.0",
        Agent("Firefox", "121", "Android", "mobile"),
    ),
    (
        ANDROID.replace("10; K", "13; SM-S918B") + "SamsungBrowser/23.0 Chrome/115.0.0.0 Mobile Safari/537.36",
        Agent("Samsung Internet", "23", "Android", "mobile"),
    ),
    (
        ANDROID.replace("10; K", "6.0; CUBOT NOTE S") + "Chrome/80.0.3987.149 Mobile Safari/537.36",
        Agent("Chrome", "80", "Android", "mobile"),
    ),
]
IN_APP = [
    IPHONE + "Mobile/15E148 [FBAN/FBIOS;FBAV/443.0.0.25.107;FBBV/543;FBDV/iPhone14,5;FBMD/iPhone;FBSN/iOS;FBLC/en_GB]",
    IPHONE + "Mobile/15E148 Instagram 310.0.3.27.111 (iPhone14,5; iOS 17_4; en_GB; en; scale=3.00; 1170x2532; 542)",
    ANDROID.replace("K)", "Pixel 7; wv)")
    + "Version/4.0 Chrome/120.0.0.0 Mobile Safari/537.36 [FB_IAB/FB4A;FBAV/443.0]",
    IPHONE + "GSA/297.0.59 Mobile/15E148 Safari/604.1",
    MAC + "Version/17.4 Safari/605.1.15 DuckDuckGo/7",
]


@pytest.mark.parametrize(("header", "expected"), PEOPLE)
def test_browsers_systems_and_devices_are_named(header, expected):
    assert parse(header) == expected


@pytest.mark.parametrize(
    ("header", "device"),
    [
        ("Mozilla/5.0 (Linux; Android 9; AFTMM) AppleWebKit/537.36 Chrome/108.0 Mobile Safari/537.36", "tv"),
        ("Mozilla/5.0 (SMART-TV; Linux; Tizen 5.0) AppleWebKit/537.36 Version/5.0 TV Safari/537.36", "tv"),
        ("Mozilla/5.0 (Web0S; Linux/SmartTV) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/79.0 Safari/537.36", "tv"),
        ("AppleTV11,1/11.1", "tv"),
        ("Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 Version/13.0 Safari/605.1.15", "console"),
        (WINDOWS.replace("x64", "x64; Xbox; Xbox One") + "Chrome/48.0 Safari/537.36 Edge/44.18363.8131", "console"),
        ("Mozilla/5.0 (Nintendo Switch; WifiWebAuthApplet) AppleWebKit/606.4 NF/6.0.0 NintendoBrowser/5.1", "console"),
        (
            "Mozilla/5.0 (Linux; Android 11; KFTRWI) AppleWebKit/537.36 Silk/108.4 like Chrome/108.0 Safari/537.36",
            "tablet",
        ),
        ("Mozilla/5.0 (Mobile; Nokia 8110 4G; rv:48.0) Gecko/48.0 Firefox/48.0 KAIOS/2.5", "mobile"),
        ("Opera/9.80 (J2ME/MIDP; Opera Mini/9.80) Presto/2.5.25 Version/10.54", "mobile"),
        ("Mozilla/5.0 (Apple Watch; watchOS 10)", "watch"),
        ("something else", None),
    ],
)
def test_the_kind_of_device_is_told(header, device):
    assert parse(header).device == device


@pytest.mark.parametrize("header", [None, ""])
def test_no_header_says_nothing(header):
    assert parse(header) == Agent()


def test_without_ua_parser_everything_is_unknown(monkeypatch):
    monkeypatch.setitem(sys.modules, "ua_parser", None)
    forget(monkeypatch)
    assert parse(PEOPLE[0][0]) == Agent()


def forget(monkeypatch):
    """Have optional packages looked for again, now and after the test."""
    for name in ("_ua_parser", "_crawler_patterns", "_parse", "_is_crawler"):
        cached = getattr(user_agent, name)
        monkeypatch.setattr(user_agent, name, functools.cache(cached.__wrapped__))


@pytest.mark.parametrize("header", [None, "", "   "])
def test_a_missing_user_agent_is_a_crawler(header):
    assert is_crawler(header) is True


@pytest.mark.parametrize("entry", crawleruseragents.CRAWLER_USER_AGENTS_DATA, ids=lambda entry: entry["pattern"])
def test_every_sample_of_the_crawler_patterns_is_recognised(entry):
    assert [sample for sample in entry["instances"] if not is_crawler(sample)] == []


def test_the_installed_list_is_used():
    assert is_crawler("Mozilla/4.5 (compatible; HTTrack 3.0x; Windows 98)") is True


def test_the_crawler_patterns_has_the_samples_that_the_test_above_means_to_check():
    assert sum(len(entry["instances"]) for entry in crawleruseragents.CRAWLER_USER_AGENTS_DATA) > 2000


@pytest.mark.parametrize("header", [header for header, _ in PEOPLE] + IN_APP)
def test_people_are_no_crawlers(header):
    assert is_crawler(header) is False


def test_without_the_list_the_common_crawlers_are_recognised_and_people_are_not(monkeypatch):
    monkeypatch.setitem(sys.modules, "crawleruseragents", None)
    forget(monkeypatch)
    crawlers = [
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)",
        "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
        "Mozilla/5.0 (compatible; AhrefsBot/7.0; +http://ahrefs.com/robot/)",
        "facebookexternalhit/1.1 (+http://www.facebook.com/externalhit_uatext.php)",
        "Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/119.0.0.0 Safari/537.36",
        "curl/8.4.0",
        "python-requests/2.31.0",
        "Go-http-client/2.0",
        "Wget/1.21.4",
        "axios/1.6.2",
        "Mozilla/5.0 (compatible; UptimeRobot/2.0; http://www.uptimerobot.com/)",
    ]
    assert [header for header in crawlers if not is_crawler(header)] == []
    assert [header for header in [*IN_APP, *(header for header, _ in PEOPLE)] if is_crawler(header)] == []
    # Only the list knows this one, so the test would notice the list being used all the same.
    assert is_crawler("Mozilla/4.5 (compatible; HTTrack 3.0x; Windows 98)") is False


def test_only_the_first_512_characters_count():
    assert is_crawler("x" * MAX_USER_AGENT + "Googlebot") is False
    assert is_crawler("x" * (MAX_USER_AGENT - 9) + " Googlebot") is False
    assert is_crawler("x" * (MAX_USER_AGENT - 10) + " Googlebot") is True


@given(st.text(max_size=1000))
def test_any_header_is_read_without_an_error(header):
    assert isinstance(parse(header), Agent)
    assert is_crawler(header) in (True, False)
