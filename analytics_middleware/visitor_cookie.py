"""The opt-in first-party cookie (``visitor="cookie"``): who gets one, and when it is set, replaced or deleted.

The first response that is a document sets it. Assets, API calls, fragments and prefetches don't, nor does a response
that a shared cache may store, which would give one visitor's id to others (RFC 9111 section 3). Visitors who object
(DNT, Sec-GPC) and those for whom the `consent` hook does not return True get none, and one they have is deleted.
"""

import hmac
import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any, Final

from analytics_middleware.classify import is_answer_to_navigation, is_navigation
from analytics_middleware.counters import Counters, logger
from analytics_middleware.enrich.client_ip import ClientIP
from analytics_middleware.enrich.privacy import opted_out
from analytics_middleware.enrich.visitor import COOKIE_LENGTH, clear_cookie_header, issue, read, set_cookie_header
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.exclusions import Exclusions
from analytics_middleware.outgoing.secret import Secret
from analytics_middleware.request import Request
from analytics_middleware.settings import Settings

_CACHED = 4096
_MIN_KEY = 16
# RFC 9213: directives for caches in front of the site, which outrank Cache-Control there.
_TARGETED: Final = ("cdn-cache-control", "surrogate-control", "cloudflare-cdn-cache-control")
_SHAREABLE = re.compile(r"(?:^|[\s,])(?:public|s-maxage\s*=|max-age\s*=\s*\"?0*[1-9])", re.IGNORECASE)
_UNSHAREABLE = re.compile(r"(?:^|[\s,])(?:private|no-store)(?:$|[\s,;=])", re.IGNORECASE)


class Consent:
    """Asks the `consent` hook. Anything but True means no, and so does an exception."""

    def __init__(self, hook: Callable[[Request], object] | None, counters: Counters) -> None:
        self._hook = hook
        self._counters = counters
        self.asked = hook is not None
        """Whether there is a hook to ask."""

    def given(self, request: Request) -> bool:
        """Whether the visitor who made *request* has consented."""
        if self._hook is None:
            return False
        try:
            return self._hook(request) is True
        except Exception:  # noqa: BLE001 - an error in application code must not lose an event
            self._counters.log("hook.consent", logger.warning, "analytics: consent raised", exc_info=True)
            return False


class VisitorCookie:
    """Reads and issues the cookie. Raises `ConfigurationError` if there is no key to sign it with."""

    def __init__(self, settings: Settings, consent: Consent, exclusions: Exclusions, client_ip: ClientIP) -> None:
        if settings.secret_key is None:
            raise ConfigurationError(
                "analytics setting 'visitor' is 'cookie', which needs a key to sign the cookie with: set 'secret_key', "
                f"or the SECRET_KEY of Django or Flask, of {_MIN_KEY} characters or more, before analytics is set up"
            )
        self._name = settings.cookie_name
        self._secret = settings.secret_key
        self._consent = consent
        self._exclusions = exclusions
        self._client_ip = client_ip
        self._verified = lru_cache(_CACHED)(self._verify)

    def visitor_id(self, request: Request) -> str | None:
        """Return the visitor id in the cookie of *request*, None if it has no cookie that was issued here."""
        value = request.cookie(self._name)
        return None if value is None or len(value) != COOKIE_LENGTH else self._verified(value)

    def new(self, request: Request) -> tuple[str, str] | None:
        """Return a new visitor id and its cookie if *request* asks for a document and its visitor may get one.

        For events that are tracked before the response begins, such as the experiment that a visitor is assigned to
        during the very first page view. None for visitors who have a cookie or may not get one.
        """
        if not is_navigation(request) or not self._may_have_cookie(request) or self.visitor_id(request) is not None:
            return None
        return issue(self._secret.reveal().encode())

    def header(
        self,
        request: Request,
        headers: Iterable[tuple[Any, Any]],
        *,
        signed_out: bool,
        prepared: tuple[str, str] | None,
    ) -> tuple[str | None, str | None]:
        """Return the Set-Cookie header for the response to *request*, and the new visitor's id; each may be None.

        *headers* are the response's, *prepared* is what `new` has returned for it. A visitor who has *signed_out* is a
        new one from the next request on: the cookie is replaced, whether or not the response is a document.
        """
        known = self.visitor_id(request)
        if known is not None and not signed_out and not self._consent.asked and not opted_out(request):
            # The usual case, with nothing else to check.
            return None, None
        replaced = signed_out and known is not None
        if not (replaced or is_answer_to_navigation(request)) or may_be_shared(headers):
            return None, None
        secure = request.scheme == "https" or (request.header("x-forwarded-proto") or "").strip().lower() == "https"
        if self._name.startswith("__") and not secure:
            # Browsers accept cookies with the prefixes __Host- and __Secure- only over TLS.
            return None, None
        if not self._may_have_cookie(request):
            gone = request.cookie(self._name) is not None
            return (clear_cookie_header(self._name, secure=secure) if gone else None), None
        if known is not None and not replaced:
            return None, None
        visitor_id, value = prepared or issue(self._secret.reveal().encode())
        # The request that signs out still belongs to the old visitor.
        return set_cookie_header(self._name, value, secure=secure), None if replaced else visitor_id

    def _verify(self, value: str) -> str | None:
        return read(self._secret.reveal().encode(), value)

    def _may_have_cookie(self, request: Request) -> bool:
        if opted_out(request) or (self._consent.asked and not self._consent.given(request)):
            return False
        exclusions = self._exclusions
        return not (exclusions.path(request.path) or exclusions.visitor(request, self._client_ip(request)))


def may_be_shared(headers: Iterable[tuple[Any, Any]]) -> bool:
    """Whether a shared cache may store a response with these *headers* and serve it to others."""
    directives = ""
    for raw, value in headers:
        name = _text(raw).lower()
        if name in _TARGETED:
            return True
        if name == "cache-control":
            directives += f",{_text(value)}"
    return bool(_SHAREABLE.search(directives)) and not _UNSHAREABLE.search(directives)


def derived_key(key: object) -> Secret | None:
    """Return a `secret_key` derived from a framework's own *key* (str or bytes), None if that is too short.

    It is derived so that signatures made here are valid for nothing else, and the framework's are not valid here.
    """
    data = key.encode() if isinstance(key, str) else key
    if not isinstance(data, bytes) or len(data) < _MIN_KEY:
        return None
    return Secret(hmac.digest(data, b"analytics-middleware secret_key 1", "sha256").hex())


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
