"""The language of a request: the one that the framework chose, or the one that Accept-Language prefers."""

import re
from functools import lru_cache
from typing import Final

from analytics_middleware.properties import clean_name

MAX_HEADER: Final = 512
"""Characters read of the header; browsers send fewer than a hundred."""

_MAX_RANGES = 32
# RFC 5646 section 2.1, as far as its shape: subtags of at most 8 letters or digits, the first of 2 to 8 letters.
_TAG = re.compile(r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8}){0,7}")
# RFC 9110 section 12.4.2: a weight has at most three decimals.
_WEIGHT = re.compile(r"\s*q\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*", re.IGNORECASE)


def accept_language(header: str | None) -> str | None:
    """Return the language that an Accept-Language *header* prefers, such as ``"en-GB"``, or None.

    The range with the highest weight wins, the first of equals (RFC 9110 section 12.5.4). ``*``, ranges of weight
    0 and invalid language tags are skipped. The tag is returned in the casing of RFC 5646 section 2.1.1.
    """
    if not header:
        return None
    if len(header) > MAX_HEADER:
        # The cut may have turned the last range into another language's tag.
        header = header[:MAX_HEADER].rpartition(",")[0]
    return _best(header)


@lru_cache(1024)
def framework_locale(tag: str) -> str:
    """Return the language *tag* that a framework chose (``pt-br``, ``pt_BR``) in the casing of RFC 5646 section 2.1.1.

    What is no tag is returned as it is, so that a project's own names are kept.
    """
    return canonical_tag(tag.replace("_", "-")) or clean_name(tag)


@lru_cache(1024)
def _best(header: str) -> str | None:
    best, best_weight = None, 0.0
    for entry in header.split(",", _MAX_RANGES)[:_MAX_RANGES]:
        tag, _, parameter = entry.partition(";")
        weight = 1.0
        if parameter:
            match = _WEIGHT.fullmatch(parameter)
            if match is None:
                continue
            weight = float(match[1])
        if weight > best_weight:
            # Some clients send POSIX locale names, with an underscore.
            canonical = canonical_tag(tag.strip().replace("_", "-"))
            if canonical is not None:
                best, best_weight = canonical, weight
    return best


def canonical_tag(tag: str) -> str | None:
    """Return the language *tag* in the casing of RFC 5646 section 2.1.1 (``zh-Hant-TW``), or None if it is invalid."""
    if not _TAG.fullmatch(tag):
        return None
    language, *subtags = tag.lower().split("-")
    cased = [language]
    after_singleton = False
    for subtag in subtags:
        if after_singleton:
            cased.append(subtag)
        elif len(subtag) == 2:
            cased.append(subtag.upper())
        elif len(subtag) == 4 and subtag.isalpha():
            cased.append(subtag.title())
        else:
            # Everything after a singleton belongs to its extension, where case has no meaning.
            after_singleton = len(subtag) == 1
            cased.append(subtag)
    return "-".join(cased)
