"""OpenPanel, through its track endpoint."""

from collections.abc import Sequence
from typing import Any, Final, Unpack

from analytics_middleware.collectors.fitting import facts, header_value, user_agent
from analytics_middleware.collectors.http import IdentifyingCollector, VendorOptions, encode, missing
from analytics_middleware.collectors.people import device_of, iso, user_of
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event, Identify
from analytics_middleware.outgoing.secret import Secret

_MAX_DEVICE: Final = 64
_RESERVED: Final = frozenset({"session_start", "session_end"})


class OpenPanelCollector(IdentifyingCollector):
    """Sends events to an OpenPanel project: ``OpenPanelCollector(client_id, client_secret)``.

    **Sent:** page views as ``screen_view``; other events under their name; URL, referrer, route, status, duration and
    properties; an event with revenue as ``revenue``, its amount in minor units and its own name as the property
    ``event``; traits of users. **Personal data that leaves:** user and anonymous id, the client's address and user
    agent, traits. **Not sent:** refunds (OpenPanel takes no negative amounts): such events are sent under their own
    name without the amount, and counted in `cut`.

    **Made to fit:** the anonymous id is cut at 64 characters; events named ``session_start`` or ``session_end`` get the
    prefix ``x_``; properties whose names begin with ``__`` are reserved by OpenPanel and left out.

    One request is sent per event, several at the same time over kept connections. OpenPanel recognises no duplicates,
    so what may have arrived is not sent again. Events keep their time. An event that it attributes to a bot becomes a
    dead letter.
    """

    name = "openpanel"
    default_url = "https://api.openpanel.dev"
    needs = ("client_ip",)
    concurrency = 8

    def __init__(self, client_id: str, client_secret: str | Secret, **options: Unpack[VendorOptions]) -> None:
        if not isinstance(client_id, str) or not client_id.isascii() or not client_id.replace("-", "").isalnum():
            raise missing(self, "client_id", client_id, "the client's id as OpenPanel shows it")
        super().__init__(**options)
        self._client_id = client_id
        self._client_secret = self.secret("client_secret", client_secret, "without it revenue and history are refused")

    def send(self, events: Sequence[Event | Identify]) -> None:
        """Send events and identifications, one request each."""
        self.deliver(events, [[event] for event in events], self._send_one)

    def _send_one(self, chunk: Sequence[Event | Identify]) -> None:
        item = chunk[0]
        headers: dict[str, str | Secret] = {
            "openpanel-client-id": self._client_id,
            "openpanel-client-secret": self._client_secret,
        }
        if isinstance(item, Event):
            if (address := self.address_of(item)) is not None:
                headers["x-client-ip"] = header_value(address)
            if (agent := user_agent(item)) is not None:
                headers["User-Agent"] = header_value(agent)
        body = self._identify(item) if isinstance(item, Identify) else self._track(item)
        if self.post("/track", encode(body), headers=headers).status == 202:
            raise DeliveryError("OpenPanel attributed it to a bot", permanent=True)

    def _identify(self, record: Identify) -> dict[str, Any]:
        traits = {key: value for key, value in self.traits_of(record).items() if value is not None}
        return {"type": "identify", "payload": {"profileId": record.user_id, "properties": traits}}

    def _track(self, event: Event) -> dict[str, Any]:
        name = "screen_view" if event.name == "pageview" else event.name
        if name in _RESERVED:
            self.cut.add("event_name_changed")
            name = f"x_{name}"
        device = device_of(event)
        known = facts(event)
        properties: dict[str, Any] = {
            **{key: known[key] for key in ("type", "route", "method", "status_code", "duration_ms") if key in known},
            **{key: value for key, value in self.properties_of(event).items() if not key.startswith("__")},
            "__path": event.url or event.path,
            "__referrer": event.referrer,
            "__timestamp": iso(event.timestamp),
            "__ip": self.address_of(event),
            "__deviceId": None if device is None else self.fit.text("device_id", device, _MAX_DEVICE),
        }
        if event.revenue is not None and event.revenue.minor >= 0:
            properties |= {"event": name, "__revenue": event.revenue.minor, "currency": event.revenue.currency}
            name = "revenue"
        elif event.revenue is not None:
            self.cut.add("refund")
        payload: dict[str, Any] = {"name": name, "properties": _known(properties)}
        if (user := user_of(event)) is not None:
            payload["profileId"] = user
        return {"type": "track", "payload": payload}


def _known(properties: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in properties.items() if value is not None}
