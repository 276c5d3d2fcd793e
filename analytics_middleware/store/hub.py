"""A store elsewhere: this host's events go to one instance, the hub, that holds store, salts and pages for several."""

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
"""Seconds for which history is offered to a hub that is down or has no room."""
_SALT_WAIT: Final = 3.0
"""Seconds that the writer thread waits for a salt: requests gather behind it."""


class Taken(msgspec.Struct):
    """How the hub answers to records: how many it has on disk."""

    accepted: int


class SharedSalt(msgspec.Struct):
    """How it answers to the question for a day's salt."""

    day: date
    salt: str
    """In Base64."""
    timezone: str
    """Where that day is; visitors are the same only on hosts whose days are."""


_taken = msgspec.json.Decoder(Taken).decode
_salt = msgspec.json.Decoder(SharedSalt).decode


class HubStore(IdentifyingCollector):
    """Sends what the log holds for the store to the REST API at *url*, which is the hub's.

    *key* is the hub's `secret_key`. *allow_http* permits http to other hosts than this one; key and events then travel
    in the clear. *timeout*, *connect_timeout*, *proxy* and *ca_file* are those of `HTTPCollector`. *max_bytes* of a
    request must not be more than the 2 MB that a hub takes; an event that is larger travels alone.

    It is served as a collector is: batches, retries, dead letters. The hub counts an event once however often it
    comes, so what may have arrived is sent again. Raises `ConfigurationError` for an option that is wrong.
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
        """Where the hub's API is; safe to print."""
        return self.endpoint.origin + self.endpoint.path

    def take_erase(self, record: Erase) -> None:
        """Keep *record* for the next `flush`."""
        batch: list[Any] = self._batch
        batch.append(record)

    def send(self, events: Sequence[Any]) -> None:
        """Deliver records: events, and identities and erasures among them."""
        parts = [(record, _encoded(record)) for record in events]
        self.send_parts(parts, self.max_batch, self.max_bytes, self._post_records, _ENVELOPE)

    def apply(self, records: Sequence[Record]) -> None:
        """Deliver *records* that are in no log, such as history, and wait for the hub as long as it seems worth it.

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
        """Return the salt that all hosts have on *day*; None, counted by the caller, when it can't be had soon."""
        found: list[bytes] = []
        # In a thread: resolving the hub's name may take longer than anybody should wait.
        thread = threading.Thread(target=lambda: found.extend(self._ask_salt(day)), name="analytics-salt", daemon=True)
        thread.start()
        thread.join(_SALT_WAIT)
        return found[0] if found else None

    def check(self) -> str:
        """Send nothing, to see whether the hub would take it; return its time zone. Raises `DeliveryError`."""
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
            # A proxy's page, say: whatever it is, nothing is safe there.
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
