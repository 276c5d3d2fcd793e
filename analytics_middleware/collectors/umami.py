"""Umami, through its batch endpoint."""

import uuid
from collections.abc import Sequence
from typing import Any, Final, Unpack

import msgspec

from analytics_middleware.collectors.fitting import user_agent
from analytics_middleware.collectors.http import IdentifyingCollector, VendorOptions, encode, missing
from analytics_middleware.collectors.people import device_of, user_of
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event, Identify

_MAX_NAME: Final = 50
_MAX_TEXT: Final = 500
_MAX_HOST: Final = 100
_MAX_BYTES: Final = 900_000
_MAX_NUMBER: Final = 10**15
"""Umami keeps 19 digits, 4 of them after the decimal point."""


class _Detail(msgspec.Struct):
    index: int = -1
    response: Any = None


class _Answer(msgspec.Struct):
    errors: int = 0
    details: list[_Detail] = msgspec.field(default_factory=list[_Detail])


class UmamiCollector(IdentifyingCollector):
    """Sends events to an Umami website: ``UmamiCollector(website_id)``; *base_url* is for self-hosting.

    **Sent:** page views; other events under their name with properties; URL, referrer, language, revenue as
    ``revenue`` (major units) and ``currency`` when it is positive; traits of users as session data. **Personal data
    that leaves:** the user's id (else the anonymous one) as the distinct id, the client's address and user agent, from
    which Umami makes its session. **Not sent:** properties and revenue of page views, for which Umami has no fields,
    and refunds, which it ignores; both are counted in `cut`.

    **Made to fit:** names and ids are cut at 50 characters, keys and texts at 500, a host name at 100; a number of more
    than 15 digits becomes a text.

    Umami recognises no duplicates, so what may have arrived is not sent again. Events keep their time, in whole
    seconds. In a batch Umami silently drops events that it attributes to bots; those that we recognise as bots' are not
    sent unless ``bots=True``.
    """

    name = "umami"
    default_url = "https://cloud.umami.is"
    needs = ("client_ip",)
    max_batch = 50

    def __init__(self, website_id: str, **options: Unpack[VendorOptions]) -> None:
        try:
            self._website = str(uuid.UUID(website_id))
        except (ValueError, TypeError, AttributeError):
            raise missing(self, "website_id", website_id, "the website's UUID as Umami shows it") from None
        super().__init__(**options)

    def send(self, events: Sequence[Event | Identify]) -> None:
        """Send events and identifications."""
        parts = [(event, encode(self._item(event))) for event in events]
        self.send_parts(parts, self.max_batch, _MAX_BYTES, self._post, envelope=2)

    def _post(self, batch: list[bytes], items: Sequence[Event | Identify]) -> None:
        answer = self.post("/api/batch", b"[" + b",".join(batch) + b"]")
        try:
            said = msgspec.json.decode(answer.body, type=_Answer)
        except msgspec.DecodeError:
            raise DeliveryError(f"{self.endpoint.origin} did not say what it took", ambiguous=True) from None
        rejected = {
            items[detail.index].event_id: f"Umami refused it: {str(detail.response)[:200]}"
            for detail in said.details
            if 0 <= detail.index < len(items)
        }
        if rejected:
            raise DeliveryError(next(iter(rejected.values())), rejected=rejected)

    def _item(self, item: Event | Identify) -> dict[str, Any]:
        payload: dict[str, Any]
        if isinstance(item, Identify):
            payload = {"website": self._website, "id": self._id(item.user_id), "data": self._data(self.traits_of(item))}
            return {"type": "identify", "payload": payload}
        agent, address = user_agent(item), self.address_of(item)
        distinct = user_of(item) or device_of(item)
        payload = {
            "website": self._website,
            "url": item.url or item.path or "/",
            "hostname": None if item.hostname is None else self.fit.text("hostname", item.hostname, _MAX_HOST),
            "referrer": item.referrer,
            "language": item.locale,
            "ip": address,
            "userAgent": agent,
            "id": None if distinct is None else self._id(distinct),
            "timestamp": int(item.timestamp.timestamp()),
        }
        data = self.properties_of(item)
        if item.name != "pageview":
            payload["name"] = self.fit.text("event_name", item.name, _MAX_NAME)
            payload["data"] = {**self._data(data), **self._money(item)} or None
        elif data or item.revenue is not None:
            self.cut.add("pageview_data")
        return {"type": "event", "payload": {key: value for key, value in payload.items() if value is not None}}

    def _money(self, event: Event) -> dict[str, Any]:
        if event.revenue is None:
            return {}
        if event.revenue.minor <= 0 or event.revenue.amount >= _MAX_NUMBER:
            self.cut.add("refund" if event.revenue.minor <= 0 else "number")
            return {}
        return {"revenue": event.revenue.amount, "currency": event.revenue.currency}

    def _id(self, distinct: str) -> str:
        return self.fit.text("id", distinct, _MAX_NAME)

    def _data(self, properties: dict[str, Any]) -> dict[str, Any]:
        return self.fit.properties(
            properties,
            len(properties),
            lambda key: self.fit.text("property_name", key, _MAX_TEXT),
            self._value,
        )

    def _value(self, value: Any) -> Any:
        if isinstance(value, (int, float)) and abs(value) >= _MAX_NUMBER:
            self.cut.add("number")
            value = str(value)
        return self.fit.text("value", value, _MAX_TEXT) if isinstance(value, str) else value
