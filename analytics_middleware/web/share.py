"""Share links: whoever has one can open one page, as it was shared, until the link expires or is revoked.

The token in a link is signed, so nobody can guess or make one. The page that it opens is kept on the shelf, from where
it is removed when the link is revoked. The shelf alone, without the secret, is not enough to make links.
"""

import secrets
from typing import Annotated, Final

import msgspec

from analytics_middleware.analytics import Analytics
from analytics_middleware.outbox.shelf import Shelf
from analytics_middleware.store.filters import Filter, QuestionError
from analytics_middleware.web.access import access_of
from analytics_middleware.web.saved import Name, saved_of
from analytics_middleware.web.signing import NONCE, Signer

MOST: Final = 100
DAYS: Final = 30
"""For how many days a link is valid by default."""
MAX_DAYS: Final = 366

_KIND: Final = "share"
_PURPOSE: Final = b"share"
_PERSONAL: Final = frozenset({"user_id", "anon_id", "session_id", "trace_id", "url", "user_agent"})


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """A link's page, and until when it is valid."""

    id: str
    page: str
    query: Annotated[str, msgspec.Meta(max_length=8000)]
    made: int
    """Seconds since the epoch."""
    until: int
    name: Name | None = None
    """The name that its maker gave it."""


class Shares:
    """The links of one site, the same in every process that has the same shelf and secret."""

    def __init__(self, shelf: Shelf, signer: Signer) -> None:
        self._shelf = shelf
        self._signer = signer

    def make(self, page: str, query: str, days: int = DAYS, name: str | None = None) -> Share:
        """Make a link to *page* with *query*, valid for so many *days*. Raises `QuestionError` if there are too many.

        Expired links are removed first.
        """
        for each in self._all():
            if each.until <= self._signer.clock():
                self.revoke(each.id)
        now = int(self._signer.clock())
        made = Share(
            id=secrets.token_hex(NONCE), page=page, query=query, made=now, until=now + days * 86_400, name=name
        )
        kept = msgspec.convert(msgspec.to_builtins(made), Share)
        if not self._shelf.put(_KIND, made.id, msgspec.json.encode(kept), MOST):
            raise QuestionError("page", f"there are {MOST} links, the most that are kept; revoke one first")
        return made

    def good(self) -> list[Share]:
        """Return the links that are valid now, newest first."""
        now = self._signer.clock()
        return sorted((each for each in self._all() if each.until > now), key=lambda each: (-each.made, each.id))

    def token(self, share: Share) -> str:
        """Return the token that opens *share*."""
        return self._signer.token(_PURPOSE, share.until, share.id)

    def open(self, token: str) -> Share | None:
        """Return what *token* opens; None if it was not made here, has expired, or was revoked."""
        key = self._signer.nonce(_PURPOSE, token)
        value = None if key is None else self._shelf.get(_KIND, key)
        return None if value is None else _read(value)

    def revoke(self, key: str) -> bool:
        """Revoke the link with the id *key*; return whether there was one."""
        return self._shelf.remove(_KIND, key)

    def _all(self) -> list[Share]:
        found = [_read(value) for value in self._shelf.all(_KIND).values()]
        return [each for each in found if each is not None]


def shares_of(analytics: Analytics) -> Shares:
    """Return the links of *analytics*."""
    return Shares(saved_of(analytics).shelf, access_of(analytics).signer)


def check_impersonal(where: tuple[Filter, ...], breakdown: str | None) -> None:
    """Raise `QuestionError` if a page would tell who somebody is: what is shared are figures, not people."""
    for parameter, field in (*(("where", each.field) for each in where), ("breakdown", breakdown or "")):
        if field in _PERSONAL or field.startswith("traits."):
            raise QuestionError(parameter, f"{field!r:.120} would tell who somebody is, and can't be shared")


def _read(value: bytes) -> Share | None:
    try:
        return msgspec.json.decode(value, type=Share)
    except msgspec.MsgspecError:
        # Made by another version.
        return None
