"""Settings: every option with its default and one line of help, validated once at the start."""

import dataclasses
import difflib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

from analytics_middleware.errors import ConfigurationError
from analytics_middleware.outgoing.secret import Secret
from analytics_middleware.setting_checks import CHECKS, check_mail
from analytics_middleware.setting_shapes import Hook

DEFAULT_EXCLUDE: Final = (
    "/favicon.ico",
    "/robots.txt",
    "/.well-known/*",
    "/health",
    "/health/*",
    "/healthz",
    "/livez",
    "/readyz",
    "/ping",
    "/-/*",
)
"""Paths that make no automatic event unless `exclude` is set: health checks and files that clients fetch unasked."""


def _setting(default: Any, help: str) -> Any:  # noqa: A002 - the word the command line and the docs use
    return dataclasses.field(default=default, metadata={"help": help})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All options of the middleware. Raises `ConfigurationError` naming the key, the value and what would be right."""

    collectors: tuple[Any, ...] = _setting((), "Where events go: collectors, callables, or {'class': dotted path, …}.")
    data_dir: Path | None = _setting(None, "Directory for durable events and the store; None keeps both in memory.")
    store: Any = _setting(
        "default",
        "What answers questions: a Store, a hub's URL, or None for none; by default one in data_dir.",
    )
    store_key: Secret | None = _setting(None, "The hub's secret_key, when the setting store is its URL.")
    retention_days: int | None = _setting(None, "Days that the store keeps events; None keeps them for good.")
    enabled: bool | None = _setting(None, "Record at all; None means yes, except under a test runner.")
    trusted_proxies: tuple[str, ...] = _setting((), "Addresses and CIDRs of your proxies; 'unix' for one on a socket.")
    proxy_header: str = _setting("x-forwarded-for", "The one header a trusted proxy writes the client's address to.")
    exclude: tuple[str, ...] = _setting(
        DEFAULT_EXCLUDE, "Paths (with *), ip:CIDR, agent:glob and staff that make no event."
    )
    classify: Hook | None = _setting(None, "request -> EventType or None; the rule for what views don't name.")
    track_all: bool = _setting(False, "Record requests that are neither page view nor action as actions too.")
    processors: tuple[Hook, ...] = _setting((), "event -> event or None, each in turn, off the request path.")
    get_user_id: Hook | None = _setting(None, "framework request -> user id or None; replaces the framework's auth.")
    visitor: str | None = _setting("cookieless", "Anonymous visitors: 'cookieless' (daily hash), 'cookie', or None.")
    cookie_name: str = _setting("analytics_visitor", "Name of the cookie that visitor='cookie' sets.")
    privacy: str = _setting("standard", "'standard' truncates addresses, 'strict' drops them, 'raw' keeps all.")
    keep_query: tuple[str, ...] = _setting((), "Query keys kept in URLs besides utm_* and click ids.")
    consent: Hook | None = _setting(None, "request -> bool: may collectors that require consent have the event?")
    session_timeout: float = _setting(1800.0, "Seconds without an event after which a session ends.")
    geoip_database: Path | None = _setting(None, "MaxMind database file for country and city (extra geoip).")
    country_header: str | None = _setting(None, "Header in which a trusted CDN names the country: cf-ipcountry, …")
    environment: str | None = _setting(None, "Added to every event as the property 'environment'.")
    debug: bool = _setting(False, "Third-party collectors only log what they would send.")
    background: bool = _setting(True, "Record and deliver in the web processes; False leaves it to the worker command.")
    flush_on_response: bool = _setting(False, "Deliver before the request ends: serverless and short-lived processes.")
    queue_size: int = _setting(10_000, "Requests that may wait for the writer thread; more are dropped and counted.")
    max_pending: int = _setting(100_000, "Events kept for a collector that lags; older ones are dropped and counted.")
    max_bytes: int = _setting(2**30, "Bytes that events may take on disk; the oldest are dropped and counted.")
    shutdown_timeout: float = _setting(0.4, "Seconds that the process's exit may wait for unfinished work.")
    timezone: str = _setting("UTC", "IANA zone of the calendar days in questions and pages.")
    authorize: Hook | None = _setting(None, "framework request -> bool: who may read; by default Django's staff.")
    authorize_changes: Hook | None = _setting(
        None, "framework request -> bool: which readers may save, share and erase; set it with authorize."
    )
    read_token: Secret | None = _setting(None, "Token that reads over REST: 'Authorization: Bearer …'.")
    secret_key: Secret | None = _setting(None, "Signs cookies and links; as a Bearer token, marks your own servers.")
    write_key: str | None = _setting(None, "Public key that browsers must send with their events; None asks for none.")
    allowed_origins: tuple[str, ...] = _setting((), "Other origins whose pages may use the API: 'https://a.example'.")
    frame_ancestors: tuple[str, ...] = _setting(
        (), "Who may show shared pages in a frame: 'self', or origins such as 'https://intranet.example'."
    )
    api_path: str = _setting("/api/analytics", "Where the REST API is served.")
    dashboard_path: str = _setting("/analytics", "Where the dashboard is served.")
    api_max_body: int = _setting(65_536, "Bytes of a request body that the API accepts.")
    api_rate_limit: int = _setting(600, "Requests a minute that an address may make without a key; 0 for no limit.")
    mail: Any = _setting(None, "How e-mail is sent: {'host', 'sender', …}, or a callable (to, subject, text, html).")
    report_to: tuple[Any, ...] = _setting((), "Where reports go: e-mail addresses and webhooks' URLs.")
    alerts: tuple[Any, ...] = _setting(
        (), "Thresholds on questions: [{'name', 'question', 'number', 'above', 'to', …}]."
    )

    def __post_init__(self) -> None:
        """Check every value, and bring it from the form of a settings file into the one that is kept."""
        for field in dataclasses.fields(self):
            object.__setattr__(self, field.name, CHECKS[field.name](field.name, getattr(self, field.name)))
        if f"{self.dashboard_path}/".startswith(f"{self.api_path}/"):
            raise ConfigurationError(
                f"analytics setting 'dashboard_path' is {self.dashboard_path!r}; it must not be within 'api_path' "
                f"({self.api_path!r}), which answers all requests there"
            )
        told = (destination for alert in self.alerts for destination in alert.to)
        check_mail(self.mail, (*self.report_to, *told))

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> Self:
        """Return settings from *mapping*, whose keys may be upper or lower case.

        Raises `ConfigurationError`, also for keys (see `by_name`).
        """
        return cls(**by_name(mapping))

    @property
    def active(self) -> bool:
        """Whether to record: `enabled`, or if that is None, whether this is no test run."""
        return not under_test_runner() if self.enabled is None else self.enabled


def by_name(mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Return *mapping*, whose keys may be upper or lower case, with the names of settings for keys.

    Raises `ConfigurationError` for an unknown key, naming the nearest known one, and for one given in both cases.
    """
    known = {field.name for field in dataclasses.fields(Settings)}
    values: dict[str, Any] = {}
    for key, value in mapping.items():
        name = key.lower() if isinstance(key, str) else repr(key)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known settings: {', '.join(sorted(known))}"
            raise ConfigurationError(f"analytics setting {key!r} is unknown{hint}")
        if name in values:
            raise ConfigurationError(f"analytics setting {name!r} is given twice, in upper and in lower case")
        values[name] = value
    return values


def under_test_runner() -> bool:
    """Whether this process runs tests: under pytest, ``python -m unittest`` or Django's command ``test``."""
    if "PYTEST_VERSION" in os.environ:
        return True
    program = Path(sys.argv[0] if sys.argv else "")
    # Before it loads the tests, unittest replaces its path in sys.argv by "python -m unittest".
    if program.name.endswith(" -m unittest") or "unittest" in program.parts:
        return True
    django = program.name in {"manage.py", "django-admin"} or program.parts[-2:] == ("django", "__main__.py")
    return django and sys.argv[1:2] == ["test"]
