"""What a User-Agent header says about the browser, and whether it is a crawler's."""

import importlib
import json
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

MAX_USER_AGENT: Final = 512
"""Characters read of a User-Agent header; in-app browsers send about 400."""

_CACHED_AGENTS = 4096


class Agent(NamedTuple):
    """A browser, its version (``"120"``, ``"17.4"``), operating system and kind of device; None where unknown."""

    browser: str | None = None
    browser_version: str | None = None
    os: str | None = None
    device: str | None = None
    """``desktop``, ``mobile``, ``tablet``, ``tv``, ``console`` or ``watch``."""


_UNKNOWN = Agent()

# A browser has one name on all devices; the device is a separate fact.
_BROWSERS: Final = {
    "Chrome Mobile": "Chrome",
    "Chrome Mobile iOS": "Chrome",
    "Chrome Mobile WebView": "Android WebView",
    "Edge Mobile": "Edge",
    "Firefox Mobile": "Firefox",
    "Firefox iOS": "Firefox",
    "Mobile Safari": "Safari",
    "Mobile Safari UI/WKWebView": "iOS WebView",
    "Opera Mobile": "Opera",
    "Opera Tablet": "Opera",
    "Vivaldi Mobile": "Vivaldi",
}
_SYSTEMS: Final = {"Mac OS X": "macOS", "Chrome OS": "ChromeOS", "ATV OS X": "tvOS", "WatchOS": "watchOS"}

# Tried in this order: televisions and consoles also name the system they are built on.
_DEVICES: Final = (
    ("console", re.compile(r"PlayStation|\bXbox|Nintendo")),
    (
        "tv",
        re.compile(
            r"AppleTV|tvOS|SMART-?TV|Smart ?TV|GoogleTV|HbbTV|BRAVIA|\bAFT[A-Z]|CrKey|Roku|NetCast|Web0S|Viera|\bTV\b",
            re.IGNORECASE,
        ),
    ),
    ("watch", re.compile(r"Apple ?Watch|watchOS|Wear ?OS|Galaxy Watch|SM-R[89]\d\d", re.IGNORECASE)),
    ("tablet", re.compile(r"iPad|Tablet(?! PC)|PlayBook|Kindle|\bKF[A-Z]{2,4}\b|Silk/(?!.*\bMobile\b)|\bSM-T\d")),
    ("mobile", re.compile(r"iPhone|iPod|\bMobile\b|Windows Phone|KAIOS|BlackBerry|BB10|Opera Mini|Symbian")),
    # Android's own rule: a phone's browser says Mobile, a tablet's does not.
    ("tablet", re.compile(r"Android")),
    ("desktop", re.compile(r"Windows NT|Macintosh|X11|CrOS|Linux (?:x86_64|i686|aarch64)")),
)

# What automatic clients call themselves; enough for most sites if the full list is not installed. A word that ends in
# "bot" is a crawler's, except Cubot, which makes phones.
_CRAWLER: Final = re.compile(
    r"(?<!cu)bot(?![a-z])|crawl|spider|slurp|scrap(?:er|y)|headless|lighthouse|pagespeed|pingdom|uptime|monitoring|"
    r"facebookexternalhit|meta-external|embedly|whatsapp/|bingpreview|google(?:other|-read-aloud|-safety)|"
    r"mediapartners|inspectiontool|feedfetcher|feedburner|validator|archiver|phantomjs|puppeteer|playwright|selenium|"
    r"^(?:curl|wget|python|ruby|java|php|perl|go|axios|node|okhttp|apache|libwww|lwp|http|aiohttp|httpx|postman|"
    r"insomnia|dart|rust|reqwest|guzzle|undici)(?:[-/_. ]|$)|^python|go-http-client|okhttp/|libwww-perl|"
    r"chatgpt-user|oai-search|claude-(?:user|web|searchbot)|perplexity-user|anthropic-ai|cohere-ai",
    re.IGNORECASE,
)


