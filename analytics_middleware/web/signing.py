"""Signed tokens that expire, and that every process with the same secret can check."""

import base64
import hmac
import os
import re
import secrets
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

NONCE: Final = 12
"""Random bytes in a token."""
_SIGNATURE: Final = 16
_LENGTH: Final = 4 + NONCE + _SIGNATURE
# Base64 for URLs (RFC 4648 section 5) without padding.
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{-(-_LENGTH * 4 // 3)}}}")


class Signer:
    """Makes tokens, each for one purpose.

    *secret* returns the site's secret, if it has one. If not, a secret is kept in *directory* for all processes.
    Without a directory, or if it can't be used, each process has its own secret, and its tokens are valid only there.
    """

    def __init__(
        self, secret: Callable[[], bytes | None], directory: Path | None, clock: Callable[[], float] = time.time
    ) -> None:
        self._secret = secret
        self._directory = directory
        self.clock = clock
        self._own = secrets.token_bytes(32)

    def token(self, purpose: bytes, until: float, nonce: str | None = None) -> str:
        """Return a token for *purpose*, valid until then (seconds since the epoch), with *nonce* or a random one."""
        body = struct.pack(">I", int(until)) + (secrets.token_bytes(NONCE) if nonce is None else bytes.fromhex(nonce))
        return base64.urlsafe_b64encode(body + self._sign(purpose, body)).rstrip(b"=").decode()

    def nonce(self, purpose: bytes, text: str) -> str | None:
        """Return the nonce (hex) of the token *text* if it was made for *purpose* and has not expired, else None."""
        if not _TOKEN.fullmatch(text):
            return None
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        # The last character has unused bits: of the spellings they allow, only one is accepted.
        if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != text:
            return None
        body, signature = data[:-_SIGNATURE], data[-_SIGNATURE:]
        if not hmac.compare_digest(signature, self._sign(purpose, body)):
            return None
        (expires,) = struct.unpack(">I", body[:4])
        return body[4:].hex() if expires > self.clock() else None

    def _sign(self, purpose: bytes, body: bytes) -> bytes:
        # The label: a signature made here must be valid for nothing else that is signed with the site's secret.
        key = self._secret() or self._shared() or self._own
        return hmac.digest(key, b"analytics-middleware token 1 " + purpose + b":" + body, "sha256")[:_SIGNATURE]

    def _shared(self) -> bytes | None:
        if self._directory is None:
            return None
        try:
            return self._kept(self._directory)
        except OSError:
            # That the directory can't be written is said where events are written.
            return None

    def _kept(self, directory: Path) -> bytes:
        path = directory / "login.key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            directory.mkdir(parents=True, exist_ok=True)
        # Written under another name first: another process must not read half a key.
        draft = directory / f"login.key.{os.getpid()}.{secrets.token_hex(4)}"
        draft.touch(mode=0o600)
        try:
            draft.write_bytes(self._own)
            # Unlike renaming, linking does not replace the key of a process that was faster.
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink()
        return path.read_bytes()
