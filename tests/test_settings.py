"""Every setting is checked once, at the start, and what is wrong is said in one line that tells what would be right."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import pytest

from analytics_middleware import Analytics, ConfigurationError, Settings
from analytics_middleware.exclusions import Exclusions
from analytics_middleware.outgoing.secret import Secret


def hook(*_args):
    return None


async def async_hook(*_args):
    return None


class AsyncHook:
    async def __call__(self, *_args):
        return None


THIS_FILE = Path(__file__)
LONG = "a-secret-of-32-random-characters"
SECRETS = (
    [(None, None), (LONG, Secret(LONG)), (Secret(LONG), Secret(LONG))],
    ["", "too short", "é" * 20, 5, b"x" * 20],
)

# key: (valid values and what becomes of them, invalid values, a word of what would be right)
CASES = {
    "collectors": ([([], ()), ([print], (print,)), ((print,), (print,))], ["stdout", {"a": 1}, None, 5, hook], "list"),
    "data_dir": (
        [(None, None), ("/srv/a", Path("/srv/a")), (Path("x"), Path.cwd() / "x"), ("~/x", Path.home() / "x")],
        ["", 5, True, b"/srv", "~nobody-of-that-name/x", THIS_FILE],
        "directory",
    ),
    "enabled": ([(None, None), (True, True), (False, False)], ["yes", 1, "False", []], "True or False"),
    "trusted_proxies": (
        [
            ([], ()),
            (["10.0.0.0/8", "::1", "unix"], ("10.0.0.0/8", "::1", "unix")),
        ],
        ["10.0.0.0/8", ["*"], ["10.0.0.0/33"], ["proxy.local"], [""], [None], [5], [("10.0.0.0", 8)], None, 5],
        "list",
    ),
    "proxy_header": (
        [("X-Real-IP", "x-real-ip")],
        ["", None, "x forwarded", "x-forwarded-for:", "a, b", "é", 5, []],
        "string|name",
    ),
    "exclude": (
        [
            ([], ()),
            (["/a/*", "*.css"], ("/a/*", "*.css")),
            (["ip:10.0.0.0/8", "agent:curl/*", "staff"], ("ip:10.0.0.0/8", "agent:curl/*", "staff")),
        ],
        ["/a", ["a"], [5], None, [""], ["ip:"], ["ip:10.0.0.0/33"], ["ip:*"], ["agent:"], ["Staff"]],
        "list",
    ),
    "cookie_name": ([("visitor", "visitor"), ("__Host-v", "__Host-v")], ["", "a b", "a;b", "ä", None, 5], "cookie"),
    "classify": ([(None, None), (hook, hook)], ["module.rule", 5, [], async_hook], "callable"),
    "track_all": ([(True, True), (False, False)], [None, 1, "true"], "True or False"),
    "processors": (
        [([], ()), ([hook], (hook,))],
        [hook, ["module.rule"], [None], None, "x", [async_hook]],
        "list|callable",
    ),
    "get_user_id": ([(None, None), (hook, hook)], ["user.id", 5, async_hook, AsyncHook()], "callable"),
    "environment": ([(None, None), ("production", "production")], ["", 5, []], "string"),
    "debug": ([(True, True)], [None, 0, "no"], "True or False"),
    "background": ([(False, False)], [None, 0, "no"], "True or False"),
    "flush_on_response": ([(True, True)], [None, 0, "no"], "True or False"),
    "queue_size": ([(1, 1), (10**6, 10**6)], [0, -1, 1.5, "10", True, None], "integer of at least 1"),
    "max_pending": ([(1, 1)], [0, -1, 1.5, "10", True, None], "integer of at least 1"),
    "max_bytes": ([(10**6, 10**6)], [0, -1, 1.5, "10", True, None], "integer of at least 1"),
    "shutdown_timeout": (
        [(0, 0.0), (2.5, 2.5), (3600, 3600.0)],
        [-1, 3601, float("nan"), float("inf"), "1", True, None],
        "seconds from 0 to 3600",
    ),
    "timezone": (
        [("UTC", "UTC"), ("Europe/Berlin", "Europe/Berlin")],
        ["Mars/Olympus", "", "../UTC", "/etc/localtime", "Europe", "a\0b", None, 5],
        "IANA|string",
    ),
    "mail": (
        [(None, None), (hook, hook)],
        ["smtp.example", 5, {}, {"host": "smtp.example"}, async_hook],
        "dict",
    ),
    "alerts": ([((), ()), ([], ())], [{"name": "x"}, "orders", None, 5], "list of dicts"),
    "report_to": (
        [((), ()), ([], ())],
        ["ops@shop.example", None, ["ops"], [5], ["ftp://a.example"]],
        "list|address",
    ),
    "retention_days": ([(None, None), (90, 90)], [0, -1, "90", True, 1.5], "integer of at least 1"),
    "store": (
        [(None, None), ("default", "default"), ("https://hub.example/api", "https://hub.example/api")],
        ["somewhere", 7, True],
        "Store",
    ),
    "visitor": (
        [(None, None), ("cookie", "cookie"), ("cookieless", "cookieless")],
        ["cookies", "", True, []],
        "'cookie'",
    ),
    "privacy": ([(name, name) for name in ("standard", "strict", "raw")], [None, "none", "", True], "'strict'"),
    "keep_query": ([([], ()), (["q", "page"], ("q", "page"))], ["q", [5], [""], None], "list"),
    "consent": ([(None, None), (hook, hook)], ["consent", True, async_hook], "callable"),
    "session_timeout": (
        [(60, 60.0), (1800.0, 1800.0)],
        [59, 86401, float("nan"), "30m", True, None],
        "seconds from 60",
    ),
    "geoip_database": (
        [(None, None), (THIS_FILE, THIS_FILE), (str(THIS_FILE), THIS_FILE)],
        ["", 5, "/no/such.mmdb", THIS_FILE.parent],
        "file|path",
    ),
    "authorize": ([(None, None), (hook, hook)], ["module.rule", True], "callable"),
    "authorize_changes": ([(None, None), (hook, hook)], ["module.rule", True], "callable"),
    "read_token": (*SECRETS, "random text of 16"),
    "secret_key": (*SECRETS, "random text of 16"),
    "store_key": (*SECRETS, "random text of 16"),
    "write_key": ([(None, None), ("site_1-abc", "site_1-abc")], ["", "short", "with space", "ключключ", 5], "letters"),
    "allowed_origins": (
        [([], ()), (["https://a.example", "http://[::1]:8000"], ("https://a.example", "http://[::1]:8000"))],
        ["https://a.example", ["*"], ["a.example"], ["https://a.example/"], ["https://A.example"], ["null"], [5], None],
        "list",
    ),
    "frame_ancestors": (
        [([], ()), (["self", "https://a.example:8443"], ("self", "https://a.example:8443"))],
        ["self", ["*"], ["'self'"], ["https://*.example"], ["https://a.example; script-src *"], ["none"], [5], None],
        "list",
    ),
    "api_path": (
        [("/api/analytics", "/api/analytics"), ("/a", "/a")],
        ["", "/", "a", "/a/", "/a/../b", "/a b", 5],
        "path",
    ),
    "dashboard_path": ([("/stats", "/stats")], ["", "/", "stats", "/stats/", "//", None], "path"),
    "api_max_body": ([(1, 1), (10**6, 10**6)], [0, -1, 1.5, "10", True, None], "integer of at least 1"),
    "api_rate_limit": ([(0, 0), (60, 60)], [-1, 1.5, "10", True, None], "integer of at least 0"),
    "country_header": ([(None, None), ("CF-IPCountry", "cf-ipcountry")], ["", "cf ipcountry", 5], "string|name"),
}
VALID = [
    pytest.param(key, value, kept, id=f"{key}-{number}")
    for key, (valid, _, _) in CASES.items()
    for number, (value, kept) in enumerate(valid)
]
INVALID = [
    pytest.param(key, value, right, id=f"{key}-{number}")
    for key, (_, invalid, right) in CASES.items()
    for number, value in enumerate(invalid)
]


def test_every_setting_is_in_the_table_of_this_test_and_has_a_line_of_help():
    fields = {field.name: field.metadata["help"] for field in dataclasses.fields(Settings)}
    assert set(fields) == set(CASES)
    for help_text in fields.values():
        assert help_text.endswith((".", "?", "…"))
        assert "\n" not in help_text
        assert len(help_text) < 100


@pytest.mark.parametrize(("key", "value", "kept"), VALID)
def test_a_valid_value_is_kept_in_one_form(key, value, kept):
    settings = Settings(**{key: value})
    assert getattr(settings, key) == kept
    assert type(getattr(settings, key)) is type(kept)


@pytest.mark.parametrize(("key", "value", "right"), INVALID)
def test_an_invalid_value_is_refused_with_the_key_the_value_and_what_would_be_right(key, value, right):
    with pytest.raises(ConfigurationError, match=right) as caught:
        Settings(**{key: value})
    message = str(caught.value)
    shown = "***" if key in ("read_token", "secret_key", "store_key", "mail", "report_to") else repr(value)
    assert f"analytics setting {key!r} is {shown}; it must be " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("10.0.0.0/33", "'10.0.0.0/33' does not appear to be"),
        ("10.0.0.1/8", "10.0.0.1/8 has host bits set"),
        ("*", "visitors could claim any address"),
        (7, "7 is no text"),
    ],
)
def test_a_proxy_that_is_none_is_told_with_the_reason(entry, why):
    with pytest.raises(ConfigurationError, match=r"'trusted_proxies' is .*'10\.0\.0\.0/8'.*; ") as caught:
        Settings(trusted_proxies=["::1", entry])
    assert why in str(caught.value)


def test_the_defaults_are_valid_and_right_for_a_small_site():
    settings = Settings()
    assert Settings(**{field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}) == settings
    assert (settings.collectors, settings.data_dir, settings.enabled) == ((), None, None)
    assert (settings.trusted_proxies, settings.debug, settings.background) == ((), False, True)


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().debug = True


def test_later_changes_of_the_callers_list_do_not_reach_the_settings():
    patterns = ["/a"]
    settings = Settings(exclude=patterns)
    patterns.append("/b")
    assert settings.exclude == ("/a",)


def test_keys_may_be_upper_or_lower_case():
    assert Settings.from_mapping({"DEBUG": True, "timezone": "Europe/Paris"}) == Settings(
        debug=True, timezone="Europe/Paris"
    )
    analytics = Analytics.from_settings({"DEBUG": True, "COLLECTORS": [hook]})
    assert analytics.settings == Settings(debug=True, collectors=[hook])


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("COLECTORS", "collectors"),
        ("data_directory", "data_dir"),
        ("trusted_proxy", "trusted_proxies"),
        ("timezon", "timezone"),
    ],
)
def test_an_unknown_key_is_named_as_written_and_the_nearest_suggested(key, nearest):
    with pytest.raises(ConfigurationError, match=f"setting '{key}' is unknown; did you mean '{nearest}'\\?"):
        Settings.from_mapping({key: None})


@pytest.mark.parametrize("key", ["wxyzwxyz", 5, None, ("a",)], ids=repr)
def test_an_unknown_key_like_no_other_gets_the_list_of_those_there_are(key):
    with pytest.raises(ConfigurationError) as caught:
        Settings.from_mapping({key: None})
    assert f"setting {key!r} is unknown; known settings: " in str(caught.value)
    assert all(name in str(caught.value) for name in CASES)


@pytest.mark.parametrize("make", [Settings.from_mapping, Analytics.from_settings])
def test_a_key_in_upper_and_in_lower_case_is_refused_rather_than_one_of_them_ignored(make):
    with pytest.raises(ConfigurationError, match="'debug' is given twice"):
        make({"debug": True, "DEBUG": False})


def test_a_wrong_setting_is_an_error_when_analytics_is_made():
    with pytest.raises(ConfigurationError, match="'debug' is 'yes'"):
        Analytics(debug="yes")
    with pytest.raises(ConfigurationError, match="'debgu' is unknown; did you mean 'debug'"):
        Analytics(debgu=True)
    with pytest.raises(ValueError, match="debug"):
        Analytics.from_settings({"DEBUG": 1})


def test_the_dashboard_can_not_be_where_the_api_answers():
    for paths in ({"api_path": "/analytics"}, {"api_path": "/a", "dashboard_path": "/a/pages"}):
        with pytest.raises(ConfigurationError, match=r"'dashboard_path' is .* not be within 'api_path' \('/a"):
            Settings(**paths)
    for paths in (
        {"api_path": "/analytics/api"},
        {"api_path": "/analytics-api"},
        {"dashboard_path": "/api/analytics2"},
    ):
        Settings(**paths)


@pytest.mark.parametrize("collectors", [hook, 5, "stdout"], ids=["callable", "number", "text"])
def test_a_collector_that_is_not_in_a_list_is_an_error_that_asks_for_a_list(collectors):
    with pytest.raises(ConfigurationError, match=r"'collectors' is .* it must be a list"):
        Analytics(collectors)
    with pytest.raises(ConfigurationError, match=r"'collectors' is .* it must be a list"):
        Analytics.from_settings({"COLLECTORS": collectors})


@pytest.mark.parametrize(
    ("patterns", "path", "excluded"),
    [
        (("/admin/*",), "/admin/users/1", True),
        (("/admin/*",), "/admin", False),
        (("/admin/*",), "/blog/admin/x", False),
        (("*.css",), "/static/site.css", True),
        (("/a", "/b"), "/b", True),
        (("/a",), "/A", False),
        (("/a",), "/a\nb", False),
        (("/a.b",), "/axb", False),
        ((), "/health", False),
    ],
)
def test_exclude_matches_whole_paths(patterns, path, excluded):
    assert bool(Exclusions(patterns).path(path)) is excluded


@pytest.mark.parametrize("path", ["/favicon.ico", "/robots.txt", "/health", "/healthz", "/.well-known/security.txt"])
def test_probes_and_what_browsers_fetch_unasked_are_excluded_by_default(path):
    assert Exclusions(Settings().exclude).path(path)
    assert not Exclusions(Settings().exclude).path("/")


@pytest.mark.parametrize(
    ("argv", "pytest_version", "active"),
    [
        (["/app/.venv/bin/gunicorn", "app:app"], None, True),
        (["manage.py", "runserver"], None, True),
        (["manage.py", "test"], None, False),
        (["/app/manage.py", "test", "shop"], None, False),
        (["/usr/lib/python3.12/unittest/__main__.py"], None, False),
        (["python -m unittest"], None, False),
        (["python3.12 -m unittest", "discover"], None, False),
        (["/app/.venv/bin/django-admin", "test", "shop"], None, False),
        (["/app/.venv/lib/python3.12/site-packages/django/__main__.py", "test"], None, False),
        (["/app/.venv/bin/django-admin", "runserver"], None, True),
        (["/app/test/__main__.py", "test"], None, True),
        (["gunicorn"], "9.0", False),
        ([], None, True),
    ],
    ids=repr,
)
def test_recording_is_off_under_a_test_runner_unless_asked_for(monkeypatch, argv, pytest_version, active):
    monkeypatch.setattr(sys, "argv", argv)
    monkeypatch.delenv("PYTEST_VERSION", raising=False)
    if pytest_version is not None:
        monkeypatch.setenv("PYTEST_VERSION", pytest_version)
    assert Settings().active is active
    assert Settings(enabled=True).active is True
    assert Settings(enabled=False).active is False


@pytest.mark.parametrize("words", [["shop_tests"], ["discover", "-p", "shop_*.py"]], ids=" ".join)
def test_nothing_is_recorded_under_unittest(tmp_path, words):
    (tmp_path / "shop_tests.py").write_text(
        "import unittest\n"
        "from analytics_middleware import Analytics\n"
        "analytics = Analytics()\n"
        "class ShopTest(unittest.TestCase):\n"
        "    def test_analytics_is_off(self):\n"
        "        self.assertFalse(analytics.active)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "PYTEST_VERSION"}
    ended = subprocess.run(
        [sys.executable, "-m", "unittest", *words], cwd=tmp_path, env=environment, capture_output=True, timeout=60
    )
    assert ended.returncode == 0, ended.stderr
    assert b"Ran 1 test" in ended.stderr


@pytest.mark.parametrize("key", ["read_token", "secret_key", "store_key"])
def test_a_secret_is_in_no_repr_and_no_error_message(key):
    analytics = Analytics(**{key: LONG})
    assert LONG not in repr(analytics.settings)
    assert LONG not in str(dataclasses.asdict(analytics.settings))
    with pytest.raises(ConfigurationError) as caught:
        Settings(**{key: LONG[:15]})
    assert LONG[:8] not in str(caught.value)


GA4 = {"class": "analytics_middleware.collectors.GA4Collector", "measurement_id": "G-AB12CD34EF", "api_secret": LONG}


@pytest.mark.parametrize(
    "settings",
    [
        {"store": f"clickhouse:/u:{LONG}@h/db"},
        {"store": f"u:{LONG}@h"},
        {"store": f"https://u:{LONG}@hub.example"},
        {"store": f"https://hub.example/?key={LONG}"},
        {"store": {"url": f"clickhouse://u:{LONG}@h/db"}},
        {"store": [f"clickhouse://u:{LONG}@h/db"]},
        {"collectors": GA4},
        {"collectors": {"class": "a.B", "headers": {"authorization": LONG}}},
        {"collectors": f"https://hooks.example/{LONG}?key"},
    ],
)
@pytest.mark.parametrize("make", [Settings, Analytics])
def test_a_wrong_value_that_may_hold_a_secret_is_not_repeated(settings, make):
    with pytest.raises(ConfigurationError, match=rf"{next(iter(settings))}.* must ") as caught:
        make(**settings)
    assert LONG not in str(caught.value)


def test_collectors_in_settings_are_printed_without_their_secrets_and_built_with_them():
    settings = Settings(collectors=[GA4, {"class": "a.B", "timeout": 5, "headers": {"authorization": LONG}}])
    for printed in (repr(settings), str(dataclasses.asdict(settings))):
        assert LONG not in printed
        assert "'class': 'analytics_middleware.collectors.GA4Collector'" in printed
        assert "'timeout': 5, 'headers': '***'" in printed
    assert settings.collectors[0] == GA4
