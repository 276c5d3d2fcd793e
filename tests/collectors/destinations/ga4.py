"""The Measurement Protocol: 2xx to everything, 25 events, 130 kB, names as documented."""

import re
from typing import Any

from analytics_middleware.collectors.ga4 import GA4Collector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,39}")
# Names and prefixes that the reference reserves; a name of the application's own must not have them.
RESERVED = re.compile(
    r"(_|firebase_|ga_|google_|gtag\.|app_|notification_).*"
    r"|ad_impression|in_app_purchase|screen_view|session_start|first_visit|first_open|user_engagement|error|os_update"
)
RESERVED_PARAM = re.compile(r"(_|firebase_|ga_|google_|gtag\.).*")


class GA4(Vendor):
    name = "ga4"

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []
        self.messages: list[dict[str, str]] = []
        """What the debug endpoint has to say."""

    def make(self, url: str, **options: Any) -> GA4Collector:
        return GA4Collector("G-AB12CD34EF", SECRET, **{"base_url": url, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        if request.path == "/debug/mp/collect":
            return Reply(200, {"validationMessages": self.messages})
        self.check(request.path == "/mp/collect", "path")
        self.check(request.query == {"measurement_id": "G-AB12CD34EF", "api_secret": SECRET}, "query")
        self.check(len(request.body) < 130_000, "130 kB")
        body = request.json
        self.bodies.append(body)
        self.check(body.keys() <= {"client_id", "user_id", "user_agent", "ip_override", "consent", "events"}, "keys")
        self.check(re.fullmatch(r"[1-9]\d*\.[1-9]\d*", body["client_id"]), "client_id of two positive numbers")
        self.check(1 <= len(body["events"]) <= 25, "25 events")
        for event in body["events"]:
            self.check(event.keys() == {"name", "timestamp_micros", "params"}, "event keys")
            self.check(NAME.fullmatch(event["name"]), f"name {event['name']}")
            self.check(not RESERVED.fullmatch(event["name"]), f"reserved name {event['name']}")
            self.check(len(event["params"]) <= 25, "25 params")
            for key, value in event["params"].items():
                self.check(NAME.fullmatch(key), f"param {key}")
                self.check(not RESERVED_PARAM.fullmatch(key), f"reserved param {key}")
                limit = {"page_location": 1000, "page_referrer": 420}.get(key, 100)
                self.check(isinstance(value, (int, float)) or len(value) <= limit, f"value of {key}")
        self.take(*body["events"])
        return Reply(204)
