"""Google Analytics 4, through the Measurement Protocol."""

import logging
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Literal, Unpack
from urllib.parse import quote

import msgspec

from analytics_middleware.collectors.fitting import user_agent
from analytics_middleware.collectors.http import HTTPCollector, VendorOptions, chunked, encode, missing
from analytics_middleware.collectors.people import device_of, digest, microseconds, session_start, user_of
from analytics_middleware.event import Event, EventType
from analytics_middleware.outgoing.secret import Secret

logger = logging.getLogger("analytics_middleware.collectors")

_MAX_EVENTS: Final = 25
_MAX_BYTES: Final = 130_000
_MAX_PARAMS: Final = 25
_MAX_NAME: Final = 40
_MAX_VALUE: Final = 100
_LONGER: Final = {"page_location": 1000, "page_referrer": 420, "page_title": 300}
# developers.google.com/analytics/devguides/collection/protocol/ga4/reference, "Reserved names".
_RESERVED: Final = frozenset(
    [
        "ad_activeview",
        "ad_click",
        "ad_exposure",
        "ad_impression",
        "ad_query",
        "ad_reward",
        "adunit_exposure",
        "app_background",
        "app_clear_data",
        "app_exception",
        "app_install",
        "app_remove",
        "app_store_refund",
        "app_store_subscription_cancel",
        "app_store_subscription_convert",
        "app_store_subscription_renew",
        "app_update",
        "app_upgrade",
        "dynamic_link_app_open",
        "dynamic_link_app_update",
        "dynamic_link_first_open",
        "error",
        "first_open",
        "first_visit",
        "in_app_purchase",
        "notification_dismiss",
        "notification_foreground",
        "notification_open",
        "notification_receive",
        "notification_send",
        "os_update",
        "screen_view",
        "session_start",
        "user_engagement",
    ]
)
_RESERVED_PREFIXES: Final = ("_", "firebase_", "ga_", "google_", "gtag_")
_NOT_A_NAME = re.compile(r"[^A-Za-z0-9_]")
_CLIENT_COOKIE = re.compile(r"GA\d\.\d+\.(\d+\.\d+)")
_SESSION_COOKIE = re.compile(r"GS\d\.\d+\.s?(\d+)")


class _Messages(msgspec.Struct):
    messages: list[dict[str, Any]] = msgspec.field(default_factory=list[dict[str, Any]], name="validationMessages")


