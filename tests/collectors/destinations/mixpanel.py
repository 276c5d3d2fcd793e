"""Mixpanel's import and engage endpoints."""

import base64
import json
from typing import Any

from analytics_middleware.collectors.mixpanel import MixpanelCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor, number

BASIC = "Basic " + base64.b64encode(f"{SECRET}:".encode()).decode()


class Mixpanel(Vendor):
    name = "mixpanel"
    users = True

    def __init__(self) -> None:
        super().__init__()
        self.events: list[dict[str, Any]] = []
        self.profiles: list[dict[str, Any]] = []

    def make(self, url: str, **options: Any) -> MixpanelCollector:
        return MixpanelCollector(SECRET, **{"base_url": url, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        if request.path == "/engage":
            self.profiles += request.json
            self.check(all(update["$token"] == SECRET and update["$distinct_id"] for update in request.json), "engage")
            return Reply(200, {"status": 1, "error": None})
        self.check(request.path == "/import" and request.query["strict"] == "1", "path")
        if request.headers["authorization"] != BASIC:
            return Reply(401, {"error": "invalid credentials"})
        self.check(len(request.body) < 10_000_000, "10 MB")
        events = request.json
        self.check(len(events) <= 2000, "2000 events")
        failed: list[dict[str, Any]] = []
        for index, event in enumerate(events):
            properties = event["properties"]
            self.check(isinstance(properties["time"], int), "an integer time")
            self.check(0 < len(properties["$insert_id"]) <= 36, "$insert_id")
            self.check(properties["distinct_id"] not in ("anonymous", "null", "undefined", "0"), "distinct_id")
            self.check(len(properties) < 255, "255 properties")
            self.check(all(len(text) <= 255 for text in properties.values() if isinstance(text, str)), "texts of 255")
            self.check(len(json.dumps(event, ensure_ascii=False).encode()) < 1_000_000, "1 MB an event")
            self.check("$ignore" not in properties and "bucket" not in properties, "no properties that hide it")
            if number(event) in self.refuse:
                insert_id = properties["$insert_id"]
                failed.append({"index": index, "$insert_id": insert_id, "field": "properties.time", "message": "bad"})
            else:
                self.events.append(event)
                self.take(event)
        good = len(events) - len(failed)
        if failed:
            return Reply(
                400,
                {
                    "code": 400,
                    "error": "some data points in the request failed validation",
                    "failed_records": failed,
                    "num_records_imported": good,
                    "status": "Bad Request",
                },
            )
        return Reply(200, {"code": 200, "num_records_imported": good, "status": "OK"})
