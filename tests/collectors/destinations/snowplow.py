"""A Snowplow collector, with the checks that come after it."""

import base64
import json
import uuid
from typing import Any

from analytics_middleware.collectors.snowplow import SnowplowCollector

from .server import Received, Reply
from .vendor import LOOPBACK, Vendor


def decoded(text: str) -> Any:
    return json.loads(base64.urlsafe_b64decode(text))


class Snowplow(Vendor):
    name = "snowplow"

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, str]] = []

    def make(self, url: str, **options: Any) -> SnowplowCollector:
        return SnowplowCollector(url, **{"app_id": "shop", **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/com.snowplowanalytics.snowplow/tp2", "path")
        self.check(request.headers["content-type"].startswith("application/json"), "JSON")
        self.check(len(request.body) <= 1_000_000, "1 MB")
        body = request.json
        self.check(body["schema"].startswith("iglu:com.snowplowanalytics.snowplow/payload_data/"), "payload_data")
        for event in body["data"]:
            self.check(all(isinstance(value, str) for value in event.values()), "all values are texts")
            uuid.UUID(event["eid"])
            self.check(event["e"] in ("pv", "ue", "se") and event["p"] == "srv" and event["tv"], "e, p and tv")
            self.check(event["e"] != "se" or (event["se_ca"] and event["se_ac"]), "category and action")
            self.check(len(event["dtm"]) == 13 and len(event["stm"]) == 13, "milliseconds")
            self.check(len(event.get("url", "")) <= 10_000 and len(event.get("ua", "")) <= 1000, "lengths")
            self.check(len(event.get("uid", "")) <= 255 and len(event.get("duid", "")) <= 128, "lengths of ids")
            for coded in ("cx", "ue_px"):
                if coded in event:
                    self.check(decoded(event[coded])["schema"].startswith("iglu:"), coded)
        self.events += body["data"]
        self.take(*body["data"])
        return Reply(200, "ok", {"Content-Type": "text/plain"})