class GA4Collector(HTTPCollector):
    """Sends events to a GA4 web data stream: ``GA4Collector("G-XXXXXXX", api_secret)``.

    **Sent:** page views as ``page_view``; other events under their name; URL, referrer, language, status code,
    duration, properties, revenue as ``value`` and ``currency`` (name the event ``purchase`` for Google to count it as
    revenue; its ``transaction_id`` is the property of that name, else the event's id, by which Google drops repeats).
    **Personal data that leaves:** the user's id, the client's address and user agent (Google derives place and device
    from them), the ``_ga`` identifier. **Not sent:** traits of users (GA4 takes them only with events).

    ``client_id`` is taken from the ``_ga`` cookie when the visitor has one. Otherwise it is derived from the visitor's
    id, and Google shows such visitors incompletely (it validates ids against those that its own tag has seen).
    ``session_id`` is that of the tag's cookie, else the start of our session; ``engagement_time_msec`` is 100, which
    makes a visit count.

    **Made to fit:** in names, characters other than letters, digits and ``_`` become ``_``; names begin with a letter
    and are cut at 40 characters; reserved ones get the prefix ``x_``. Texts are cut at 100 characters (a URL at 1000, a
    referrer at 420). An event has at most 25 parameters; further properties are left out in the order set.

    Google answers 2xx to anything, even with a wrong secret. With ``validate=True`` the debug endpoint checks each
    request first, and its remarks are logged; ``debug=True`` shows events in DebugView. *region* ``"eu"`` sends to the
    European host. Events older than 72 hours are dropped as stale, because Google would give them a later time.
    """

    name = "ga4"
    hosts: Mapping[str, str] = {"us": "https://www.google-analytics.com", "eu": "https://region1.google-analytics.com"}
    needs: Collection[str] = ("client_ip", "cookie:_ga")
    concurrency = 8
    max_age = 71.5 * 3600
    history_note = "Google moves events older than 72 hours to 72 hours ago; older ones are dropped as stale"

    def __init__(
        self,
        measurement_id: str,
        api_secret: str | Secret,
        debug: bool = False,
        *,
        validate: bool = False,
        region: Literal["us", "eu"] = "us",
        ad_consent: bool | None = None,
        **options: Unpack[VendorOptions],
    ) -> None:
        if not isinstance(measurement_id, str) or not re.fullmatch(r"G-[A-Z0-9]{4,20}", measurement_id):
            raise missing(self, "measurement_id", measurement_id, "a stream's id such as 'G-AB12CD34EF'")
        self._session_cookie = f"_ga_{measurement_id[2:]}"
        self.needs = (*self.needs, f"cookie:{self._session_cookie}")
        super().__init__(region=region, **options)
        self._measurement_id = measurement_id
        self._api_secret = self.secret("api_secret", api_secret, "Admin > Data streams > Measurement Protocol")
        self._debug = debug
        self._validate = validate
        self._ad_consent = ad_consent

    def send(self, events: Sequence[Event]) -> None:
        """Send *events*; a request has events of one visitor only."""
        groups: dict[bytes, tuple[dict[str, Any], list[tuple[Event, bytes]]]] = {}
        for event in events:
            visitor = self._visitor(event)
            groups.setdefault(encode(visitor), (visitor, []))[1].append((event, encode(self._event(event))))
        visitors: dict[int, dict[str, Any]] = {}
        chunks: list[list[Event]] = []
        encoded: dict[int, bytes] = {}
        for key, (visitor, parts) in groups.items():
            chunks += chunked(parts, _MAX_EVENTS, _MAX_BYTES - 500, len(key))
            for event, part in parts:
                visitors[id(event)], encoded[id(event)] = visitor, part
        self.deliver(
            events,
            chunks,
            lambda chunk: self._send_one(visitors[id(chunk[0])], [msgspec.Raw(encoded[id(event)]) for event in chunk]),
        )

    def probe(self, event: Event) -> str:
        """Send *event* and return what the debug endpoint says about it: the other endpoint accepts anything."""
        messages = self._check({**self._visitor(event), "events": [self._event(event)]})
        said = "; ".join(str(message.get("description", message)) for message in messages)
        return f"{super().probe(event)}; the debug endpoint has {said or 'no remarks'}; it checks no secret"

    def _send_one(self, visitor: dict[str, Any], events: list[msgspec.Raw]) -> None:
        body = {**visitor, "events": events}
        if self._validate:
            for message in self._check(body):
                self.cut.add("validation_messages")
                said = {key: str(text)[:300] for key, text in message.items()}
                logger.warning("analytics: %s: GA4 says %s", self.name, said)
        self.post("/mp/collect", encode(body), query=self._query())

    def _check(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        checked = encode({**body, "validation_behavior": "ENFORCE_RECOMMENDATIONS"})
        answer = self.post("/debug/mp/collect", checked, query=self._query())
        try:
            return msgspec.json.decode(answer.body, type=_Messages).messages
        except msgspec.DecodeError:
            return []

    def _query(self) -> str:
        return f"measurement_id={self._measurement_id}&api_secret={quote(self._api_secret.reveal(), safe='')}"

    def _visitor(self, event: Event) -> dict[str, Any]:
        """Return the fields that GA4 takes once per request."""
        agent, address, user = user_agent(event), self.address_of(event), user_of(event)
        visitor: dict[str, Any] = {"client_id": _client_id(event)}
        if user is not None:
            visitor["user_id"] = self.fit.text("user_id", user, 256)
        if agent is not None:
            visitor["user_agent"] = agent
        if address is not None:
            visitor["ip_override"] = address
        if self._ad_consent is not None:
            said = "GRANTED" if self._ad_consent else "DENIED"
            visitor["consent"] = {"ad_user_data": said, "ad_personalization": said}
        return visitor

    def _event(self, event: Event) -> dict[str, Any]:
        name = self._name("event_name", "page_view" if event.name == "pageview" else event.name)
        session = _session(event, self._session_cookie)
        first: dict[str, Any] = {
            "session_id": session,
            "engagement_time_msec": 100,
            "debug_mode": 1 if self._debug else None,
            "page_location": event.url,
            "page_referrer": event.referrer,
            "language": None if event.locale is None else event.locale.lower(),
        }
        if event.revenue is not None:
            first["currency"] = event.revenue.currency
            first["value"] = event.revenue.amount
        if name in ("purchase", "refund"):
            first["transaction_id"] = str(event.properties.get("transaction_id") or event.event_id)
        extras: dict[str, Any] = {
            "action_name": event.action_name if event.type is not EventType.PAGEVIEW else None,
            "status_code": event.status_code,
            "duration_ms": None if event.duration is None else round(event.duration * 1000, 3),
        }
        own = self.properties_of(event)
        params = {key: self._value(key, value) for key, value in first.items() if value is not None}
        wanted = {**own, **{key: value for key, value in extras.items() if key not in own}}
        rest = self.fit.properties(
            {key: value for key, value in wanted.items() if key not in params},
            _MAX_PARAMS - len(params),
            lambda key: self._name("property_name", key),
            lambda value: self._value("", value),
        )
        return {"name": name, "timestamp_micros": microseconds(event.timestamp), "params": {**rest, **params}}

    def _name(self, what: str, name: str) -> str:
        fitted = _NOT_A_NAME.sub("_", name)
        if not fitted[:1].isalpha() and not fitted.startswith("_"):
            fitted = f"x_{fitted}"
        if fitted.startswith(_RESERVED_PREFIXES) or (what == "event_name" and _is_reserved(fitted)):
            fitted = f"x_{fitted.lstrip('_')}"
        if fitted != name:
            self.cut.add(f"{what}_changed")
        return self.fit.text(what, fitted, _MAX_NAME)

    def _value(self, key: str, value: Any) -> Any:
        if isinstance(value, bool):
            return "true" if value else "false"
        return self.fit.text("value", value, _LONGER.get(key, _MAX_VALUE)) if isinstance(value, str) else value


def _is_reserved(name: str) -> bool:
    return name in _RESERVED or name.startswith(("app_", "notification_"))


def _client_id(event: Event) -> str:
    cookie = event.request.cookie("_ga") if event.request is not None else None
    if cookie and (match := _CLIENT_COOKIE.fullmatch(cookie)):
        return match[1]
    # Two positive numbers with a dot between, like those of Google's tag; the same for a visitor in every process.
    number = digest(f"ga4 {device_of(event) or user_of(event) or event.anon_id or event.event_id}", 8)
    return f"{(number >> 32) % (2**31 - 1) + 1}.{number % (2**31 - 1) + 1}"


def _session(event: Event, cookie_name: str) -> int | None:
    cookie = event.request.cookie(cookie_name) if event.request is not None else None
    if cookie and (match := _SESSION_COOKIE.match(cookie)):
        return int(match[1])
    if (start := session_start(event.visit.session_id)) is not None:
        return start // 1000
    return digest(event.visit.session_id, 4) + 1 if event.visit.session_id else None
