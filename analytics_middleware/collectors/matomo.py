"""Matomo, through the bulk form of its tracking API."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, Unpack
from urllib.parse import urlencode

import msgspec

from analytics_middleware.collectors.fitting import user_agent
from analytics_middleware.collectors.http import HTTPCollector, HTTPOptions, encode, missing
from analytics_middleware.collectors.people import device_of, digest, user_of
from analytics_middleware.errors import ConfigurationError, DeliveryError
from analytics_middleware.event import Event
from analytics_middleware.outgoing.secret import Secret

logger = logging.getLogger("analytics_middleware.collectors")

_MAX_BYTES: Final = 900_000
_WITHOUT_TOKEN: Final = 23.5 * 3600


class _Tracked(msgspec.Struct):
    status: str = ""
    tracked: int = -1
    invalid: int = 0
    invalid_indices: list[int] = msgspec.field(default_factory=list[int])
    message: str = ""


class MatomoCollector(HTTPCollector):
    """Sends events to a Matomo site: ``MatomoCollector("https://matomo.example.com/", 1, token_auth="...")``.

    **Sent:** page views with URL, referrer and the time it took to make the page; other events as Matomo events with
    category ``action`` or ``custom`` and their name as action; properties named in *dimensions* as custom dimensions;
    revenue as an order (names in *orders*) or as a goal's (names in *goals*), in the site's *currency*. **Personal data
    that leaves:** the user's id, a hash of the anonymous id, user agent and language; with *token_auth*, the client's
    address. **Not sent:** other properties, traits (Matomo has no place for them), revenue in other currencies (counted
    in `cut` as ``revenue_currency``) or of other events (``revenue``).

    Without *token_auth* (of a user who may write) Matomo takes our server's address for that of every visitor, and
    accepts no event older than a day, so *max_age* is then 23.5 hours. It recognises duplicates of orders only, so what
    may have arrived is not sent again. When its database is busy Matomo skips events and says only how many it tracked:
    as many as are missing then count as ambiguous, since nobody knows which they are.
    """

    name = "matomo"
    needs: Collection[str] = ("client_ip",)
    max_batch = 50

    def __init__(
        self,
        url: str,
        site_id: int | str,
        *,
        token_auth: str | Secret | None = None,
        goals: Mapping[str, int] | None = None,
        orders: Collection[str] = ("purchase",),
        dimensions: Mapping[str, int] | None = None,
        currency: str | None = None,
        client_ip: bool = True,
        **options: Unpack[HTTPOptions],
    ) -> None:
        if isinstance(site_id, bool) or not str(site_id).isdigit():
            raise missing(self, "site_id", site_id, "the site's number in Matomo, such as 1")
        for option, ids in (("goals", goals), ("dimensions", dimensions)):
            if any(isinstance(number, bool) or not isinstance(number, int) for number in (ids or {}).values()):
                raise missing(self, option, ids, "a mapping of names to the numbers that Matomo gave")
        if isinstance(orders, str):
            raise missing(self, "orders", orders, "a collection of event names")
        if token_auth is None:
            self.needs = ()
            self.max_age = _WITHOUT_TOKEN
            self.accepts_history = False
            self.history_note = "without token_auth Matomo takes no event older than a day"
        super().__init__(base_url=url, client_ip=client_ip, **options)
        if self.endpoint.path.endswith(".php"):
            raise ConfigurationError("MatomoCollector: url must be Matomo's own address, without matomo.php")
        self._site = str(site_id)
        self._token = None if token_auth is None else self.secret("token_auth", token_auth)
        self._goals = dict(goals or {})
        self._orders = frozenset(orders)
        self._dimensions = dict(dimensions or {})
        self._currency = currency

    def send(self, events: Sequence[Event]) -> None:
        """Send *events*, the oldest first, as Matomo asks."""
        ordered = sorted(events, key=lambda event: event.timestamp)
        parts = [(event, encode(f"?{urlencode(self._request(event))}")) for event in ordered]
        self.send_parts(parts, self.max_batch, _MAX_BYTES, self._post, envelope=200)

    def _post(self, batch: list[bytes], events: Sequence[Event]) -> None:
        answer = self.post("/matomo.php", self._body(batch))
        try:
            said = msgspec.json.decode(answer.body, type=_Tracked)
        except msgspec.DecodeError:
            said = _Tracked()
        if said.tracked < 0 or said.status == "error":
            # A success, but not in Matomo's format: a page of a proxy before it, or a truncated answer.
            raise DeliveryError(f"{self.endpoint.origin} did not say what it tracked", ambiguous=True)
        if said.tracked >= len(events):
            return
        rejected = {
            events[index].event_id: "Matomo called it invalid"
            for index in said.invalid_indices
            if 0 <= index < len(events)
        }
        unknown = len(events) - said.tracked - len(rejected)
        text = f"Matomo tracked {said.tracked} of {len(events)} events"
        others = [event.event_id for event in events if event.event_id not in rejected]
        if not said.tracked and not said.invalid:
            raise DeliveryError(text)
        logger.warning("analytics: %s: %s", self.name, text)
        raise DeliveryError(text, rejected=rejected, uncertain=others[len(others) - unknown :] if unknown > 0 else ())

    def _body(self, batch: list[bytes]) -> bytes:
        body: dict[str, Any] = {"requests": [msgspec.Raw(part) for part in batch], "send_image": 0}
        if self._token is not None:
            body["token_auth"] = self._token.reveal()
        return encode(body)

    def _request(self, event: Event) -> dict[str, str]:
        user, agent, address = user_of(event), user_agent(event), self.address_of(event)
        fields: dict[str, Any] = {
            "idsite": self._site,
            "rec": 1,
            "apiv": 1,
            "url": event.url or (f"https://{event.hostname}{event.path or '/'}" if event.hostname else None),
            "urlref": event.referrer,
            "uid": user,
            "cid": f"{digest(f'matomo {device_of(event) or user or event.anon_id or event.event_id}', 8):016x}",
            "ua": agent,
            "lang": event.locale,
            "cip": address,
            "cdt": event.timestamp.strftime("%Y-%m-%d %H:%M:%S"),
            "bots": 1 if self.bots else None,
        }
        properties = self.properties_of(event)
        for name, number in self._dimensions.items():
            if properties.get(name) is not None:
                fields[f"dimension{number}"] = properties[name]
        if event.name == "pageview":
            fields["pf_srv"] = None if event.duration is None else round(event.duration * 1000)
        else:
            fields |= {"ca": 1, "e_c": event.type.value, "e_a": event.name}
        fields |= self._money(event)
        return {key: str(value) for key, value in fields.items() if value is not None}

    def _money(self, event: Event) -> dict[str, Any]:
        """Return what makes *event* an order or a goal."""
        amount = event.revenue
        if amount is not None and self._currency is not None and amount.currency != self._currency:
            self.cut.add("revenue_currency")
            amount = None
        if event.name in self._orders and amount is not None:
            order = event.properties.get("transaction_id") or event.event_id
            return {"idgoal": 0, "ec_id": order, "revenue": amount.amount}
        if (goal := self._goals.get(event.name)) is not None:
            return {"idgoal": goal, "revenue": None if amount is None else amount.amount}
        if amount is not None:
            self.cut.add("revenue")
        return {}
