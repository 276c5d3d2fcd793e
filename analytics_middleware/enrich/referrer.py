"""Where a visit came from: its source, campaign and channel, from the page's URL and the Referer header."""

import re
from typing import Final, NamedTuple
from urllib.parse import unquote_plus

from analytics_middleware.enrich.channel import DIRECT, channel
from analytics_middleware.enrich.privacy import looks_secret
from analytics_middleware.enrich.sources import (
    ALIASES,
    CLICK_IDS,
    EXACT_HOSTS,
    EXACT_STEMS,
    HOSTS,
    SPAM_HOSTS,
    STEMS,
    ClickID,
    Site,
)
from analytics_middleware.properties import MAX_NAME, clean_name
from analytics_middleware.remembering import remembered
from analytics_middleware.request import hostname

MAX_QUERY: Final = 2048
"""Characters read of a query string."""

_MAX_PARAMETERS = 64
_CACHED_VISITS = 4096
_UTM = frozenset({"utm_source", "utm_medium", "utm_campaign", "utm_term", "utm_content"})

# Scheme, optional user name, host. A referrer that is neither from the web nor from an app says nothing.
_ORIGIN = re.compile(
    r"(?:https?|android-app|ios-app)://(?:[^/?#@\\\s]*@)?([A-Z0-9._-]{1,253}|\[[0-9A-F:.]{2,45}\])", re.IGNORECASE
)
_HINT = re.compile("(?:^|&)(?:utm_|" + "|".join(CLICK_IDS) + ")", re.IGNORECASE)
_NATIONAL = re.compile(r"(.+?)\.(?:com|net|cat|[a-z]{2}|(?:com?|ne|or)\.[a-z]{2})")
_SAME_SITE_PREFIXES = ("www.", "m.", "mobile.", "amp.")


class Attribution(NamedTuple):
    """What brought a visitor to a page; None where unknown."""

    source: str | None = None
    """A site's usual name (``Google``), else the referring host, else utm_source as written."""
    medium: str | None = None
    """utm_medium as written; else ``organic``, ``referral``, ``email``, ``ai-assistant`` or what the click id says."""
    campaign: str | None = None
    term: str | None = None
    content: str | None = None
    channel: str = DIRECT
    """A channel of GA4's default channel group."""
    click_id_kind: str | None = None
    """The name of the click id in the URL, such as ``gclid``. Its value is not kept."""
    spam: bool = False
    """The referrer is known to be forged; most likely there was no visit."""
    internal: bool = False
    """The visitor came from another page of the same site, so the visit goes on."""


_DIRECT = Attribution()
_INTERNAL = Attribution(internal=True)


def attribute(url: str | None, referrer: str | None, own_host: str | None) -> Attribution:
    """Return where a visit came from, according to a page's *url* and the *referrer* of the request for it.

    UTM parameters outrank a click id, which outranks the referrer. Without utm_medium, a paid click id still gives the
    medium if utm_source names its platform. The site's *own_host*, with or without ``www.`` and port, is no source.
    Values that look like a secret or an e-mail address are ignored.
    """
    query = url.partition("#")[0].partition("?")[2] if url else ""
    if len(query) > MAX_QUERY:
        query = query[:MAX_QUERY].rpartition("&")[0]
    if query and not _HINT.search(query):
        query = ""
    match = _ORIGIN.match(referrer[:512]) if referrer else None
    if match is None and not query:
        return _DIRECT
    return _attribute(query, match[1] if match else "", own_host or "")


def referring_host(referrer: str | None) -> str | None:
    """Return the host of *referrer* in lower case, without its port; None if there is none."""
    match = _ORIGIN.match(referrer[:512]) if referrer else None
    return hostname(match[1]) if match else None


def utm_parameters(url: str | None) -> dict[str, str]:
    """Return the UTM parameters of *url* as written, by their names without ``utm_``."""
    if not url or "utm_" not in url.lower():
        return {}
    parameters = _parameters(url.partition("#")[0].partition("?")[2][:MAX_QUERY])
    values = {name.removeprefix("utm_"): _value(parameters, name) for name in _UTM}
    return {name: value for name, value in values.items() if value is not None}


