"""Events to an endpoint of your own, signed according to Standard Webhooks."""

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Unpack

from analytics_middleware.collectors.http import GZIP_FROM, HTTPCollector, HTTPOptions, compressed
from analytics_middleware.errors import ConfigurationError
from analytics_middleware.event import Event
from analytics_middleware.outgoing.secret import Secret

_PREFIX: Final = "whsec_"
_SIGNING: Final = ("webhook-id", "webhook-signature", "webhook-timestamp")


class WebhookCollector(HTTPCollector):
    """Posts events as a JSON array to *url*, an https endpoint of your own.

    **Sent:** the whole event as `Event.encode` writes it, user and anonymous id included; the client's address only
    with ``client_ip=True``. **Signed** with *secret* according to Standard Webhooks 1.0 (standardwebhooks.com): the
    header ``webhook-id`` stays the same when the same events are sent again, ``webhook-timestamp`` is the time of the
    attempt, and ``webhook-signature`` signs both with the body exactly as sent (compressed, if it is). To change the
    secret, give several, the new one first: each request is then signed with all of them. A secret is ``whsec_`` and 24
    to 64 random bytes in Base64.

    Delivery is at least once; recognise duplicates by ``event_id``. Answer 2xx within the time-out; redirects are not
    followed. *headers* are added to each request and treated as secrets. ``gzip=True`` compresses, which the receiver
    must support. The other options are those of `HTTPCollector`.
    """

    name = "webhook"
    third_party = False
    dedupes = True
    bots = True
    url_option = "url"

    def __init__(
        self,
        url: str,
        *,
        secret: str | Secret | Sequence[str | Secret] | None = None,
        headers: Mapping[str, str] | None = None,
        gzip: bool = False,
        client_ip: bool = False,
        max_batch: int = 100,
        max_bytes: int = 256_000,
        clock: Callable[[], float] = time.time,
        **options: Unpack[HTTPOptions],
    ) -> None:
        super().__init__(base_url=url, **options)
        if client_ip:
            self.needs = ("client_ip",)
        self.max_batch = max_batch
        self.max_bytes = max_bytes
        self._gzip = gzip
        self._clock = clock
        secrets = [secret] if isinstance(secret, (str, Secret)) else list(secret or ())
        self._keys = [self._key(self.secret("secret", each)) for each in secrets]
        self._headers = self.secret_headers(headers, reserved=_SIGNING)

    def send(self, events: Sequence[Event]) -> None:
        """Post *events* in one request."""
        # The id depends on the events alone, so a receiver that has seen it has seen these events.
        ids = "\n".join(event.event_id for event in events)
        body = b"[" + b",".join(self._encoded(event) for event in events) + b"]"
        self.post_signed(f"evt_{hashlib.sha256(ids.encode()).hexdigest()[:32]}", body)

    def post_signed(self, message_id: str, body: bytes) -> None:
        """Post *body*, which is JSON, signed. Use the same *message_id* to send it again. Raises `DeliveryError`."""
        headers: dict[str, str | Secret] = dict(self._headers)
        if self._gzip and len(body) >= GZIP_FROM:
            body = compressed(body)
            headers["Content-Encoding"] = "gzip"
        timestamp = str(int(self._clock()))
        headers["webhook-id"] = message_id
        headers["webhook-timestamp"] = timestamp
        if self._keys:
            signed = f"{message_id}.{timestamp}.".encode() + body
            headers["webhook-signature"] = " ".join(_signature(key, signed) for key in self._keys)
        self.post("", body, headers=headers)

    def _encoded(self, event: Event) -> bytes:
        properties = self.properties_of(event)
        return (event if properties is event.properties else event.replace(properties=properties)).encode()

    def _key(self, secret: Secret) -> Secret:
        try:
            size = len(base64.b64decode(secret.reveal().removeprefix(_PREFIX), validate=True))
        except binascii.Error:
            size = 0
        if not 24 <= size <= 64:
            raise ConfigurationError(
                "WebhookCollector: secret must be 'whsec_' and the Base64 of 24 to 64 random bytes, such as "
                "'whsec_' + base64.b64encode(secrets.token_bytes(32)).decode()"
            )
        return secret


def _signature(key: Secret, signed: bytes) -> str:
    digest = hmac.digest(base64.b64decode(key.reveal().removeprefix(_PREFIX)), signed, "sha256")
    return f"v1,{base64.b64encode(digest).decode()}"
