"""A remote store: this host sends its events to the hub, which provides store, salts and pages for several hosts."""

import base64
import binascii
import threading
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

import msgspec

from analytics_middleware.collectors.http import IdentifyingCollector, encode
from analytics_middleware.errors import ConfigurationError, DeliveryError
from analytics_middleware.event import Erase, Record
from analytics_middleware.outbox.base import STORE
from analytics_middleware.outbox.records import draft_of
from analytics_middleware.outgoing.answers import excerpt
from analytics_middleware.outgoing.secret import Secret
from analytics_middleware.outgoing.transport import Answer

RECORDS: Final = "/records"
SALTS: Final = "/salts"

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_ENVELOPE: Final = len('{"records":[]}')
_PATIENCE: Final = 120.0
"""Seconds to keep trying to send history to a hub that is down or full."""
_SALT_WAIT: Final = 3.0
"""Seconds that the writer thread waits for a salt; requests queue up meanwhile."""


class Taken(msgspec.Struct):
    """The hub's answer to records: how many it has on disk."""

    accepted: int


class SharedSalt(msgspec.Struct):
    """The hub's answer to a request for a day's salt."""

    day: date
    salt: str
    """In Base64."""
    timezone: str
    """The zone of that day. Hosts recognize the same visitors only if they agree on days."""


_taken = msgspec.json.Decoder(Taken).decode
_salt = msgspec.json.Decoder(SharedSalt).decode


class HubStore(IdentifyingCollector):
    """Sends all records for the store to the hub's REST API at *url*.

    *key* is the hub's `secret_key`. *allow_http* permits http to other hosts than this one; key and events then travel
    unencrypted. *timeout*, *connect_timeout*, *proxy* and *ca_file* are those of `HTTPCollector`. *max_bytes* limits
    a request; a hub takes at most 2 MB. A larger event is sent alone.

    Works like a collector, with batches, retries and dead letters. The hub counts an event once however often it
    arrives, so when delivery is uncertain it is sent again. Raises `ConfigurationError` for a wrong option.
    """

    name = STORE
    third_party = False
    dedupes = True
    bots = True
    url_option = "store"
    max_batch = 500

    def __init__(
        self,
        url: str,
        key: str | Secret | None,
        *,
        allow_http: bool = False,
        timeout: float = 15.0,
        connect_timeout: float = 5.0,
        proxy: str | None = None,
        ca_file: str | None = None,
        max_bytes: int = 64_000,
    ) -> None:
        super().__init__(
            base_url=url.rstrip("/"),
            timeout=timeout,
            connect_timeout=connect_timeout,
            allow_http=True,
            allow_private=True,
            proxy=proxy,
            ca_file=ca_file,
        )
        if self.endpoint.scheme == "http" and not allow_http and self.endpoint.host not in _LOOPBACK:
            raise ConfigurationError(
                f"store ({self.endpoint.host}) must use https: its key would travel in the clear otherwise; in a "
                "network of your own HubStore(url, key, allow_http=True) permits it"
            )
        if self.endpoint.query:
            raise ConfigurationError(f"store ({self.endpoint.host}) must have no query; the key is store_key")
        if key is None:
            raise ConfigurationError("store is a hub's URL, which needs its secret_key: set store_key to it")
        self.max_bytes = max_bytes
        self._authorization = self.secret("store_key", key)

    @property
    def url(self) -> str:
        """The URL of the hub's API; safe to print."""
        return self.endpoint.origin + self.endpoint.path

    def take_erase(self, record: Erase) -> None:
        """Keep *record* for the next `flush`."""
        batch: list[Any] = self._batch
        batch.append(record)

    def send(self, events: Sequence[Any]) -> None:
        """Deliver *events*, which may include identifies and erasures."""
        parts = [(record, _encoded(record)) for record in events]
        self.send_parts(parts, self.max_batch, self.max_bytes, self._post_records, _ENVELOPE)

    def apply(self, records: Sequence[Record]) -> None:
        """Deliver *records* that are in no log, such as history; retry for a while if the hub is unavailable.

        Raises `DeliveryError`.
        """
        deadline = time.monotonic() + _PATIENCE
        while True:
            try:
                self.send(records)
            except DeliveryError as error:
                if error.permanent or error.rejected or time.monotonic() > deadline:
                    raise
                time.sleep(max(1.0, error.retry_after or 0.0))
            else:
                return

    def salt(self, day: date) -> bytes | None:
        """Return the salt that all hosts use on *day*, or None if the hub doesn't provide it in time.

        The caller counts failures.
        """
        found: list[bytes] = []
        # In a thread: resolving the hub's name may take longer than the time-out.
        thread = threading.Thread(target=lambda: found.extend(self._ask_salt(day)), name="analytics-salt", daemon=True)
        thread.start()
        thread.join(_SALT_WAIT)
        return found[0] if found else None

    def check(self) -> str:
        """Check without sending records whether the hub would accept them; return its time zone.

        Raises `DeliveryError`.
        """
        self._post_records([], [])
        answer = self._post_json(SALTS, encode({"day": datetime.now(UTC).date()}))
        try:
            return _salt(answer.body).timezone
        except msgspec.MsgspecError:
            raise DeliveryError(f"{self.endpoint.origin} gives no salt as a hub does: {answer.status}") from None

    def _post_records(self, parts: Sequence[bytes], records: Sequence[Any]) -> None:
        answer = self._post_json(RECORDS, b'{"records":[' + b",".join(parts) + b"]}")
        try:
            accepted = _taken(answer.body).accepted
        except msgspec.MsgspecError:
            accepted = None
        if accepted != len(records):
            # A proxy's error page, for example. Whatever it is, the records have not been stored.
            said = excerpt(answer, self._masked)
            raise DeliveryError(f"{self.endpoint.origin} answered {answer.status}, but not as a hub does: {said}")

    def _ask_salt(self, day: date) -> list[bytes]:
        try:
            answer = self._post_json(SALTS, encode({"day": day}))
            given = _salt(answer.body)
            salt = base64.b64decode(given.salt, validate=True)
        except (DeliveryError, msgspec.MsgspecError, binascii.Error):
            return []
        return [salt] if given.day == day and len(salt) >= 16 else []

    def _post_json(self, path: str, body: bytes) -> Answer:
        bearer = Secret(f"Bearer {self._authorization.reveal()}")
        return self.post(path, body, headers={"Authorization": bearer})


def _encoded(record: Record) -> bytes:
    draft = draft_of(record)
    return b'{"kind":"' + draft.kind.encode() + b'","record":' + draft.payload + b"}"
