"""OpenTelemetry: events as log records, over OTLP/HTTP with JSON."""

import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, Unpack

import msgspec

import analytics_middleware
from analytics_middleware.collectors.fitting import facts, query_of, user_agent
from analytics_middleware.collectors.http import HTTPCollector, HTTPOptions, encode, missing
from analytics_middleware.collectors.people import device_of, microseconds, user_of
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event
from analytics_middleware.outgoing.answers import excerpt

_MAX_BYTES: Final = 4_000_000
_NAMES: Final = {
    "pageview": "analytics.page_view",
    "action": "analytics.action",
    "custom": "analytics.custom",
}
# opentelemetry-proto docs/specification.md, "Retryable Response Codes": of 5xx only 502, 503 and 504.
_NOT_RETRYABLE: Final = frozenset(range(500, 600)) - {502, 503, 504}
_TRACE = re.compile(r"[0-9a-f]{32}")
_INFO: Final = 9


class _Partial(msgspec.Struct, rename="camel"):
    rejected_log_records: int | str = 0
    error_message: str = ""


class _Answer(msgspec.Struct, rename="camel"):
    partial_success: _Partial | None = None


class OTLPCollector(HTTPCollector):
    """Sends events as OpenTelemetry log records: ``OTLPCollector("https://otel.example.com:4318")``.

    **Sent:** one log record per event. Its ``event_name`` is ``analytics.page_view``, ``analytics.action`` or
    ``analytics.custom`` (semantic conventions want it static), its attribute ``analytics.event.name`` the event's own
    name; URL, route, status, duration, channel, trace id; properties as ``analytics.property.*``; revenue as
    ``analytics.revenue.amount`` (major units) and ``.currency``. **Personal data that leaves:** ``user.id``,
    ``enduser.pseudo.id``, ``session.id``, ``client.address``, ``user_agent.original``. **Not sent:** traits.

    *headers* are sent with each request and treated as secrets. Nothing recognises duplicates, so what may have arrived
    is not sent again. Only 429, 502, 503 and 504 are retried, as the protocol says; after 401 and 404 events wait for
    the settings to be corrected. A backend that rejects some records doesn't say which: that many count as ambiguous.
    """

    name = "otlp"
    url_option = "endpoint"
    needs = ("client_ip",)
    compresses = True
    max_batch = 500

    def __init__(
        self,
        endpoint: str,
        *,
        service_name: str = "web",
        headers: Mapping[str, str] | None = None,
        resource: Mapping[str, str] | None = None,
        client_ip: bool = True,
        **options: Unpack[HTTPOptions],
    ) -> None:
        if not isinstance(service_name, str) or not service_name:
            raise missing(self, "service_name", service_name, "the name of the service, such as 'shop'")
        super().__init__(base_url=endpoint, client_ip=client_ip, **options)
        self._path = "" if self.endpoint.path.endswith("/v1/logs") else "/v1/logs"
        self._headers = self.secret_headers(headers)
        self._resource = _attributes({"service.name": service_name, **(resource or {})})

    def send(self, events: Sequence[Event]) -> None:
        """Send *events*."""
        parts = [(event, encode(self._record(event))) for event in events]
        self.send_parts(parts, self.max_batch, _MAX_BYTES, self._post, envelope=500)

    def _post(self, batch: list[bytes], events: Sequence[Event]) -> None:
        scope = {"name": "analytics_middleware", "version": analytics_middleware.__version__}
        records = {"scope": scope, "logRecords": [msgspec.Raw(part) for part in batch]}
        body = encode({"resourceLogs": [{"resource": {"attributes": self._resource}, "scopeLogs": [records]}]})
        answer = self.post(self._path, body, headers=self._headers, expected=_NOT_RETRYABLE)
        if answer.status in _NOT_RETRYABLE:
            text = str(self._error_for(answer))
            # Each event is named, because a batch that is refused as a whole would be sent again in parts.
            raise DeliveryError(text, rejected={event.event_id: text for event in events})
        self._partial(answer.body, excerpt(answer, self._masked), events)

    def _partial(self, body: bytes, text: str, events: Sequence[Event]) -> None:
        try:
            partial = msgspec.json.decode(body or b"{}", type=_Answer).partial_success
            rejected = 0 if partial is None else int(partial.rejected_log_records)
        except (msgspec.DecodeError, ValueError):
            return
        if rejected <= 0 or partial is None:
            return
        said = f"rejected {rejected} of {len(events)} log records: {self._masked(partial.error_message or text)}"[:300]
        ids = [event.event_id for event in events]
        if rejected >= len(events):
            raise DeliveryError(said, rejected=dict.fromkeys(ids, said))
        raise DeliveryError(said, uncertain=ids[-rejected:])

    def _record(self, event: Event) -> dict[str, Any]:
        known = facts(event)
        attributes: dict[str, Any] = {
            "analytics.event.id": event.event_id,
            "analytics.event.name": event.name,
            "analytics.action.name": event.action_name,
            "url.full": event.url,
            "url.path": event.path,
            "url.query": query_of(event.url) or None,
            "server.address": event.hostname,
            "http.route": event.matched_pattern,
            "http.request.method": event.method,
            "http.response.status_code": event.status_code,
            # The semantic conventions give each header as a list of its values.
            "http.request.header.referer": None if event.referrer is None else [event.referrer],
            "analytics.duration_ms": known.get("duration_ms"),
            "analytics.locale": event.locale,
            "analytics.channel": event.visit.channel,
            "client.address": self.address_of(event),
            "user_agent.original": user_agent(event),
            "user.id": user_of(event),
            "enduser.pseudo.id": device_of(event),
            "session.id": event.visit.session_id,
        }
        if event.revenue is not None:
            attributes["analytics.revenue.amount"] = event.revenue.amount
            attributes["analytics.revenue.currency"] = event.revenue.currency
        attributes |= {f"analytics.property.{key}": value for key, value in self.properties_of(event).items()}
        nanoseconds = f"{microseconds(event.timestamp)}000"
        record: dict[str, Any] = {
            "timeUnixNano": nanoseconds,
            "observedTimeUnixNano": nanoseconds,
            "severityNumber": _INFO,
            "severityText": "INFO",
            "eventName": _NAMES[event.type.value],
            "attributes": _attributes(attributes),
        }
        if event.visit.trace_id and _TRACE.fullmatch(event.visit.trace_id):
            record["traceId"] = event.visit.trace_id
        return record


def _attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _any_value(value)} for key, value in attributes.items() if value is not None]


def _any_value(value: Any) -> dict[str, Any]:
    match value:
        case bool():
            return {"boolValue": value}
        case int():
            # The protocol's JSON form writes 64-bit integers as text, because JSON numbers may lose digits.
            return {"intValue": str(value)}
        case list():
            return {"arrayValue": {"values": [_any_value(each) for each in value]}}  # pyright: ignore[reportUnknownVariableType]
        case float() | Decimal():
            return {"doubleValue": value}
        case _:
            return {"stringValue": str(value)}
