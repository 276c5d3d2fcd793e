"""The marketing channel of a visit, by the rules of GA4's default channel group.

Source: "[GA4] Default channel group", support.google.com/analytics/answer/9756891, the table for manually tagged
traffic. The first rule that holds decides; case is ignored. "AI Assistants" joined the table in 2026; it comes before
Organic Search here, since assistants and search engines share domains.
"""

import re
from typing import Final

from analytics_middleware.enrich.sources import Category

DIRECT: Final = "Direct"
UNASSIGNED: Final = "Unassigned"
"""The channel of visits whose source and medium match no rule."""

_PAID = re.compile(r"(?:.*cp.*|ppc|retargeting|paid.*)", re.DOTALL)
_SHOPPING_CAMPAIGN = re.compile(r".*(?:(?:[^a-df-z]|^)shop|shopping).*", re.DOTALL)
_NONE = frozenset({"", "(none)", "(not set)"})
_DISPLAY = frozenset({"display", "banner", "expandable", "interstitial", "cpm"})
_SOCIAL = frozenset({"social", "social-network", "social-media", "sm", "social network", "social media"})
_EMAIL = frozenset({"email", "e-mail", "e_mail", "e mail"})
_REFERRAL = frozenset({"referral", "app", "link"})

_PAID_CHANNELS: Final[dict[Category | None, str]] = {
    "shopping": "Paid Shopping",
    "search": "Paid Search",
    "social": "Paid Social",
    "video": "Paid Video",
}
_ORGANIC_CHANNELS: Final[dict[Category | None, str]] = {
    "shopping": "Organic Shopping",
    "social": "Organic Social",
    "video": "Organic Video",
    "ai": "AI Assistants",
    "search": "Organic Search",
    "email": "Email",
}
_MEDIUM_CHANNELS: Final = {
    "ai-assistant": "AI Assistants",
    "organic": "Organic Search",
    "affiliate": "Affiliates",
    "audio": "Audio",
    "sms": "SMS",
    **dict.fromkeys(_EMAIL, "Email"),
    **dict.fromkeys(_REFERRAL, "Referral"),
}


def channel(source: str | None, medium: str | None, campaign: str | None, category: Category | None) -> str:
    """Return the channel of a visit from *source*, a site of *category*, by *medium*, for *campaign*."""
    source, medium, campaign = ((part or "").strip().lower() for part in (source, medium, campaign))
    if source in {"", "(direct)"} and medium in _NONE:
        return DIRECT
    if "cross-network" in campaign:
        return "Cross-network"
    shopping = category == "shopping" or bool(_SHOPPING_CAMPAIGN.fullmatch(campaign))
    if _PAID.fullmatch(medium):
        return _paid(category, medium, shopping=shopping)
    if medium in _DISPLAY:
        return "Display"
    return "Organic Shopping" if shopping else _organic(source, medium, category)


def _paid(category: Category | None, medium: str, *, shopping: bool) -> str:
    if shopping:
        return "Paid Shopping"
    # The rule for Display comes after the paid channels of known sites and before "Paid Other".
    return _PAID_CHANNELS.get(category, "Display" if medium in _DISPLAY else "Paid Other")


def _organic(source: str, medium: str, category: Category | None) -> str:
    if category == "social" or medium in _SOCIAL:
        return "Organic Social"
    if category == "video" or "video" in medium:
        return "Organic Video"
    known = _ORGANIC_CHANNELS.get(category) or _MEDIUM_CHANNELS.get(medium)
    if known is not None:
        return known
    if source in _EMAIL:
        return "Email"
    if source == "sms":
        return "SMS"
    if medium.endswith("push") or "mobile" in medium or "notification" in medium or source == "firebase":
        return "Mobile Push Notifications"
    return UNASSIGNED
