"""Who makes a request, and what they may do: read figures, change what is saved, send events about others.

Nobody may read unless one of these lets them: a key in ``Authorization: Bearer``, the `authorize` setting, the
framework's staff, or, on a site that has none of these, the login URL in the server's log.
"""

import enum
import hmac
import inspect
from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync

from analytics_middleware.analytics import Analytics
from analytics_middleware.counters import logger
from analytics_middleware.outgoing.secret import Secret
from analytics_middleware.properties import clean_name, identifier
from analytics_middleware.web.http import Framework, Refusal, WebRequest
from analytics_middleware.web.login import Login
from analytics_middleware.web.origins import Origins
from analytics_middleware.web.rates import RateLimit
from analytics_middleware.web.signing import Signer


class Caller(enum.Enum):
    """Who makes a request, as far as is known."""

    STRANGER = "stranger"
    """Anybody, in any browser."""
    READER = "reader"
    """Somebody who may read, in a browser."""
    SERVER = "server"
    """A program with a key. Its address and user agent say nothing about the users whose events it sends."""


class Access:
    """The rules of one `Analytics`, shared by its API and its pages; see `access_of`."""

    def __init__(self, analytics: Analytics, framework: Framework, entrance: str) -> None:
        settings = analytics.settings
        self._settings = settings
        self._analytics = analytics
        self.framework = framework
        self.origins = Origins(settings.allowed_origins)
        self.address = analytics.client_ip
        self._rates = RateLimit(settings.api_rate_limit)
        self.signer = Signer(self._secret, settings.data_dir)
        self.login = Login(self.signer, settings.data_dir)
        self.entrance = entrance
        """The path that the login URL begins with: the dashboard's if there is one, else the API's."""

    @property
    def by_login(self) -> bool:
        """Whether the login URL lets people in: only on a site that has set up no other way."""
        settings = self._settings
        return settings.authorize is None and settings.read_token is None and not self.framework.has_staff

    def caller(self, request: WebRequest) -> Caller:
        """Return who makes *request*. Raises `Refusal` for a wrong key and for too many requests."""
        token = _bearer(request)
        if token is not None and any(
            _same(token, key) for key in (self._settings.read_token, self._settings.secret_key)
        ):
            return Caller.SERVER
        if self._may_read(request):
            return Caller.READER
        self.limit(request)
        if token is not None:
            raise Refusal(401, "token", "the token in the Authorization header is not accepted", headers=_CHALLENGE)
        return Caller.STRANGER

    def check_reader(self, request: WebRequest) -> Caller:
        """Return who makes *request*. Raises `Refusal` unless they may read."""
        self.origins.check(request.facts, navigation=True)
        caller = self.caller(request)
        if caller is Caller.STRANGER:
            hint = "open the login URL in the server's log" if self.by_login else "sign in, or send a token"
            raise Refusal(401, "unauthorized", f"this is for authorised readers only: {hint}", headers=_CHALLENGE)
        return caller

    def may_change(self, request: WebRequest, caller: Caller) -> bool:
        """Return whether *caller*, who makes *request*, may save, share and erase.

        The read token may not. Nor may people whom `authorize` lets read: that setting is about reading only.
        """
        if caller is Caller.SERVER:
            return _same(_bearer(request) or "", self._settings.secret_key)
        hook = self._settings.authorize_changes
        if caller is Caller.STRANGER or hook is None:
            return caller is Caller.READER and self._settings.authorize is None
        return bool(self._ask("authorize_changes", hook, request))

    def check_changer(self, request: WebRequest) -> None:
        """Raise `Refusal` unless whoever makes *request* may save, share and erase.

        A change must come from a page of this site. Links on other sites may lead to a form that is only shown (GET).
        """
        caller = self.caller(request)
        if caller is Caller.STRANGER:
            raise Refusal(401, "unauthorized", "this is for authorised readers only: sign in", headers=_CHALLENGE)
        if not self.may_change(request, caller):
            raise Refusal(403, "read_only", "you may only read here: see the setting authorize_changes")
        if caller is Caller.READER:
            if request.facts.method in ("GET", "HEAD"):
                self.origins.check(request.facts, navigation=True)
            else:
                self.origins.check_own(request.facts)

    def check_writer(self, request: WebRequest, write_key: str | None) -> Caller:
        """Return who makes *request*, sent with *write_key*. Raises `Refusal` unless they may send events."""
        caller = self.caller(request)
        if caller is Caller.SERVER:
            # No check of the origin: pages of other sites do not know the key.
            return caller
        self.origins.check(request.facts)
        expected = self._settings.write_key
        if caller is Caller.STRANGER and expected is not None and not _same(write_key or "", Secret(expected)):
            raise Refusal(401, "write_key", "the write key is missing or wrong", "key")
        return caller

    def is_host(self, request: WebRequest) -> bool:
        """Return whether *request* has the secret key, as those of the site's other hosts do."""
        return _same(_bearer(request) or "", self._settings.secret_key)

    def check_host(self, request: WebRequest) -> None:
        """Raise `Refusal` unless *request* comes from another host of the site."""
        if not self.is_host(request):
            self.limit(request)
            raise Refusal(401, "token", "this takes the secret key in the Authorization header", headers=_CHALLENGE)

    def user_id(self, request: WebRequest) -> str | None:
        """Return the id of the user who is signed in to the application, if anybody is."""
        get_user_id = self._settings.get_user_id or self.framework.user_id
        user_id: str | None = self._ask("get_user_id", lambda native: identifier(get_user_id(native)), request)
        return None if user_id is None else clean_name(user_id) or None

    def sign_in_url(self, request: WebRequest) -> str | None:
        """Return the address where whoever makes *request* signs in and comes back from, if the framework has one."""
        if self._settings.authorize is not None or not self.framework.has_staff or request.facts.method != "GET":
            return None
        url: str | None = self._ask("sign_in_url", self.framework.sign_in_url, request)
        return url

    def login_path(self, mount: str) -> str:
        """Return a new login URL's path and query, for an application mounted at *mount*."""
        return f"{mount}/login?token={self.login.token()}"

    def sign_in(self, request: WebRequest, token: str) -> tuple[str, str]:
        """Return the header that sets the cookie for the *token* of a login URL; raise `Refusal` if it is not valid."""
        # Programs that preview links send HEAD requests, which must not use up the token.
        usable = self.by_login and request.facts.method == "GET"
        cookie = self.login.exchange(token) if usable else None
        if cookie is None:
            raise Refusal(401, "token", "this login URL was used already, has expired, or is wrong", "token")
        return self.login.set_cookie(cookie, request.facts)

    def announce(self) -> None:
        """Log a login URL, once per start of the server and day, if it is the way in.

        Only its path: anybody can send any Host header.
        """
        if self.by_login and self.login.is_first_to_announce():
            logger.warning(
                "analytics: reading is closed; to sign in, open %s on this site (it works once, for a day). "
                "The settings authorize and read_token let others read.",
                self.login_path(self.entrance),
            )

    def limit(self, request: WebRequest) -> None:
        """Raise `Refusal` when the address that *request* comes from has sent too many."""
        address = self.address(request.facts)
        wait = self._rates.take(address)
        if wait:
            self._analytics.counters.add("rate_limited")
            self._analytics.counters.log(
                "rate",
                logger.warning,
                "analytics: %s is over api_rate_limit; if that is your proxy, name it in trusted_proxies",
                address,
            )
            seconds = str(int(wait) + 1)
            raise Refusal(429, "rate_limit", "too many requests", headers=[("retry-after", seconds)])

    def _may_read(self, request: WebRequest) -> bool:
        if self._settings.authorize is not None:
            return bool(self._ask("authorize", self._settings.authorize, request))
        if self.framework.has_staff:
            return bool(self._ask("is_staff", self.framework.is_staff, request))
        return self.by_login and self.login.valid(request.facts)

    def _ask(self, name: str, hook: Callable[[Any], Any], request: WebRequest) -> Any:
        """Return what *hook*, of the application or the framework, answers about *request*; None when it raises."""
        try:
            answer = hook(request.native)
            if inspect.isawaitable(answer):
                answer = async_to_sync(_awaited)(answer)
        except Exception:  # noqa: BLE001 - the application's code; if it fails, nobody gets in
            self._analytics.counters.log(f"hook.{name}", logger.warning, "analytics: %s raised", name, exc_info=True)
            return None
        return answer

    def _secret(self) -> bytes | None:
        key = self._settings.secret_key
        return self.framework.secret() if key is None else key.reveal().encode()


_CHALLENGE = [("www-authenticate", 'Bearer realm="analytics"')]  # RFC 6750 section 3


def access_of(analytics: Analytics, framework: Framework | None = None, entrance: str | None = None) -> Access:
    """Return the one `Access` of *analytics*: whoever signs in to the API is signed in to the pages, too.

    If given, *framework* is asked from now on who users are, and the login URL begins with *entrance*.
    """

    def make() -> Access:
        access = Access(analytics, framework or Framework(), entrance or analytics.settings.api_path)
        analytics.at_start(access.announce)
        return access

    access = analytics.parts.get(Access, make)
    access.framework = framework or access.framework
    access.entrance = entrance or access.entrance
    return access


def _bearer(request: WebRequest) -> str | None:
    # RFC 6750 section 2.1; the scheme's case does not matter (RFC 9110 section 11.1).
    scheme, _, token = (request.facts.header("authorization") or "").strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _same(token: str, key: Secret | None) -> bool:
    # compare_digest raises for text that is not ASCII.
    return key is not None and hmac.compare_digest(token.encode("utf-8", "replace"), key.reveal().encode())


async def _awaited(answer: Any) -> Any:
    return await answer
