"""Snowplow, through a collector's tracker protocol 2."""

import re
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from decimal import ROUND_HALF_EVEN, Decimal
from functools import partial
from typing import Any, Final, Unpack

import msgspec

import analytics_middleware
from analytics_middleware.collectors.fitting import user_agent
from analytics_middleware.collectors.http import HTTPCollector, HTTPOptions, encode, missing
from analytics_middleware.collectors.people import as_uuid, device_of, milliseconds, user_of
from analytics_middleware.event import Event

_PAYLOAD: Final = "iglu:com.snowplowanalytics.snowplow/payload_data/jsonschema/1-0-4"
_UNSTRUCT: Final = "iglu:com.snowplowanalytics.snowplow/unstruct_event/jsonschema/1-0-0"
_CONTEXTS: Final = "iglu:com.snowplowanalytics.snowplow/contexts/jsonschema/1-0-1"
_TRANSACTION: Final = "iglu:com.snowplowanalytics.snowplow.ecommerce/transaction/jsonschema/1-0-0"
_REFUND: Final = "iglu:com.snowplowanalytics.snowplow.ecommerce/refund/jsonschema/1-0-0"
_SCHEMA = re.compile(r"iglu:[\w.-]+/[\w.-]+/jsonschema/\d+-\d+-\d+")
_MAX_BYTES: Final = 900_000
_MAX_URL: Final = 10_000
_MAX_AGENT: Final = 1000
_MAX_ID: Final = 255
_MAX_DEVICE: Final = 128
_CENT: Final = Decimal("0.01")


class SnowplowCollector(HTTPCollector):
    """Sends events to a Snowplow collector: ``SnowplowCollector("https://sp.example.com", app_id="shop")``.

    **Sent:** page views as ``pv``; events with a schema in *schemas* (name to ``iglu:...``) as self-describing events
    with their properties; others as structured events with their type as category and their name as action; URL,
    referrer, language; revenue as the e-commerce entity ``transaction`` (a refund as ``refund``), in major units with
    two decimals; with *properties_schema* the properties as an entity of that schema. **Personal data that leaves:**
    user and anonymous id, the client's address, user agent. **Not sent:** properties without a schema (counted in `cut`
    as ``properties_without_schema``), traits (Snowplow has no users).

    **Made to fit:** URLs are cut at 10,000 characters, user agents at 1000, user ids at 255, anonymous ids at 128; an
    event has at most 900 kB, and properties are left out, the last one first. The event's id is sent as ``eid``, by
    which the pipeline drops duplicates. A Snowplow collector checks no schemas: events that don't match theirs become
    failed events downstream.
    """

    name = "snowplow"
    url_option = "collector_url"
    needs = ("client_ip",)
    dedupes = True

    def __init__(
        self,
        collector_url: str,
        *,
        app_id: str,
        schemas: Mapping[str, str] | None = None,
        properties_schema: str | None = None,
        namespace: str = "analytics-middleware",
        client_ip: bool = True,
        clock: Callable[[], float] = time.time,
        **options: Unpack[HTTPOptions],
    ) -> None:
        if not isinstance(app_id, str) or not 0 < len(app_id) <= 255:
            raise missing(self, "app_id", app_id, "a name for the application, at most 255 characters")
        for schema in (*(schemas or {}).values(), *(() if properties_schema is None else (properties_schema,))):
            if not isinstance(schema, str) or not _SCHEMA.fullmatch(schema):
                raise missing(self, "schemas", schema, "such as 'iglu:com.acme/signup/jsonschema/1-0-0'")
        super().__init__(base_url=collector_url, client_ip=client_ip, **options)
        self._app_id = app_id
        self._schemas = dict(schemas or {})
        self._properties_schema = properties_schema
        self._namespace = namespace
        self._clock = clock

    def send(self, events: Sequence[Event]) -> None:
        """Send *events*."""
        # The time of this attempt, repeated in every event: Snowplow corrects the device's clock by it.
        sent = str(int(self._clock() * 1000))
        parts = [(event, self._encoded(event, sent)) for event in events]
        self.send_parts(parts, self.max_batch, _MAX_BYTES, self._post, envelope=200)

    def _post(self, batch: list[bytes], _events: Sequence[Event]) -> None:
        body = encode({"schema": _PAYLOAD, "data": [msgspec.Raw(part) for part in batch]})
        self.post("/com.snowplowanalytics.snowplow/tp2", body)

    def _encoded(self, event: Event, sent: str) -> bytes:
        own = {key: value for key, value in self.properties_of(event).items() if value is not None}
        made = partial(self._event, event, own)
        return self.fit.within(_MAX_BYTES - 1000, own, list(own), lambda: encode({**made(), "stm": sent}))

    def _event(self, event: Event, own: dict[str, Any]) -> dict[str, str]:
        agent, user, device = user_agent(event), user_of(event), device_of(event)
        fields: dict[str, Any] = {
            "eid": as_uuid(event.event_id),
            "p": "srv",
            "aid": self._app_id,
            "tna": self._namespace,
            "tv": f"analytics-middleware-{analytics_middleware.__version__}",
            "dtm": milliseconds(event.timestamp),
            "url": None if event.url is None else self.fit.text("url", event.url, _MAX_URL),
            "refr": None if event.referrer is None else self.fit.text("referrer", event.referrer, _MAX_URL),
            "uid": None if user is None else self.fit.text("user_id", user, _MAX_ID),
            "duid": None if device is None else self.fit.text("device_id", device, _MAX_DEVICE),
            "sid": event.visit.session_id,
            "ip": self.address_of(event),
            "ua": None if agent is None else self.fit.text("user_agent", agent, _MAX_AGENT),
            "lang": event.locale,
        }
        entities = self._money(event)
        if (schema := self._schemas.get(event.name)) is not None:
            fields["e"] = "ue"
            fields["ue_px"] = _base64({"schema": _UNSTRUCT, "data": {"schema": schema, "data": own}})
        elif event.name == "pageview":
            fields["e"] = "pv"
        else:
            fields |= {"e": "se", "se_ca": event.type.value, "se_ac": event.name}
        if self._properties_schema is not None and own:
            entities.append({"schema": self._properties_schema, "data": own})
        elif own and schema is None:
            self.cut.add("properties_without_schema")
        if entities:
            fields["cx"] = _base64({"schema": _CONTEXTS, "data": entities})
        return {key: str(value) for key, value in fields.items() if value is not None}

    def _money(self, event: Event) -> list[dict[str, Any]]:
        if event.revenue is None:
            return []
        order = str(event.properties.get("transaction_id") or event.event_id)
        amount = abs(event.revenue.amount).quantize(_CENT, ROUND_HALF_EVEN)
        money: dict[str, Any] = {"transaction_id": order, "currency": event.revenue.currency}
        if event.revenue.minor < 0:
            return [{"schema": _REFUND, "data": {**money, "refund_amount": amount}}]
        # The schema requires a payment method and a quantity, which a server that only knows an amount can't tell.
        method = str(event.properties.get("payment_method") or "unknown")
        return [
            {
                "schema": _TRANSACTION,
                "data": {**money, "revenue": amount, "payment_method": method, "total_quantity": 1},
            }
        ]


def _base64(value: Any) -> str:
    return urlsafe_b64encode(encode(value)).decode()
