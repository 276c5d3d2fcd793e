"""What is taken out of an event before it is written anywhere: secrets in URLs, the end of addresses.

The rule for query strings is an allow-list, since nobody can list every parameter that carries a secret.
"""

import re
from collections.abc import Collection
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import Final
from urllib.parse import unquote, unquote_plus

from analytics_middleware.enrich.client_ip import canonical
from analytics_middleware.enrich.sources import CLICK_IDS
from analytics_middleware.remembering import remembered
from analytics_middleware.request import HeaderNames, Request

REDACTED: Final = "[redacted]"
"""What stands in a path for a segment that looked like a secret."""
MAX_URL: Final = 2048
"""Characters read of a URL."""

_MAX_PARAMETERS = 64
_MAX_DECODINGS = 8
OBJECTIONS: Final = ("dnt", "sec-gpc")
"""The headers with which visitors ask not to be tracked."""

_OPT_OUT_HEADERS = HeaderNames(*OBJECTIONS)
_CACHED_URLS = 4096

# RFC 3986 appendix B, without its empty alternatives. Browsers read a backslash as a slash.
_URL = re.compile(r"(?:([A-Za-z][A-Za-z0-9+.-]*):)?(?://([^/\\?#]*))?([^?#]*)(?:\?([^#]*))?.*", re.DOTALL)
# Question mark and number sign, percent-encoded however often.
_END_OF_PATH = re.compile(r"[?#]|%(?:25)*(?:3[Ff]|23)")
_SCHEMES = frozenset({"", "http", "https", "ws", "wss", "android-app", "ios-app"})

# Only the last character before the @ is looked for: whatever stands before it changes nothing but the time taken.
_EMAIL = re.compile(r"[^\s@/=&,;:<>]@(?:[^\s@/=&.,;:<>]{1,63}\.)+[^\W\d_]{2,}")
# RFC 7515 section 7.1: the header of a signed token is a JSON object, whose Base64 begins with eyJ.
_JWT = re.compile(r"eyJ[\w-]{5,}\.[\w-]*")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"(?<![0-9a-zA-Z])(?=[0-9]*[a-fA-F])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{16,}(?![0-9a-zA-Z])")
_RUN = re.compile(r"[A-Za-z0-9]+")
# Where a word changes from letters to digits or back, or, as no word does, from a small letter to a capital.
_CHANGE = re.compile(r"(?<=[a-z])[A-Z]|(?<=[A-Za-z])[0-9]|(?<=[0-9])[A-Za-z]")
_AGENT_WORD = re.compile(r"[^\s;,()]+")
_WORD = re.compile(r"[A-Z]?[a-z]{3,}")
_DIGIT = re.compile(r"[0-9]")
_LETTER = re.compile(r"[A-Za-z]")


def scrub_url(url: str | None, allow: Collection[str] = ()) -> str | None:
    """Return *url* (or a referrer, or a path with its query) without what could be personal or secret, or None.

    - Of the query stay ``utm_*``, the click ids of `CLICK_IDS`, and the parameters named in *allow*, whatever
      their case; and of those only values that don't look like a secret (see `looks_secret`). Click ids are
      random by nature: they stay unless they are a JWT or hold an e-mail address.
    - Fragment, user name and password go, as do the parameters of a path segment (``;jsessionid=…``).
    - Path segments that look like a secret become ``[redacted]``: tokens of reset and invitation links, UUIDs,
      e-mail addresses.

    A URL of a scheme that no page has (``javascript:``, ``data:``) is None. At most `MAX_URL` characters are read.
    """
    if not url:
        return None
    if len(url) >= MAX_URL:
        # What the cut goes through, here or before, is dropped: half an e-mail address would not be recognised as one.
        url = url[:MAX_URL]
        url = url[: max(map(url.rfind, "/?&")) + 1]
    return _scrub(url, allow if isinstance(allow, (frozenset, tuple)) else frozenset(allow))


def looks_secret(text: str) -> bool:
    """Whether *text* holds an e-mail address, or looks like a token rather than like words or a number.

    A token is a JWT, a UUID, 16 or more hexadecimal digits, or a long run of letters and digits in no order that
    words have. Percent-encoding is seen through, also when applied several times. Plain numbers and slugs
    (``how-to-brew-coffee-in-2024``) are no tokens. It errs towards secrecy, and can't know a secret that is a word.
    """
    text = _decode(text)
    if "@" in text and _EMAIL.search(text):
        return True
    if len(text) < 16:
        return False
    return bool(_JWT.search(text) or _UUID.search(text) or _HEX.search(text)) or _looks_random(text)


def scrub_agent(agent: str | None) -> str | None:
    """Return a User-Agent header with `REDACTED` for each word that looks like a secret or is an e-mail address.

    Programs name their operator's address there, and some apps an id of the device.
    """
    return None if agent is None else _AGENT_WORD.sub(lambda word: _unless_secret(word[0]), agent)


