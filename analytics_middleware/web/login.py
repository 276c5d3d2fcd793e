"""The way in for a site that has set up no other: a login URL in the server's log, as Jupyter has it, for one use.

Whoever can read the log may read the figures. The URL's token is exchanged for a cookie that is signed, HttpOnly and
SameSite=Strict (draft-ietf-httpbis-rfc6265bis section 5.6.7), so no other site's page can use it.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

from analytics_middleware.request import Request
from analytics_middleware.web.signing import Signer

COOKIE: Final = "analytics_login"
TOKEN_SECONDS: Final = 24 * 3600
COOKIE_SECONDS: Final = 7 * 24 * 3600


class Login:
    """Makes and checks tokens and cookies, which are valid in every process whose *signer* has the same secret.

    A token can be used once in all processes that share *directory*; without one that can be written, once in each.
    """

    def __init__(self, signer: Signer, directory: Path | None) -> None:
        self._signer = signer
        self._directory = directory
        self._spent: dict[str, float] = {}

    def token(self) -> str:
        """Return a new token for a login URL."""
        return self._signer.token(b"token", self._signer.clock() + TOKEN_SECONDS)

    def is_first_to_announce(self) -> bool:
        """Return whether no process of this server, since it was started, was told so within a day.

        Workers come and go: a server that replaces them must not fill its log with login URLs.
        """
        return self._spend(f"announced-{_server()}")

    def exchange(self, token: str) -> str | None:
        """Use *token* up and return the cookie's value for it; None if the token is not valid."""
        nonce = self._signer.nonce(b"token", token)
        if nonce is None or not self._spend(nonce):
            return None
        return self._signer.token(b"cookie", self._signer.clock() + COOKIE_SECONDS)

    def valid(self, request: Request) -> bool:
        """Return whether *request* has a valid cookie that `exchange` made."""
        value = request.cookie(COOKIE)
        return value is not None and self._signer.nonce(b"cookie", value) is not None

    def set_cookie(self, value: str, request: Request) -> tuple[str, str]:
        """Return the header that sets the cookie."""
        # Over http browsers would not keep such a cookie. Behind a proxy with TLS the scheme may be http, too.
        secure = "; Secure" if request.scheme == "https" else ""
        cookie = f"{COOKIE}={value}; Max-Age={COOKIE_SECONDS}; Path=/; HttpOnly; SameSite=Strict{secure}"
        return ("set-cookie", cookie)

    def _spend(self, nonce: str) -> bool:
        """Return whether nobody has spent *nonce* within a day, and spend it."""
        now = self._signer.clock()
        if self._directory is not None:
            with suppress(OSError):
                return _spend_file(self._directory / "logins", nonce, now)
        self._spent = {each: at for each, at in self._spent.items() if at > now - TOKEN_SECONDS}
        return self._spent.setdefault(nonce, now) is now


def _spend_file(spent: Path, nonce: str, now: float) -> bool:
    """Return whether *nonce* has no file in the directory *spent* yet, and make one. Raises `OSError`."""
    spent.mkdir(parents=True, exist_ok=True)
    for old in spent.iterdir():
        with suppress(FileNotFoundError):
            if old.stat().st_mtime < now - TOKEN_SECONDS:
                old.unlink()
    try:
        # Only one process can create the file.
        (spent / nonce).touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        return False
    return True


def _server() -> str:
    """Return what this server's processes have in common, and other servers and other starts of this one do not.

    It is the process group, which workers inherit. Where the system tells it, the time at which the group's first
    process was started is part of it, because process ids come again, in a container each time.
    """
    group = os.getpgrp()
    started = ""
    with suppress(OSError):
        # Field 22 (proc_pid_stat(5)), counted from the end of the second, which may contain anything.
        started = Path(f"/proc/{group}/stat").read_text(errors="replace").rpartition(")")[2].split()[19]
    return f"{group}-{started}"
