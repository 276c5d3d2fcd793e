"""PostHog, through its batch endpoint."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal, Unpack

import msgspec

import analytics_middleware
from analytics_middleware.collectors.fitting import facts, user_agent, web_properties
from analytics_middleware.collectors.http import IdentifyingCollector, VendorOptions, chunked, encode, missing
from analytics_middleware.collectors.people import as_uuid, device_of, iso, tied_to, user_of, visitor_of
from analytics_middleware.event import Event, Identify
from analytics_middleware.outgoing.secret import Secret

_MAX_BYTES: Final = 5_000_000
_MAX_EVENT_BYTES: Final = 900 * 1024
_MAX_NAME: Final = 200
_HISTORY: Final = 48 * 3600.0
_LIBRARY: Final = "analytics-middleware"


class PostHogCollector(IdentifyingCollector):
    """Sends events to a PostHog project: ``PostHogCollector("phc_...", region="eu")``; *base_url* is for self-hosting.

    **Sent:** page views as ``$pageview``, other events under their name, with URL, referrer, browser, system,
    device, route, status, duration, campaign and properties; revenue as the properties ``revenue`` (major units)
    and ``currency``; the session's id; traits of users as ``$identify`` or ``$set``. **Personal data that leaves:**
    user and anonymous id, the client's address (PostHog derives the place; with ``client_ip=False`` it is told not
    to), user agent, traits. Anonymous visitors get no person profile (``$process_person_profile``), and a
    cookieless visitor is never merged into a user.

    **Made to fit:** event names and ids are cut at 200 characters; an event has at most 900 KiB, and properties are
    left out, the last one first. The event's id is sent as ``uuid``, by which PostHog eventually drops duplicates.
    PostHog answers 200 even if a project is over its quota.

    Old events keep their time; those older than two days are sent as ``historical_migration``.
    """

    name = "posthog"
    hosts: Mapping[str, str] = {"us": "https://us.i.posthog.com", "eu": "https://eu.i.posthog.com"}
    needs = ("client_ip",)
    dedupes = True
    compresses = True
    max_batch = 500

    def __init__(
        self,
        project_key: str | Secret,
        *,
        region: Literal["us", "eu"] = "us",
        clock: Callable[[], float] = time.time,
        **options: Unpack[VendorOptions],
    ) -> None:
        super().__init__(region=region, **options)
        self._key = self.secret("project_key", project_key, "Settings > Project > Project API key, 'phc_...'")
        if not re.fullmatch(r"[A-Za-z0-9_-]{8,}", self._key.reveal()) or self._key.reveal().startswith("phx_"):
            raise missing(self, "project_key", self._key, "a project's key, 'phc_...', not a personal one")
        self._clock = clock

    def send(self, events: Sequence[Event | Identify]) -> None:
        """Send events and identifications."""
        now = self._clock()
        parts = {id(event): (event, self._encoded(event)) for event in events}
        old = {id(event) for event in events if now - event.timestamp.timestamp() >= _HISTORY}
        chunks: list[list[Event | Identify]] = []
        for group in (old, parts.keys() - old):
            those = [part for key, part in parts.items() if key in group]
            chunks += chunked(those, self.max_batch, _MAX_BYTES, envelope=300)
        self.deliver(
            events, chunks, lambda chunk: self._post([parts[id(event)][1] for event in chunk], id(chunk[0]) in old)
        )

    def _post(self, batch: list[bytes], historical: bool) -> None:
        self.post("/batch/", self._body(batch, historical))

    def _body(self, batch: list[bytes], historical: bool) -> bytes:
        return encode(
            {
                "api_key": self._key.reveal(),
                "historical_migration": historical,
                # The time of this attempt: PostHog compares it with its own clock and corrects the events' times.
                "sent_at": iso(datetime.fromtimestamp(self._clock(), UTC)),
                "batch": [msgspec.Raw(part) for part in batch],
            }
        )

    def _encoded(self, item: Event | Identify) -> bytes:
        made = self._item(item)
        own = made["properties"]
        if isinstance(item, Identify):
            return self.fit.within(_MAX_EVENT_BYTES, own["$set"], item.traits, lambda: encode(made))
        return self.fit.within(_MAX_EVENT_BYTES, own, item.properties, lambda: encode(made))

    def _item(self, item: Event | Identify) -> dict[str, Any]:
        user = item.user_id if isinstance(item, Identify) else user_of(item) or visitor_of(item)
        properties = self._traits(item) if isinstance(item, Identify) else self._properties(item)
        properties["$lib"] = _LIBRARY
        properties["$lib_version"] = analytics_middleware.__version__
        return {
            "event": self._name(item),
            "distinct_id": self.fit.text("distinct_id", user, _MAX_NAME),
            "properties": properties,
            "timestamp": iso(item.timestamp),
            "uuid": as_uuid(item.event_id),
        }

    def _name(self, event: Event | Identify) -> str:
        if isinstance(event, Identify):
            # "$identify" connects two ids; "$set" only sets traits.
            return "$identify" if tied_to(event) is not None else "$set"
        return "$pageview" if event.name == "pageview" else self.fit.text("event_name", event.name, _MAX_NAME)

    def _traits(self, record: Identify) -> dict[str, Any]:
        traits = self.traits_of(record)
        properties: dict[str, Any] = {"$set": {key: value for key, value in traits.items() if value is not None}}
        if gone := [key for key, value in traits.items() if value is None]:
            properties["$unset"] = gone
        if (anon_id := tied_to(record)) is not None:
            properties["$anon_distinct_id"] = anon_id
        properties["$geoip_disable"] = True
        return properties

    def _properties(self, event: Event) -> dict[str, Any]:
        address = self.address_of(event)
        device = event.visit.device
        # PostHog's channels, and its own script, call a page that nobody referred to by this name.
        direct = "$direct" if event.url is not None and event.referrer is None else None
        ours: dict[str, Any] = {
            "$referrer": direct,
            "$referring_domain": direct,
            "$host": event.hostname,
            "$pathname": event.path,
            "$ip": address,
            "$geoip_disable": None if address is not None else True,
            "$raw_user_agent": user_agent(event),
            "$device_type": None if device is None else device.capitalize(),
            "$session_id": event.visit.session_id,
            "$device_id": device_of(event),
            "$process_person_profile": None if user_of(event) is not None else False,
        }
        return {
            **facts(event, without=("path", "hostname", "source", "medium", "campaign")),
            **self.properties_of(event),
            **web_properties(event),
            **{key: value for key, value in ours.items() if value is not None},
        }
