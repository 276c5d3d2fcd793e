"""Mixpanel, through its import endpoint."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, Unpack

import msgspec

import analytics_middleware
from analytics_middleware.collectors.fitting import facts, web_properties
from analytics_middleware.collectors.http import IdentifyingCollector, VendorOptions, encode, missing
from analytics_middleware.collectors.people import device_of, milliseconds, user_of
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event, Identify
from analytics_middleware.outgoing.secret import Secret
from analytics_middleware.outgoing.transport import Answer

_MAX_EVENTS: Final = 2000
_MAX_BYTES: Final = 9_500_000
_MAX_PROPERTIES: Final = 250
_MAX_TEXT: Final = 255
# "$ignore" makes Mixpanel drop the event silently, "bucket" hides it in reports.
_UNWANTED: Final = frozenset({"$ignore", "bucket"})


class _Failed(msgspec.Struct):
    index: int = -1
    insert_id: str = msgspec.field(default="", name="$insert_id")
    field: str = ""
    message: str = ""


class _Refusal(msgspec.Struct):
    failed_records: list[_Failed] = msgspec.field(default_factory=list[_Failed])


class _Verbose(msgspec.Struct):
    status: int = 1
    error: str | None = None


class MixpanelCollector(IdentifyingCollector):
    """Sends events to a Mixpanel project: ``MixpanelCollector(project_token, region="eu")``.

    With *service_account* (user name, secret) and *project_id*, those authorise the requests instead of the token.

    **Sent:** page views as ``$mp_web_page_view``, other events under their name, with URL, referrer, browser, system,
    route, status, duration, campaign and properties; revenue as the properties ``revenue`` (major units) and
    ``currency``; traits of users as profile updates. **Personal data that leaves:** user and anonymous id, the client's
    address (Mixpanel derives the place from it and drops it; with ``client_ip=False`` it is told not to derive one),
    traits. The user agent is not sent. A cookieless visitor is never merged into a user.

    **Made to fit:** texts are cut at 255 characters; an event has at most 250 properties, the first ones set. The
    property ``$ignore`` is left out and ``bucket`` becomes ``bucket_``. The event's id is sent as ``$insert_id``, by
    which Mixpanel drops duplicates. Events that it refuses become dead letters with its reason; the others of the batch
    were accepted.
    """

    name = "mixpanel"
    hosts: Mapping[str, str] = {
        "us": "https://api.mixpanel.com",
        "eu": "https://api-eu.mixpanel.com",
        "in": "https://api-in.mixpanel.com",
    }
    needs = ("client_ip",)
    dedupes = True
    compresses = True
    max_batch = 500

    def __init__(
        self,
        project_token: str | Secret,
        *,
        region: Literal["us", "eu", "in"] = "us",
        service_account: tuple[str, str] | None = None,
        project_id: str | int | None = None,
        **options: Unpack[VendorOptions],
    ) -> None:
        super().__init__(region=region, **options)
        self._token = self.secret("project_token", project_token, "Settings > Project details")
        if (service_account is None) != (project_id is None):
            raise missing(self, "project_id", project_id, "given together with service_account, or left out with it")
        user, password = service_account or (self._token.reveal(), "")
        kept = self.secret("service_account", password) if service_account else None
        self._authorization = Secret("Basic " + b64encode(f"{user}:{kept.reveal() if kept else ''}".encode()).decode())
        self._secrets += (self._authorization,)
        if project_id is not None and not str(project_id).isdigit():
            raise missing(self, "project_id", project_id, "the project's number")
        self._query = "strict=1" if project_id is None else f"strict=1&project_id={project_id}"

    def send(self, events: Sequence[Event | Identify]) -> None:
        """Send events, then profile updates."""
        parts = [(event, encode(self._event(event))) for event in events if isinstance(event, Event)]
        records = [record for record in events if isinstance(record, Identify)]
        if parts and not records:
            self._send_events(parts)
        elif not parts:
            self._send_profiles(records)
        else:
            chunks: list[Sequence[Any]] = [[event for event, _ in parts], records]
            known = dict(zip((id(event) for event, _ in parts), parts, strict=True))
            self.deliver(
                events,
                chunks,
                lambda chunk: (
                    self._send_events([known[id(event)] for event in chunk])
                    if isinstance(chunk[0], Event)
                    else self._send_profiles(chunk)
                ),
            )

    def _send_events(self, parts: Sequence[tuple[Event, bytes]]) -> None:
        self.send_parts(parts, _MAX_EVENTS, _MAX_BYTES, self._import, envelope=2)

    def _import(self, batch: list[bytes], items: Sequence[Event]) -> None:
        answer = self.post(
            "/import",
            b"[" + b",".join(batch) + b"]",
            query=self._query,
            headers={"Authorization": self._authorization},
            expected=(400,),
        )
        if answer.status == 400:
            raise self._refusal(answer, items)

    def _refusal(self, answer: Answer, items: Sequence[Event]) -> DeliveryError:
        """Return the error for a 400: the valid events were accepted, and the failed ones never will be."""
        try:
            failed = msgspec.json.decode(answer.body, type=_Refusal).failed_records
        except msgspec.DecodeError:
            failed = []
        ids = {item.event_id for item in items}
        rejected: dict[str, str] = {}
        for record in failed:
            found = record.insert_id if record.insert_id in ids else ""
            if not found and 0 <= record.index < len(items):
                found = items[record.index].event_id
            if found:
                rejected[found] = f"Mixpanel refused it: {record.field}: {record.message}"[:300]
        if rejected:
            return DeliveryError(next(iter(rejected.values())), rejected=rejected)
        return self._error_for(answer) or DeliveryError("refused", permanent=True)

    def _send_profiles(self, records: Sequence[Identify]) -> None:
        updates = [update for record in records for update in self._profile(record)]
        if not updates:
            return
        answer = self.post("/engage", encode(updates), query="verbose=1")
        try:
            said = msgspec.json.decode(answer.body, type=_Verbose)
        except msgspec.DecodeError:
            return
        if said.status == 0:
            raise DeliveryError(f"Mixpanel refused a profile update: {said.error}"[:300], permanent=True)

    def _profile(self, record: Identify) -> list[dict[str, Any]]:
        # Without "$ip" 0, Mixpanel would take our server's address for the user's.
        head = {"$token": self._token.reveal(), "$distinct_id": record.user_id, "$ip": "0"}
        traits = self.traits_of(record)
        updates: list[dict[str, Any]] = []
        if given := {key: value for key, value in traits.items() if value is not None}:
            updates.append({**head, "$set": given})
        if gone := [key for key, value in traits.items() if value is None]:
            updates.append({**head, "$unset": gone})
        return updates

    def _event(self, event: Event) -> dict[str, Any]:
        user, device = user_of(event), device_of(event)
        named: dict[str, Any] = {
            "time": milliseconds(event.timestamp),
            "$insert_id": event.event_id,
            "distinct_id": user or (f"$device:{device}" if device else ""),
            "$user_id": user,
            "$device_id": device,
            "ip": self.address_of(event) or "0",
            "device_type": event.visit.device,
            "mp_lib": "analytics-middleware",
            "$lib_version": analytics_middleware.__version__,
        }
        ours = {**web_properties(event), **{key: value for key, value in named.items() if value is not None}}
        known = facts(event, without=("source", "medium", "campaign"))
        own = {key: value for key, value in self.properties_of(event).items() if key not in ours}
        properties = self.fit.properties(
            {**own, **{key: value for key, value in known.items() if key not in own}},
            _MAX_PROPERTIES - len(ours),
            self._key,
            self._value,
        )
        name = "$mp_web_page_view" if event.name == "pageview" else self.fit.text("event_name", event.name, _MAX_TEXT)
        return {"event": name, "properties": {**properties, **{key: self._value(value) for key, value in ours.items()}}}

    def _key(self, key: str) -> str:
        if key in _UNWANTED:
            return "" if key.startswith("$") else f"{key}_"
        return self.fit.text("property_name", key, _MAX_TEXT)

    def _value(self, value: Any) -> Any:
        return self.fit.text("value", value, _MAX_TEXT) if isinstance(value, str) else value
