"""Anonymous ids: a daily hash without cookies, or a signed first-party cookie; and which values are no ids."""

import base64
import hmac
import re
import secrets
from hashlib import blake2b
from typing import Final

COOKIELESS_PREFIX: Final = "cl_"
"""Prefix of the anonymous ids of cookieless visitors. People behind one address with the same browser share such an
id; it lasts for a day and is never merged into a user."""

COOKIE_MAX_AGE: Final = 365 * 24 * 3600
"""Seconds that a visitor cookie lasts."""

COOKIE_LENGTH: Final = 65
"""Characters of a visitor cookie's value."""

_DIGEST = 15  # bytes: 120 bits, 20 characters without padding
_COOKIE = re.compile(r"([0-9a-f]{32})\.([0-9a-f]{32})")
# RFC 6265 section 4.1.1: a name is a token.
_COOKIE_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")

_NO_IDENTITY = frozenset({"", "null", "undefined", "anonymous", "none"})
_ZERO_UUID = re.compile(r"0{8}-?0{4}-?0{4}-?0{4}-?0{12}")


def cookieless_id(salt: bytes, ip: str | None, user_agent: str | None, site: str | None) -> str:
    """Return the anonymous id, 23 characters, of *ip*, *user_agent* and *site* under *salt*.

    It is a BLAKE2b hash keyed with *salt* (RFC 7693). Once a random salt is destroyed after its day, nobody, not even
    the site, can tell which address an id stood for.

    Raises ValueError if *salt* has fewer than 16 or more than 64 bytes.
    """
    if not 16 <= len(salt) <= 64:
        raise ValueError(f"a salt has 16 to 64 bytes, not {len(salt)}")
    digest = blake2b(key=salt, digest_size=_DIGEST)
    for part in (ip, user_agent, site):
        data = (part or "").encode("utf-8", "surrogatepass")
        # The length prefix makes the boundaries unambiguous: text can't move from one part to the next.
        digest.update(len(data).to_bytes(8, "big") + data)
    return COOKIELESS_PREFIX + base64.urlsafe_b64encode(digest.digest()).decode()


def is_cookieless(anon_id: str | None) -> bool:
    """Whether *anon_id* is a cookieless visitor's, good for one day and never to be merged into a user."""
    return anon_id is not None and anon_id.startswith(COOKIELESS_PREFIX)


def issue(secret: bytes) -> tuple[str, str]:
    """Return a new random visitor id (32 hexadecimal digits) and the cookie value that carries it.

    The value is the id, a dot and 128 bits of an HMAC-SHA256 under *secret*, so that nobody can take another
    visitor's history by guessing or choosing an id.
    """
    visitor_id = secrets.token_hex(16)
    return visitor_id, f"{visitor_id}.{_sign(secret, visitor_id)}"


def read(secret: bytes, value: str | None) -> str | None:
    """Return the visitor id in a cookie *value* that `issue` made under the same *secret*, else None."""
    match = _COOKIE.fullmatch(value) if value else None
    if match is None:
        return None
    return match[1] if hmac.compare_digest(match[2], _sign(secret, match[1])) else None


def _sign(secret: bytes, visitor_id: str) -> str:
    # The label makes a signature made here invalid for anything else signed with the site's secret.
    return hmac.digest(secret, b"analytics-middleware visitor 1:" + visitor_id.encode(), "sha256").hex()[:32]


def set_cookie_header(name: str, value: str, *, secure: bool) -> str:
    """Return the value of a Set-Cookie header (RFC 6265) for a visitor cookie: HttpOnly, SameSite=Lax, one year.

    *secure* is False only for sites served without TLS.
    """
    header = f"{name}={value}; Max-Age={COOKIE_MAX_AGE}; Path=/; HttpOnly; SameSite=Lax"
    return f"{header}; Secure" if secure else header


def clear_cookie_header(name: str, *, secure: bool) -> str:
    """Return the value of a Set-Cookie header that deletes the visitor cookie *name*."""
    header = f"{name}=; Max-Age=0; Path=/; HttpOnly; SameSite=Lax"
    return f"{header}; Secure" if secure else header


def is_cookie_name(name: str) -> bool:
    """Whether a cookie can be called *name* (RFC 6265 section 4.1.1)."""
    return bool(_COOKIE_NAME.fullmatch(name))


def is_identity(text: str | None) -> bool:
    """Whether *text* identifies anybody: not empty, null, undefined, anonymous, none or an all-zero UUID.

    Clients send those when they have no user, in any case and with spaces around.
    """
    if text is None:
        return False
    folded = text.strip().lower() if len(text) <= 64 else text.strip()
    return folded not in _NO_IDENTITY and not _ZERO_UUID.fullmatch(folded.strip("{}"))
