"""Segment and RudderStack, through the HTTP tracking API that they share."""

import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, Unpack

import msgspec

import analytics_middleware
from analytics_middleware.collectors.fitting import campaign, facts, money, query_of, user_agent
from analytics_middleware.collectors.http import IdentifyingCollector, VendorOptions, encode, missing
from analytics_middleware.collectors.people import device_of, iso, session_start, tied_to, user_of
from analytics_middleware.event import Event, EventType, Identify
from analytics_middleware.outgoing.secret import Secret

_MAX_EVENTS: Final = 2500
_LIBRARY: Final = "analytics-middleware"


class SegmentCollector(IdentifyingCollector):
    """Sends events to a Segment source: ``SegmentCollector(write_key, region="eu")``.

    **Sent:** page views as ``page`` calls with URL, path, referrer and search; other events as ``track`` calls;
    properties; status, duration, route and channel; revenue as ``revenue`` (major units) and ``currency``; traits of
    users as ``identify`` calls. **Personal data that leaves:** user and anonymous id, the client's address, user agent,
    locale, traits; Segment passes them on to the destinations connected to it. An event with neither user nor visitor
    is sent with its own id as ``anonymousId``, because Segment refuses events without an id.

    **Made to fit:** an event has at most 32 kB (properties are left out, the last one first), a request 500 kB. The
    event's id is sent as ``messageId``, by which Segment drops duplicates for a day.

    *region* must be that of the workspace: Segment answers success to events sent to the wrong one, and loses them.
    """

    name = "segment"
    hosts: Mapping[str, str] = {"us": "https://api.segment.io", "eu": "https://events.eu1.segmentapis.com"}
    needs = ("client_ip",)
    dedupes = True
    compresses = True
    max_batch = 500
    event_bytes = 32_000
    request_bytes = 490_000

    def __init__(
        self,
        write_key: str | Secret,
        *,
        region: Literal["us", "eu"] = "us",
        clock: Callable[[], float] = time.time,
        **options: Unpack[VendorOptions],
    ) -> None:
        super().__init__(region=region, **options)
        key = self.secret("write_key", write_key, "the source's Settings > API keys")
        self._authorization = Secret("Basic " + b64encode(f"{key.reveal()}:".encode()).decode())
        self._clock = clock

    def send(self, events: Sequence[Event | Identify]) -> None:
        """Send events and identifications."""
        parts = [(event, self._encoded(event)) for event in events]
        self.send_parts(parts, _MAX_EVENTS, self.request_bytes, self._post, envelope=200)

    def _post(self, batch: list[bytes], _items: Sequence[Any]) -> None:
        body = encode(
            {
                "batch": [msgspec.Raw(part) for part in batch],
                # The time of this attempt: Segment corrects each timestamp by its difference from Segment's clock.
                "sentAt": iso(datetime.fromtimestamp(self._clock(), UTC)),
            }
        )
        self.post("/v1/batch", body, headers={"Authorization": self._authorization})

    def _encoded(self, item: Event | Identify) -> bytes:
        made = self._identify(item) if isinstance(item, Identify) else self._event(item)
        own = made["traits"] if isinstance(item, Identify) else made["properties"]
        given = item.traits if isinstance(item, Identify) else item.properties
        return self.fit.within(self.event_bytes, own, given, lambda: encode(made))

    def _identify(self, record: Identify) -> dict[str, Any]:
        made: dict[str, Any] = {
            "type": "identify",
            "messageId": record.event_id,
            "timestamp": iso(record.timestamp),
            "userId": record.user_id,
            "traits": dict(self.traits_of(record)),
            "context": {"library": _library()},
        }
        if (anon_id := tied_to(record)) is not None:
            made["anonymousId"] = anon_id
        return made

    def _event(self, event: Event) -> dict[str, Any]:
        properties: dict[str, Any] = {**facts(event, without=("type",)), **self.properties_of(event), **money(event)}
        made: dict[str, Any] = {
            "type": "track",
            "messageId": event.event_id,
            "timestamp": iso(event.timestamp),
            "properties": properties,
            "context": self._context(event),
        }
        if event.type is EventType.PAGEVIEW:
            made["type"] = "page"
            properties.update(_page(event))
            if event.event_name:
                made["name"] = event.event_name
        else:
            made["event"] = event.name
        user, anon_id = user_of(event), device_of(event)
        if user is not None:
            made["userId"] = user
        if anon_id is not None or user is None:
            made["anonymousId"] = anon_id or event.event_id
        return made

    def _context(self, event: Event) -> dict[str, Any]:
        visit = event.visit
        # Segment says "name", where UTM says "campaign".
        named = {"name" if key == "campaign" else key: value for key, value in campaign(event, "").items()}
        context: dict[str, Any] = {
            "library": _library(),
            "ip": self.address_of(event),
            "userAgent": user_agent(event),
            "locale": event.locale,
            "page": _page(event) or None,
            "campaign": named or None,
            "sessionId": session_start(visit.session_id),
        }
        return {key: value for key, value in context.items() if value is not None}


class RudderStackCollector(SegmentCollector):
    """Sends events to a RudderStack source: ``RudderStackCollector(write_key, "https://....dataplane.rudderstack.com")``.

    It sends what `SegmentCollector` sends; a request has at most 4 MB. A disabled source answers 404, and events wait.
    """

    name = "rudderstack"
    url_option = "data_plane_url"
    compresses = False
    request_bytes = 3_900_000

    def __init__(
        self,
        write_key: str | Secret,
        data_plane_url: str,
        *,
        clock: Callable[[], float] = time.time,
        **options: Unpack[VendorOptions],
    ) -> None:
        if not data_plane_url:
            raise missing(self, "data_plane_url", data_plane_url, "the URL of your data plane")
        options["base_url"] = data_plane_url
        super().__init__(write_key, clock=clock, **options)


def _page(event: Event) -> dict[str, str]:
    page = {"url": event.url, "path": event.path, "referrer": event.referrer}
    if query := query_of(event.url):
        page["search"] = f"?{query}"
    return {key: value for key, value in page.items() if value}


def _library() -> dict[str, str]:
    return {"name": _LIBRARY, "version": analytics_middleware.__version__}
