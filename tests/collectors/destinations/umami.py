"""Umami's batch endpoint, after its schema."""

import uuid
from typing import Any

from analytics_middleware.collectors.umami import UmamiCollector

from .server import Received, Reply
from .vendor import LOOPBACK, Vendor, number

WEBSITE = "2f3c3f0e-93c1-4b0e-9d4c-1f2f54d6a1b7"


class Umami(Vendor):
    name = "umami"
    users = True

    def __init__(self) -> None:
        super().__init__()
        self.items: list[dict[str, Any]] = []

    def make(self, url: str, **options: Any) -> UmamiCollector:
        return UmamiCollector(WEBSITE, **{"base_url": url, **LOOPBACK, **options})

    def answer(self, request: Received) -> Reply:
        self.check(request.path == "/api/batch", "path")
        details: list[dict[str, Any]] = []
        items = request.json
        for index, item in enumerate(items):
            payload = item["payload"]
            self.check(uuid.UUID(payload["website"]), "website")
            self.check(item["type"] in ("event", "identify"), "type")
            if item["type"] == "identify":
                self.items.append(item)
                continue
            self.check(len(payload.get("name", "")) <= 50, "name of 50")
            self.check(len(payload.get("hostname", "")) <= 100, "hostname of 100")
            self.check(len(payload.get("id", "")) <= 50, "id of 50")
            for key, value in payload.get("data", {}).items():
                self.check(
                    len(key) <= 500 and (not isinstance(value, str) or len(value) <= 500), "keys and texts of 500"
                )
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    self.check(abs(value) < 1e15, "numbers of 19 digits, 4 of them behind the point")
            self.check(payload.get("data", {}).get("revenue", 1) > 0, "revenue above 0")
            self.check(isinstance(payload["timestamp"], int) and payload["timestamp"] < 1e11, "whole seconds")
            if number(item) in self.refuse:
                details.append({"index": index, "response": {"error": {"message": "Invalid payload"}}})
                continue
            self.items.append(item)
            self.take(item)
        done = len(items) - len(details)
        return Reply(200, {"size": len(items), "processed": done, "errors": len(details), "details": details})
