"""A way in when the site names none: a login URL in the server's log, as Jupyter prints it, good for one use.

Whoever can read the log may read the figures. The URL's token becomes a cookie that is signed, HttpOnly and
SameSite=Strict (draft-ietf-httpbis-rfc6265bis section 5.6.7), so no other site's page can use it.
"""

import base64
import hmac
import os
import secrets
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from analytics_middleware.request import Request

COOKIE: Final = "analytics_login"
TOKEN_SECONDS: Final = 24 * 3600
COOKIE_SECONDS: Final = 7 * 24 * 3600

_NONCE = 12
_SIGNATURE = 16
_LENGTH = 4 + _NONCE + _SIGNATURE


class Login:
    """Makes tokens and cookies, and knows them again: in every process that has the same secret.

    *secret* returns the site's secret, if it has one. Without, one is kept in *directory*, the same for all
    processes; without that, each process has its own, and its logins are good there alone.
    """

    def __init__(
        self, secret: Callable[[], bytes | None], directory: Path | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._directory = directory
        self._clock = clock
        self._own = secrets.token_bytes(32)
        self._spent: dict[str, float] = {}

    def token(self) -> str:
        """Return a new token for a login URL."""
        return self._signed(b"token", TOKEN_SECONDS)

    def exchange(self, token: str) -> str | None:
        """Return the value of the cookie that *token* is good for, and spend it; None when it is good for nothing."""
        nonce = self._nonce(b"token", token)
        if nonce is None or not self._spend(nonce):
            return None
        return self._signed(b"cookie", COOKIE_SECONDS)

    def valid(self, request: Request) -> bool:
        """Return whether *request* has a cookie that `exchange` gave."""
        value = request.cookie(COOKIE)
        return value is not None and self._nonce(b"cookie", value) is not None

    def set_cookie(self, value: str, request: Request) -> tuple[str, str]:
        """Return the header that gives the browser the cookie."""
        # Behind a proxy that speaks TLS the scheme may be http, and then the attribute would lose the cookie.
        secure = "; Secure" if request.scheme == "https" else ""
        cookie = f"{COOKIE}={value}; Max-Age={COOKIE_SECONDS}; Path=/; HttpOnly; SameSite=Strict{secure}"
        return ("set-cookie", cookie)

    def _signed(self, purpose: bytes, seconds: int) -> str:
        body = struct.pack(">I", int(self._clock()) + seconds) + secrets.token_bytes(_NONCE)
        return base64.urlsafe_b64encode(body + self._sign(purpose, body)).rstrip(b"=").decode()

    def _nonce(self, purpose: bytes, text: str) -> str | None:
        """Return the nonce in *text* when it was signed for *purpose* and has not expired."""
        try:
            data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except ValueError:
            return None
        body, signature = data[:-_SIGNATURE], data[-_SIGNATURE:]
        if len(data) != _LENGTH or not hmac.compare_digest(signature, self._sign(purpose, body)):
            return None
        (expires,) = struct.unpack(">I", body[:4])
        return body[4:].hex() if expires > self._clock() else None

    def _sign(self, purpose: bytes, body: bytes) -> bytes:
        # The label keeps a signature made here from being good for anything else signed with the site's secret.
        key = self._secret() or self._shared() or self._own
        return hmac.digest(key, b"analytics-middleware login 1 " + purpose + b":" + body, "sha256")[:_SIGNATURE]

    def _shared(self) -> bytes | None:
        if self._directory is None:
            return None
        path = self._directory / "login.key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            self._directory.mkdir(parents=True, exist_ok=True)
            # Written whole under another name first: another process must not read half a key.
            draft = self._directory / f"login.key.{os.getpid()}.{secrets.token_hex(4)}"
            draft.touch(mode=0o600)
            draft.write_bytes(self._own)
            try:
                # Unlike a rename, a link does not replace the key of a process that was faster.
                os.link(draft, path)
            except FileExistsError:
                pass
            finally:
                draft.unlink()
            return path.read_bytes()

    def _spend(self, nonce: str) -> bool:
        now = self._clock()
        if self._directory is None:
            self._spent = {each: at for each, at in self._spent.items() if at > now - TOKEN_SECONDS}
            return self._spent.setdefault(nonce, now) is now
        spent = self._directory / "logins"
        spent.mkdir(parents=True, exist_ok=True)
        for old in spent.iterdir():
            if old.stat().st_mtime < now - TOKEN_SECONDS:
                old.unlink(missing_ok=True)
        try:
            # One file for each, made by whoever comes first, whichever process that is.
            (spent / nonce).touch(mode=0o600, exist_ok=False)
        except FileExistsError:
            return False
        return True
