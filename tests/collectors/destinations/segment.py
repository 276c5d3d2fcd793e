"""Segment's batch endpoint, and RudderStack's gateway."""

import base64
import json
from datetime import datetime
from typing import Any

from analytics_middleware.collectors.segment import RudderStackCollector, SegmentCollector

from .server import Received, Reply
from .vendor import LOOPBACK, SECRET, Vendor

BASIC = "Basic " + base64.b64encode(f"{SECRET}:".encode()).decode()


class Segment(Vendor):
    name = "segment"
    users = True
    max_bytes = 500_000

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[dict[str, Any]] = []

    def make(self, url: str, **options: Any) -> SegmentCollector:
        return SegmentCollector(SECRET, **{"base_url": url, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/v1/batch", "path")
        self.check(request.headers["authorization"] == BASIC, "Basic auth")
        if len(request.body) > self.max_bytes:
            return Reply(400, {"error": "request too large"})
        body = request.json
        self.bodies.append(body)
        self.check(len(body["batch"]) <= 2500, "2500 events")
        datetime.fromisoformat(body["sentAt"])
        for call in body["batch"]:
            self.check(len(json.dumps(call, ensure_ascii=False).encode()) <= 33_000, "32 kB")
            self.check(call.get("userId") or call.get("anonymousId"), "an id")
            self.check(0 < len(call["messageId"]) < 100, "messageId")
            self.check(call["type"] in ("track", "page", "identify"), "type")
            self.check(call["type"] != "track" or call["event"], "a track call has an event")
            self.check(call["type"] != "page" or call["properties"].get("url"), "a page has a URL")
            self.check(call["type"] != "identify" or isinstance(call["traits"], dict), "traits")
            datetime.fromisoformat(call["timestamp"])
        self.take(*(call for call in body["batch"] if call["type"] != "identify"))
        return Reply(200, {"success": True})


class RudderStack(Segment):
    name = "rudderstack"
    max_bytes = 4_000_000

    def make(self, url: str, **options: Any) -> RudderStackCollector:
        return RudderStackCollector(SECRET, url, **{**LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        super().answer(request)
        return Reply(200, "OK")
