"""Plausible Analytics, through its events API."""

import re
from collections.abc import Sequence
from typing import Any, Final, Unpack

from analytics_middleware.collectors.fitting import header_value, user_agent
from analytics_middleware.collectors.http import HTTPCollector, VendorOptions, encode, missing
from analytics_middleware.errors import DeliveryError
from analytics_middleware.event import Event, EventType

_MAX_NAME: Final = 120
_MAX_URL: Final = 2000
_MAX_PROPS: Final = 30
_MAX_KEY: Final = 300
_MAX_VALUE: Final = 2000


class PlausibleCollector(HTTPCollector):
    """Sends events to a Plausible site: ``PlausibleCollector("example.com")``; *base_url* is for self-hosting.

    **Sent:** page views as ``pageview``; other events under their name, automatic actions as not interactive (they
    don't end a bounce); URL, referrer, properties, revenue in major units. **Personal data that leaves:** the client's
    address and user agent, as headers: Plausible makes its daily visitor hash of them and keeps neither. **Not sent:**
    user ids and traits (Plausible has no users).

    **Made to fit:** names are cut at 120 characters, a URL at 2000 bytes (its query is dropped first), keys of
    properties at 300 bytes and values at 2000; an event has at most 30 properties, the first ones set.

    One request is sent per event, several at the same time over kept connections. Plausible's protocol has no time: an
    event counts when it arrives. So *max_age* is 4 hours, and old events can't be sent. Plausible recognises no
    duplicates, so what may have arrived is not sent again. Events that it says it dropped (an unknown site, a bot, an
    address of a data centre) become dead letters. To count revenue, Plausible needs a goal with a currency.
    """

    name = "plausible"
    default_url = "https://plausible.io"
    needs = ("client_ip",)
    concurrency = 8
    max_age = 4 * 3600.0
    accepts_history = False
    history_note = "Plausible gives every event the time at which it arrives"

    def __init__(self, domain: str, **options: Unpack[VendorOptions]) -> None:
        if not isinstance(domain, str) or not re.fullmatch(r"[\w.-]+(/[\w./-]*)?", domain) or "://" in domain:
            raise missing(self, "domain", domain, "a site as Plausible lists it, such as 'example.com'")
        super().__init__(**options)
        self._domain = domain

    def send(self, events: Sequence[Event]) -> None:
        """Send *events*, one request each."""
        self.deliver(events, [[event] for event in events], self._send_one)

    def _send_one(self, chunk: Sequence[Event]) -> None:
        event = chunk[0]
        # Sent even if empty: otherwise Plausible would see our own user agent, which is not a browser's.
        headers = {"User-Agent": header_value(user_agent(event) or "")}
        if (address := self.address_of(event)) is not None:
            headers["X-Forwarded-For"] = header_value(address)
        answer = self.post("/api/event", encode(self._body(event)), headers=headers)
        if answer.headers.get("x-plausible-dropped", "0") not in ("", "0"):
            raise DeliveryError(
                "Plausible dropped it: the site is unknown there, or the visitor is a bot, in a data centre or blocked",
                permanent=True,
            )

    def _body(self, event: Event) -> dict[str, Any]:
        url = event.url or f"https://{event.hostname or self._domain}{event.path or '/'}"
        body: dict[str, Any] = {
            "domain": self._domain,
            "name": self.fit.text("event_name", event.name, _MAX_NAME),
            "url": self.fit.url("url", url, _MAX_URL),
        }
        if event.referrer:
            body["referrer"] = self.fit.url("referrer", event.referrer, _MAX_URL)
        if event.type is EventType.ACTION and not event.event_name:
            body["interactive"] = False
        if event.revenue is not None:
            body["revenue"] = {"currency": event.revenue.currency, "amount": event.revenue.amount}
        props = self.fit.properties(
            self.properties_of(event),
            _MAX_PROPS,
            lambda key: self.fit.utf8("property_name", key, _MAX_KEY),
            lambda value: self.fit.utf8("value", value, _MAX_VALUE) if isinstance(value, str) else value,
        )
        if props:
            body["props"] = props
        return body
