"""CloudEvents 1.0 over HTTP."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Unpack

import msgspec

from analytics_middleware.collectors.http import HTTPCollector, HTTPOptions, encode, missing
from analytics_middleware.collectors.people import iso
from analytics_middleware.event import Event

_MAX_EVENT: Final = 64 * 1024
_MAX_BATCH_BYTES: Final = 900_000


class CloudEventsCollector(HTTPCollector):
    """Sends events as CloudEvents: ``CloudEventsCollector("https://broker.example.com/", source="/shop")``.

    **Sent:** one request per event in structured mode, several at the same time; with ``batched=True`` many events in
    one request, which the receiver must support. ``id`` is the event's id, which together with *source* identifies
    duplicates; ``type`` is *type_prefix* and ``pageview``, ``action`` or ``custom``; ``data`` is the event as
    `Event.encode` writes it. **Personal data that leaves:** what the event holds: user and anonymous id, user agent,
    the address as the privacy setting leaves it (never the raw one); none of it in attributes. **Not sent:** traits.

    **Made to fit:** an event has at most 64 KiB; properties are left out, the last one first. Redirects are not
    followed. *headers* are sent with each request and treated as secrets.
    """

    name = "cloudevents"
    url_option = "url"
    dedupes = True
    concurrency = 8

    def __init__(
        self,
        url: str,
        *,
        source: str,
        type_prefix: str = "analytics",
        batched: bool = False,
        headers: Mapping[str, str] | None = None,
        **options: Unpack[HTTPOptions],
    ) -> None:
        # RFC 3986: a URI reference has no spaces or control characters.
        if not isinstance(source, str) or not re.fullmatch(r"[!-~]{1,256}", source):
            raise missing(self, "source", source, "a URI reference such as '/shop' or 'https://shop.example'")
        if not isinstance(type_prefix, str) or not re.fullmatch(r"[A-Za-z0-9.-]{1,200}", type_prefix):
            raise missing(self, "type_prefix", type_prefix, "a name such as 'com.example.shop'")
        super().__init__(base_url=url, **options)
        self._source = source
        self._type_prefix = type_prefix
        self._batched = batched
        self._headers = self.secret_headers(headers)

    def send(self, events: Sequence[Event]) -> None:
        """Send *events*."""
        parts = [(event, self._encoded(event)) for event in events]
        if self._batched:
            self.send_parts(parts, self.max_batch, _MAX_BATCH_BYTES, self._post_batch, envelope=2)
        else:
            self.send_parts(parts, 1, _MAX_EVENT, self._post_one)

    def _post_one(self, batch: list[bytes], _events: Sequence[Event]) -> None:
        self.post("", batch[0], headers=self._headers, content_type="application/cloudevents+json; charset=utf-8")

    def _post_batch(self, batch: list[bytes], _events: Sequence[Event]) -> None:
        kind = "application/cloudevents-batch+json; charset=utf-8"
        self.post("", b"[" + b",".join(batch) + b"]", headers=self._headers, content_type=kind)

    def _encoded(self, event: Event) -> bytes:
        properties = dict(self.properties_of(event))
        names = list(properties)
        return self.fit.within(_MAX_EVENT, properties, names, lambda: self._cloud_event(event, properties))

    def _cloud_event(self, event: Event, properties: dict[str, Any]) -> bytes:
        return encode(
            {
                "specversion": "1.0",
                "id": event.event_id,
                "source": self._source,
                "type": f"{self._type_prefix}.{event.type.value}",
                "time": iso(event.timestamp),
                "datacontenttype": "application/json",
                "data": msgspec.Raw(event.replace(properties=properties).encode()),
            }
        )
