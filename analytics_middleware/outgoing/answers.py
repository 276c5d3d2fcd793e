"""What a status means for a batch, by RFC 9110 and the conventions of ingestion services."""

import re
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Final

from analytics_middleware.errors import DeliveryError
from analytics_middleware.outgoing.transport import Answer

_EXCERPT: Final = 200
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_TEMPORARY: Final = frozenset({408, 409, 421, 423, 425, 429})
# A wrong key, a disabled source, a URL that moved: a problem of the destination, not of these events. They wait until
# somebody fixes it; if it were permanent, a mistyped key would turn all events into dead letters.
_SETTINGS: Final = {
    401: "check its key",
    402: "its account is not paid up",
    403: "it is forbidden; check its key",
    404: "check its URL; the source may be disabled",
    405: "check its URL",
    407: "the proxy asks for credentials",
    410: "it is gone for good",
}


def retry_after(answer: Answer, now: float | None = None) -> float | None:
    """Return the seconds that Retry-After asks for (RFC 9110 section 10.2.3), None if it is missing or unreadable.

    Some services send fractions of a second. A date in the past means 0.
    """
    text = answer.headers.get("retry-after", "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    if len(text) > 40 or "," not in text:
        return None
    try:
        then = parsedate_to_datetime(text).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return max(0.0, then - (time.time() if now is None else now))


def excerpt(answer: Answer, masked: Callable[[str], str] = str) -> str:
    """Return the beginning of an answer's text, *masked*, fit for a log line."""
    # Cut after masking: half of a secret would not be recognized.
    text = masked(answer.body.decode("utf-8", "replace"))[:_EXCERPT]
    # Untrusted text: remove line breaks and terminal control sequences.
    return "".join(char if char.isprintable() else " " for char in text).strip()


def error_for(answer: Answer, where: str, masked: Callable[[str], str] = str) -> DeliveryError | None:
    """Return the error that *answer* from *where* means, None if the batch was accepted. Its text is quoted *masked*.

    2xx is accepted; 413 is too large. Temporary: 408, 409, 421, 423, 425, 429 and 5xx. These also wait, until somebody
    changes the settings: 3xx (redirects are not followed, because body and keys are meant for the configured URL), and
    the 4xx that concern the destination's settings. Any other 4xx refuses the content permanently.
    """
    status = answer.status
    if 200 <= status < 300:
        return None
    text = f"{where} answered {status}"
    if said := excerpt(answer, masked):
        text += f": {said}"
    if status == 413:
        return DeliveryError(text, too_large=True)
    if 300 <= status < 400:
        return DeliveryError(f"{where} answered {status}: redirects are not followed, check its URL")
    if advice := _SETTINGS.get(status):
        return DeliveryError(f"{text} ({advice})", retry_after=retry_after(answer))
    if 400 <= status < 500 and status not in _TEMPORARY:
        return DeliveryError(text, permanent=True)
    return DeliveryError(text, retry_after=retry_after(answer))