@lru_cache(_CACHED_URLS)
def truncate_ip(ip: str | None) -> str | None:
    """Return the network of *ip*, /24 of IPv4 and /48 of IPv6, as its first address; None when it is no address."""
    text = canonical(ip[:64]) if ip else None
    if text is None:
        return None
    address = ip_address(text)
    dropped = 8 if isinstance(address, IPv4Address) else 80
    return str(type(address)(int(address) >> dropped << dropped))


def opted_out(request: Request) -> bool:
    """Whether the visitor asks not to be tracked: ``DNT: 1`` (W3C Tracking Preference) or ``Sec-GPC: 1`` (GPC)."""
    if not request.has_any(_OPT_OUT_HEADERS):
        return False
    return any(objects(request, name) for name in OBJECTIONS)


def objects(request: Request, name: str) -> bool:
    """Whether *request* has the header *name*, one of `OBJECTIONS`, with 1, in whatever occurrence of it."""
    return "1" in (value.strip() for value in request.values(name))


@remembered(_CACHED_URLS)
def _scrub(url: str, allow: Collection[str]) -> str | None:
    match = _URL.fullmatch("".join(char for char in url if char.isprintable()).strip())
    if match is None:
        return None
    scheme, authority, path, query = (part or "" for part in match.groups())
    if scheme.lower() not in _SCHEMES:
        return None
    clean = f"{scheme}:" if scheme else ""
    if match[2] is not None:
        clean += f"//{authority.rpartition('@')[2]}"
    elif scheme:
        return None  # http:path is a relative reference nobody sends
    path = scrub_path(path)
    if match[2] is None and path.startswith("//"):
        return None  # ;//host without its parameter would read as another URL
    clean += path
    kept = _scrub_query(query, frozenset(name.lower() for name in allow)) if query else ""
    # What went may have had spaces before it.
    return (f"{clean}?{kept}" if kept else clean).rstrip() or None


def scrub_path(path: str) -> str:
    """Return *path* with `REDACTED` for each segment that looks like a secret, and without segments' parameters.

    What follows an encoded ``?`` or ``#`` goes as well: servers decode paths, and it reads like any other query.
    """
    if len(path) >= MAX_URL:
        path = path[: path.rfind("/", 0, MAX_URL) + 1]
    return _scrub_path(path)


@remembered(_CACHED_URLS)
def _scrub_path(path: str) -> str:
    path = _END_OF_PATH.split(path, 1)[0]
    segments = (segment.partition(";")[0] for segment in path.split("/"))
    return "/".join(REDACTED if segment and looks_secret(segment) else segment for segment in segments)


def _unless_secret(word: str) -> str:
    return REDACTED if looks_secret(word) else word


def _scrub_query(query: str, allow: Collection[str]) -> str:
    kept: list[str] = []
    for pair in query.split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]:
        key, _, value = pair.partition("=")
        name = unquote_plus(key).lower()
        if name in CLICK_IDS:
            plain = _decode(value)
            secret = bool(_JWT.search(plain) or _EMAIL.search(plain))
        elif name in allow or (name.startswith("utm_") and not looks_secret(name)):
            secret = looks_secret(value.replace("+", " "))
        else:
            continue
        if not secret:
            kept.append(pair)
    return "&".join(kept)


def _decode(text: str) -> str:
    for _ in range(_MAX_DECODINGS):
        decoded = unquote(text)
        if decoded == text:
            break
        text = decoded
    return text


def _looks_random(text: str) -> bool:
    """Whether *text* mixes capitals, small letters and digits more than words do.

    A random character of Base64 differs in kind from the one before it about every second time; a word starts
    with a capital at most and a number stands at its end.
    """
    runs = _RUN.findall(text)
    longest = max(map(len, runs), default=0)
    if any(_is_random_run(run) for run in runs if len(run) >= 20):
        return True
    # Separators may stand in a token as well; then its parts are weighed together.
    letters = sum(map(len, runs))
    if longest < 8 or letters < 16:
        return False
    changes = sum(len(_CHANGE.findall(run)) for run in runs)
    if changes >= 5 and any(_DIGIT.search(run) and _LETTER.search(run) for run in runs if len(run) >= 4):
        return True
    return changes >= 3 and sum(len(_WORD.sub("", run)) for run in runs) * 2 > letters


def _is_random_run(run: str) -> bool:
    if run.isdigit():
        return False
    # A compound of more than 40 letters is rarer than a token; with a digit in it, one of 20 is.
    if len(run) >= 40 or _DIGIT.search(run):
        return True
    return not run.islower() and not run.isupper() and len(_WORD.sub("", run)) * 2 > len(run)