def site_of(host: str) -> Site | None:
    """Return the known site that *host* (lower case, without ``www.``) belongs to, or None."""
    if site := EXACT_HOSTS.get(host):
        return site
    national = _NATIONAL.fullmatch(host)
    stem = national[1] if national else ""
    if site := EXACT_STEMS.get(stem):
        return site
    return _nearest(host, HOSTS) or (_nearest(stem, STEMS) if stem else None)


def _nearest(host: str, sites: dict[str, Site]) -> Site | None:
    while host:
        if site := sites.get(host):
            return site
        host = host.partition(".")[2]
    return None


@remembered(_CACHED_VISITS)
def _attribute(query: str, referring_host: str, own_host: str) -> Attribution:
    parameters = _parameters(query)
    click_kind = next((name for name in CLICK_IDS if name in parameters), None)
    host = _bare_host(referring_host)
    internal = bool(host) and host == _bare_host(own_host)
    if internal:
        host = ""
    tagged = _value(parameters, "utm_source"), _value(parameters, "utm_medium")
    campaign = _value(parameters, "utm_campaign")
    if internal and click_kind is None and tagged == (None, None):
        return _INTERNAL
    site, medium = _origin(*tagged, CLICK_IDS[click_kind] if click_kind else None, host)
    return Attribution(
        source=site.name or None,
        medium=medium,
        campaign=campaign,
        term=_value(parameters, "utm_term"),
        content=_value(parameters, "utm_content"),
        channel=channel(site.name, medium, campaign, site.category),
        click_id_kind=click_kind,
        spam=_is_spam(host),
        internal=internal,
    )


def _origin(source: str | None, medium: str | None, click: ClickID | None, host: str) -> tuple[Site, str | None]:
    """Return the site that sent the visitor, and the medium, by the strongest evidence."""
    clicked = _named(click.source) if click else None
    referring = _named_host(host) if host else None
    if source is not None:
        site = _named(source)
        if medium is None and click and clicked and click.paid and clicked.name == site.name:
            medium = click.medium
        return site, medium
    if click and clicked and (click.paid or referring is None or referring.category is None):
        return clicked, medium or click.medium
    if referring is not None:
        return referring, medium or _referral_medium(referring)
    return Site("", None), medium


def _referral_medium(site: Site) -> str:
    match site.category:
        case "search":
            return "organic"
        case "ai":
            return "ai-assistant"
        case "email":
            return "email"
        case _:
            return "referral"


def _named(source: str) -> Site:
    lowered = source.lower()
    if site := ALIASES.get(lowered):
        return site
    site = site_of(_bare_host(lowered)) if "." in lowered else None
    return site or Site(source, None)


def _named_host(host: str) -> Site:
    if site := site_of(host):
        return site
    for prefix in _SAME_SITE_PREFIXES:
        if host.startswith(prefix) and (site := site_of(host.removeprefix(prefix))):
            return site
    return Site(host, None)


def _is_spam(host: str) -> bool:
    while host:
        if host in SPAM_HOSTS:
            return True
        host = host.partition(".")[2]
    return False


def _bare_host(host: str) -> str:
    """Return *host* in lower case without port, final dot and ``www.``."""
    host = host.strip().lower()
    if not host.startswith("["):
        host = host.partition(":")[0]
    return host.partition("]")[0].rstrip(".").removeprefix("www.")


def _parameters(query: str) -> dict[str, str]:
    """Return the campaign parameters and click ids in *query* by lower-case name, the first value of each."""
    found: dict[str, str] = {}
    for pair in query.split("&", _MAX_PARAMETERS)[:_MAX_PARAMETERS]:
        key, _, value = pair.partition("=")
        name = key.lower()
        if value and (name in _UTM or name in CLICK_IDS):
            found.setdefault(name, value)
    return found


def _value(parameters: dict[str, str], name: str) -> str | None:
    raw = parameters.get(name)
    if raw is None or looks_secret(raw.replace("+", " ")):
        return None
    value = "".join(char for char in unquote_plus(raw)[:MAX_NAME] if char.isprintable())
    return clean_name(value) or None
