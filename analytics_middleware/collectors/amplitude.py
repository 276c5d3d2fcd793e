"""Amplitude, through the HTTP V2 API."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Unpack

import msgspec

import analytics_middleware
from analytics_middleware.collectors.fitting import facts, money, user_agent
from analytics_middleware.collectors.http import IdentifyingCollector, VendorOptions, encode
from analytics_middleware.collectors.people import device_of, milliseconds, session_start, user_of
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event, Identify
from analytics_middleware.outgoing.secret import Secret
from analytics_middleware.outgoing.tally import Tally
from analytics_middleware.outgoing.transport import Answer

_MAX_EVENTS: Final = 1000
_MAX_BYTES: Final = 950_000
_MAX_TEXT: Final = 1024
_THROTTLED: Final = 30.0
_LIBRARY: Final = "analytics-middleware"

Fields = dict[str, list[int]]


class _Refusal(msgspec.Struct):
    error: str = ""
    missing_field: str | None = None
    invalid: Fields = msgspec.field(default_factory=dict[str, list[int]], name="events_with_invalid_fields")
    missing: Fields = msgspec.field(default_factory=dict[str, list[int]], name="events_with_missing_fields")
    lengths: Fields = msgspec.field(default_factory=dict[str, list[int]], name="events_with_invalid_id_lengths")
    silenced: list[int] = msgspec.field(default_factory=list[int], name="silenced_events")
    throttled: list[int] = msgspec.field(default_factory=list[int], name="throttled_events")
    users: dict[str, int] = msgspec.field(default_factory=dict[str, int], name="exceeded_daily_quota_users")
    devices: dict[str, int] = msgspec.field(default_factory=dict[str, int], name="exceeded_daily_quota_devices")


class AmplitudeCollector(IdentifyingCollector):
    """Sends events to an Amplitude project: ``AmplitudeCollector(api_key, region="eu")``.

    **Sent:** page views as ``[Amplitude] Page Viewed``, other events under their name, with URL, referrer, route,
    status, duration, campaign and properties; browser, system and language; revenue as ``revenue`` (major units,
    refunds negative) and ``currency``; the session; traits of users as ``$identify``. **Personal data that leaves:**
    user and anonymous id, the client's address, user agent, traits. An event with neither a user nor a visitor is sent
    with its own id as ``device_id``, because Amplitude refuses events without an id.

    **Made to fit:** texts are cut at 1024 characters. The event's id is sent as ``insert_id``, by which Amplitude
    drops duplicates for a week.

    Amplitude accepts or refuses a request as a whole and names the events at fault. Those become dead letters, and the
    others are sent again at once. Events of users over their daily quota become dead letters too; events of throttled
    users wait 30 seconds.
    """

    name = "amplitude"
    hosts: Mapping[str, str] = {"us": "https://api2.amplitude.com", "eu": "https://api.eu.amplitude.com"}
    needs = ("client_ip",)
    dedupes = True
    max_batch = 200

    def __init__(
        self, api_key: str | Secret, *, region: Literal["us", "eu"] = "us", **options: Unpack[VendorOptions]
    ) -> None:
        super().__init__(region=region, **options)
        self._key = self.secret("api_key", api_key, "Settings > Projects > API key")

    def send(self, events: Sequence[Event | Identify]) -> None:
        """Send events and identifications."""
        made = {id(event): self._item(event) for event in events}
        parts = [(event, encode(made[id(event)])) for event in events]
        self.send_parts(
            parts, _MAX_EVENTS, _MAX_BYTES, lambda batch, items: self._send_good(items, batch, made), envelope=200
        )

    def _send_good(
        self, items: Sequence[Event | Identify], batch: list[bytes], made: Mapping[int, dict[str, Any]]
    ) -> None:
        """Send a batch again and again, each time without the events that Amplitude named, until it is accepted."""
        tally = Tally[Event | Identify]()
        waiting = list(zip(items, batch, strict=True))
        while waiting:
            answer = self.post("/2/httpapi", self._body([part for _, part in waiting]), expected=(400, 429))
            if answer.status < 300:
                break
            rejected, throttled = _at_fault(answer, [made[id(item)] for item, _ in waiting])
            if not rejected and not throttled:
                error = self._error(answer)
                # These were not accepted, but others of the batch may have been settled in an earlier request.
                if len(waiting) == len(items):
                    raise error
                tally.failed([item for item, _ in waiting], error)
                break
            tally.reject({waiting[index][0].event_id: reason for index, reason in rejected.items()})
            held = [waiting[index][0] for index in throttled if index not in rejected]
            if held:
                ids = [item.event_id for item in held]
                tally.failed(held, DeliveryError("Amplitude throttles this user", retry=ids, retry_after=_THROTTLED))
            waiting = [pair for index, pair in enumerate(waiting) if index not in rejected and index not in throttled]
        tally.settle(items)

    def _error(self, answer: Answer) -> DeliveryError:
        """Return the error for all events of a request whose answer names none of them."""
        error = self._error_for(answer) or DeliveryError("refused", permanent=True)
        # Other vendors answer 401 to a wrong key, and the events wait until it is corrected; so do these.
        return DeliveryError(f"{error} (check its key)") if _is_about_key(answer) else error

    def _body(self, batch: list[bytes]) -> bytes:
        return encode(
            {
                "api_key": self._key.reveal(),
                "events": [msgspec.Raw(part) for part in batch],
                # By default ids of fewer than five characters are refused; a user's primary key may well be "7".
                "options": {"min_id_length": 1},
            }
        )

    def _item(self, item: Event | Identify) -> dict[str, Any]:
        made = self._identify(item) if isinstance(item, Identify) else self._event(item)
        made["time"] = milliseconds(item.timestamp)
        made["insert_id"] = item.event_id
        made["library"] = f"{_LIBRARY}/{analytics_middleware.__version__}"
        return made

    def _identify(self, record: Identify) -> dict[str, Any]:
        traits = self.traits_of(record)
        operations: dict[str, Any] = {}
        if given := {key: self._value(value) for key, value in traits.items() if value is not None}:
            operations["$set"] = given
        if gone := {key: "-" for key, value in traits.items() if value is None}:
            operations["$unset"] = gone
        return {"event_type": "$identify", "user_id": record.user_id, "user_properties": operations}

    def _event(self, event: Event) -> dict[str, Any]:
        visit = event.visit
        user, device = user_of(event), device_of(event)
        known: dict[str, Any] = {
            **facts(event),
            "[Amplitude] Page URL": event.url,
            "[Amplitude] Page Path": event.path,
            "[Amplitude] Page Domain": event.hostname,
            "referrer": event.referrer,
            **self.properties_of(event),
        }
        made: dict[str, Any] = {
            "event_type": self._name(event),
            "user_id": user,
            "device_id": device or (None if user else event.event_id),
            "event_properties": {key: self._value(value) for key, value in known.items() if value is not None},
            "ip": self.address_of(event),
            "user_agent": user_agent(event),
            "session_id": session_start(visit.session_id),
            "language": event.locale,
            "platform": "Web",
            "os_name": visit.os,
            "device_model": visit.device,
        }
        made |= money(event)
        return {key: self._value(value) for key, value in made.items() if value is not None}

    def _name(self, event: Event) -> str:
        return "[Amplitude] Page Viewed" if event.name == "pageview" else event.name

    def _value(self, value: Any) -> Any:
        return self.fit.text("value", value, _MAX_TEXT) if isinstance(value, str) else value


def _is_about_key(answer: Answer) -> bool:
    try:
        said = msgspec.json.decode(answer.body, type=_Refusal)
    except msgspec.DecodeError:
        return False
    return answer.status == 400 and (said.missing_field == "api_key" or said.error.startswith("Invalid API key"))


def _at_fault(answer: Answer, events: Sequence[Mapping[str, Any]]) -> tuple[dict[int, str], set[int]]:
    """Return which of *events* are refused for good, by index with the reason, and which are throttled."""
    try:
        said = msgspec.json.decode(answer.body, type=_Refusal)
    except msgspec.DecodeError:
        return {}, set()
    rejected: dict[int, str] = {}
    for why, fields in (("invalid", said.invalid), ("missing", said.missing), ("length of", said.lengths)):
        for field, indexes in fields.items():
            rejected.update(dict.fromkeys(indexes, f"Amplitude refused it: {why} {field}"[:300]))
    rejected.update(dict.fromkeys(said.silenced, "Amplitude refused it: its device is silenced"))
    for index, event in enumerate(events):
        if event.get("user_id") in said.users or event.get("device_id") in said.devices:
            rejected[index] = "Amplitude refused it: daily quota of this user or device exceeded"
    known = range(len(events))
    return {index: why for index, why in rejected.items() if index in known}, {i for i in said.throttled if i in known}