def parse(user_agent: str | None) -> Agent:
    """Return what *user_agent* says, as ua-parser reads it; all None when that package is not installed."""
    if not user_agent:
        return _UNKNOWN
    return _parse(user_agent[:MAX_USER_AGENT])


def is_crawler(user_agent: str | None) -> bool:
    """Whether *user_agent* is a crawler's, a monitor's or a program's, or missing.

    It is matched against a short list of what such clients have in common, and against the patterns of the package
    crawler-user-agents if that is installed.
    """
    if not user_agent:
        return True
    return _is_crawler(user_agent[:MAX_USER_AGENT])


@lru_cache(_CACHED_AGENTS)
def _parse(user_agent: str) -> Agent:
    parser = _ua_parser()
    if parser is None:
        return _UNKNOWN
    result = parser(user_agent)
    browser, system = result.user_agent, result.os
    version = None
    if browser is not None and browser.major:
        # Browsers that no longer tell their minor version send 0.
        version = browser.major if browser.minor in (None, "", "0") else f"{browser.major}.{browser.minor}"
    return Agent(
        browser=None if browser is None else _BROWSERS.get(browser.family, browser.family),
        browser_version=version,
        os=None if system is None else _SYSTEMS.get(system.family, system.family),
        device=_device(user_agent),
    )


def _device(user_agent: str) -> str | None:
    return next((device for device, pattern in _DEVICES if pattern.search(user_agent)), None)


@lru_cache(_CACHED_AGENTS)
def _is_crawler(user_agent: str) -> bool:
    if not user_agent.strip() or _CRAWLER.search(user_agent):
        return True
    return any(pattern.search(user_agent) for pattern in _crawler_patterns())


@cache
def _ua_parser() -> Callable[[str], Any] | None:
    try:
        module: Any = importlib.import_module("ua_parser")
    except ImportError:
        return None
    parse: Callable[[str], Any] = module.parse
    return parse


def load() -> None:
    """Import the optional packages now: a fork during an import in a thread leaves a lock that is never released."""
    for name in ("ua_parser", "ua_parser_builtins.lazy"):
        with suppress(ImportError):
            importlib.import_module(name)


# A pattern that is plain text, apart from escaped punctuation.
_PLAIN = re.compile(r"(?:[^\\.^$*+?{}\[\]|()]|\\[^A-Za-z0-9])+")
_ESCAPED = re.compile(r"\\(.)")


@cache
def _crawler_patterns() -> tuple[re.Pattern[str], ...]:
    """Return the installed list compiled, or nothing when it is not installed."""
    spec = find_spec("crawleruseragents")
    if spec is None or spec.origin is None:
        return ()
    try:
        # Not through the package: it reads the file in the locale's encoding, which is ASCII in some servers.
        listed = json.loads(Path(spec.origin).with_name("crawler-user-agents.json").read_bytes())
    except OSError:
        return ()
    entries = [str(entry["pattern"]) for entry in listed]
    words = [_ESCAPED.sub(r"\1", entry) for entry in entries if _PLAIN.fullmatch(entry)]
    others = [f"(?:{entry})" for entry in entries if not _PLAIN.fullmatch(entry)]
    return tuple(re.compile(pattern) for pattern in (_any_of(words), "|".join(others)) if pattern)


def _any_of(words: Iterable[str]) -> str:
    """Return a pattern that finds any of *words*, written as a tree of their letters.

    `re` would try each of a thousand alternatives at every position; of a tree it tries only the first letters.
    """
    root: dict[str, Any] = {}
    for word in words:
        node = root
        for letter in word:
            node = node.setdefault(letter, {})
        node[""] = {}
    return _branches(root)


def _branches(node: dict[str, Any]) -> str:
    if "" in node:  # a word ends here, so the rest of longer ones need not match
        return ""
    branches = [re.escape(letter) + _branches(rest) for letter, rest in sorted(node.items())]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"
