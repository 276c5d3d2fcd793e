"""Removes private data from events before they are written anywhere: secrets in URLs, the end of addresses.

Query parameters are kept by an allow-list, since nobody can list every parameter that carries a secret.
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
"""Replaces a path segment, or a word of a user agent, that looks like a secret."""
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
# Question mark and number sign, plain or percent-encoded any number of times.
_END_OF_PATH = re.compile(r"[?#]|%(?:25)*(?:3[Ff]|23)")
_SCHEMES = frozenset({"", "http", "https", "ws", "wss", "android-app", "ios-app"})

# One character before the @ is enough: matching those before it would only take time.
_EMAIL = re.compile(r"[^\s@/=&,;:<>]@(?:[^\s@/=&.,;:<>]{1,63}\.)+[^\W\d_]{2,}")
# RFC 7515 section 7.1: the header of a signed token is a JSON object, whose Base64 begins with eyJ.
_JWT = re.compile(r"eyJ[\w-]{5,}\.[\w-]*")
_UUID = re.compile(r"[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}", re.IGNORECASE)
_HEX = re.compile(r"(?<![0-9a-zA-Z])(?=[0-9]*[a-fA-F])(?=[a-fA-F]*[0-9])[0-9a-fA-F]{16,}(?![0-9a-zA-Z])")
_RUN = re.compile(r"[A-Za-z0-9]+")
# Where letters change to digits or back, or a small letter is followed by a capital, which words don't have.
_CHANGE = re.compile(r"(?<=[a-z])[A-Z]|(?<=[A-Za-z])[0-9]|(?<=[0-9])[A-Za-z]")
_AGENT_WORD = re.compile(r"[^\s;,()]+")
_WORD = re.compile(r"[A-Z]?[a-z]{3,}")
_DIGIT = re.compile(r"[0-9]")
_LETTER = re.compile(r"[A-Za-z]")


def scrub_url(url: str | None, allow: Collection[str] = ()) -> str | None:
    """Return *url* (or a referrer, or a path with its query) without what could be personal or secret, or None.

    - Of the query, only ``utm_*``, the click ids of `CLICK_IDS` and the parameters named in *allow* are kept, in any
      case, unless their value looks like a secret (see `looks_secret`). Click ids are random by nature: they are kept
      unless they are a JWT or contain an e-mail address.
    - Fragment, user name, password and the parameters of path segments (``;jsessionid=…``) are removed.
    - Path segments that look like a secret become ``[redacted]``: tokens of reset and invitation links, UUIDs,
      e-mail addresses.

    The result is None if the scheme is not a page's (``javascript:``, ``data:``). At most `MAX_URL` characters are
    read.
    """
    if not url:
        return None
    if len(url) >= MAX_URL:
        # Drop the part that is cut, here or earlier: half an e-mail address would not be recognised as one.
        url = url[:MAX_URL]
        url = url[: max(map(url.rfind, "/?&")) + 1]
    return _scrub(url, allow if isinstance(allow, (frozenset, tuple)) else frozenset(allow))


def looks_secret(text: str) -> bool:
    """Whether *text* contains an e-mail address, or looks like a token rather than like words or a number.

    A token is a JWT, a UUID, 16 or more hexadecimal digits, or a long run that mixes letters and digits as words
    don't. Percent-encoding is decoded first, even if applied several times. Plain numbers and slugs
    (``how-to-brew-coffee-in-2024``) are not tokens. It errs towards secrecy, but can't recognise a secret that is a
    word.
    """
    text = _decode(text)
    if "@" in text and _EMAIL.search(text):
        return True
    if len(text) < 16:
        return False
    return bool(_JWT.search(text) or _UUID.search(text) or _HEX.search(text)) or _looks_random(text)


def scrub_agent(agent: str | None) -> str | None:
    """Return a User-Agent header with `REDACTED` for each word that looks like a secret or is an e-mail address.

    Programs put their operator's e-mail address there, and some apps the device's id.
    """
    return None if agent is None else _AGENT_WORD.sub(lambda word: _unless_secret(word[0]), agent)


@lru_cache(_CACHED_URLS)
def truncate_ip(ip: str | None) -> str | None:
    """Return the first address of the network of *ip*, /24 for IPv4 and /48 for IPv6; None if *ip* is no address."""
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
    """Whether any occurrence of the header *name*, one of `OBJECTIONS`, is 1 in *request*."""
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
        return None  # http:path is a relative reference, which nobody sends
    path = scrub_path(path)
    if match[2] is None and path.startswith("//"):
        return None  # what is left of ;//host would read as another URL
    clean += path
    kept = _scrub_query(query, frozenset(name.lower() for name in allow)) if query else ""
    # There may have been spaces before the part that was removed.
    return (f"{clean}?{kept}" if kept else clean).rstrip() or None


def scrub_path(path: str) -> str:
    """Return *path* with `REDACTED` for each segment that looks like a secret, and without segments' parameters.

    What follows an encoded ``?`` or ``#`` is removed too: servers decode paths, and then it reads like a query.
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

    In random Base64 about every second character differs in kind from the one before it. Words have at most a capital
    at the start and a number at the end.
    """
    runs = _RUN.findall(text)
    longest = max(map(len, runs), default=0)
    if any(_is_random_run(run) for run in runs if len(run) >= 20):
        return True
    # Tokens may contain separators too, so all parts are judged together.
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
    # A word of 40 letters or more is rarer than a token of that length; so is one of 20 with a digit in it.
    if len(run) >= 40 or _DIGIT.search(run):
        return True
    return not run.islower() and not run.isupper() and len(_WORD.sub("", run)) * 2 > len(run)
